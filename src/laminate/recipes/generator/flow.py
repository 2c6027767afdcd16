"""Along which path a generator carries noise to data, which solvers run there, and how they are guided."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from laminate.recipes.checks import above, at_least, within
from laminate.recipes.serialization import UNSAID
from laminate.recipes.solvers import SolverName

PathName = Literal["straight", "sphere"]


@dataclass(frozen=True)
class StraightPath:
    """`t data + (1 - t) noise`, in flat space."""

    KIND: ClassVar[str] = "straight"


@dataclass(frozen=True)
class SpherePath:
    """Arcs of great circles: every token is a point of a sphere, and only its direction is generated (HAE, eqs. 8 to
    12). Trained and drawn in float32."""

    KIND: ClassVar[str] = "sphere"

    radius: float | None = None
    """Of that sphere; None is the root of the numbers of a token, so that each of them has variance 1."""
    radial_weight: float = 0.1
    """Weight of the part of the network's velocity that leaves the sphere."""
    decode_radius: float | None = None
    """Length to which drawn tokens are brought before they are decoded (HAE takes 14 for the 1024 numbers of DINOv3).
    None is that of the tokenizer's own tokens where it is known, else the radius."""

    def __post_init__(self) -> None:
        at_least("path.radial_weight", self.radial_weight, 0.0)
        for name in ("radius", "decode_radius"):
            value = getattr(self, name)
            if value is not None:
                above(f"path.{name}", value, 0.0)


PathConfig = StraightPath | SpherePath


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance that suits a trained generator: what it is sampled with unless told otherwise."""

    scale: float = 1.0
    """`v_null + scale (v_label - v_null)`; 1 is no guidance."""
    interval: tuple[float, float] = (0.0, 1.0)
    """The times between which it acts."""
    rescale: float = field(default=0.0, metadata={UNSAID: 0.0})
    """Share of the guided velocity that is brought back to the deviation of the label's, which large scales exceed."""

    def __post_init__(self) -> None:
        at_least("guidance.scale", self.scale, 0.0)
        low, high = self.interval
        within("guidance.interval[0]", low, 0.0, 1.0)
        within("guidance.interval[1]", high, low, 1.0)
        within("guidance.rescale", self.rescale, 0.0, 1.0)


def usual_solver(path: PathConfig) -> SolverName:
    """The solver of a path unless told otherwise."""
    return "euler" if isinstance(path, StraightPath) else "expmap"
