"""The half of an autoencoder that a training leaves as it is."""

from dataclasses import dataclass
from typing import Literal

from laminate.recipes.flags import RunFlags

Frozen = Literal["nothing", "encoder", "decoder"]


@dataclass(frozen=True)
class FreezeFlags(RunFlags):
    """Of a training that may leave one half as it is. Raises ValueError where nothing says what that half is."""

    freeze: Literal["encoder", "decoder"] | None = None
    """Leave this half as --init-from has it, bit for bit, and train the other."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.freeze is not None and self.init_from is None and self.restore is None:
            raise ValueError(
                f"--freeze {self.freeze} keeps a half that is trained already: give its weights by --init-from, a run, "
                "a saved folder or a name of published weights."
            )
