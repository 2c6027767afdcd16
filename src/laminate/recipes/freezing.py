"""The half of an autoencoder that a training leaves as it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from laminate.recipes.describe import Row
from laminate.recipes.flags import RunFlags

Frozen = Literal["nothing", "encoder", "decoder"]
M = TypeVar("M")


def trained_half(
    freeze: Frozen, *, encoder: Callable[[M], Any], decoder: Callable[[M], Any]
) -> Callable[[M], Any] | None:
    """Which of the two, each of which picks a half of the model, picks what is trained; None where both are."""
    return {"nothing": None, "encoder": decoder, "decoder": encoder}[freeze]


def frozen_rows(freeze: Frozen) -> tuple[Row, ...]:
    """What a header says of it."""
    return () if freeze == "nothing" else (("frozen", f"the {freeze}"),)


def require_beginning(freeze: Frozen, flags: RunFlags) -> None:
    """Raises ValueError if a half is to stay as it is and nothing says what it is."""
    if freeze != "nothing" and flags.init_from is None and flags.restore is None:
        raise ValueError(
            f"--freeze {freeze} keeps a half that is trained already: give its weights by --init-from, a run, a saved "
            "folder or a name of published weights."
        )


@dataclass(frozen=True)
class FreezeFlags(RunFlags):
    """Of a training that may leave one half as it is. Raises ValueError where nothing says what that half is."""

    freeze: Literal["encoder", "decoder"] | None = None
    """Leave this half as --init-from has it, bit for bit, and train the other."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_beginning(self.freeze or "nothing", self)
