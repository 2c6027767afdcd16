"""What takes the steps from noise to data, for recipes and for the command line that draws."""

from dataclasses import dataclass
from typing import Literal, get_args

from laminate.recipes.checks import at_least, one_of

SolverName = Literal["euler", "heun", "rk4", "unipc", "expmap", "euler-project"]
UniPcKind = Literal["bh1", "bh2"]
UniPcPrediction = Literal["data", "noise"]

SOLVERS = {
    "straight": ("euler", "heun", "rk4", "unipc", "adaptive"),
    "sphere": ("expmap", "euler-project"),
}
"""The solvers of each kind of path; `adaptive` is for drawing alone."""


@dataclass(frozen=True)
class UniPcConfig:
    """Settings of UniPC, those of ViTok's scheduler unless told otherwise."""

    order: int = 2
    """Predictions that a step goes by, and its order."""
    kind: UniPcKind = "bh2"
    """The function B(h) of the paper: exp(h) - 1 (bh2), or h."""
    predicts: UniPcPrediction = "data"
    """What is held on to from step to step: the predicted data, or the predicted noise."""
    lower_order_final: bool = True
    """Lower the order towards the end."""
    uncorrected: tuple[int, ...] = ()
    """Numbers of the steps whose result is not corrected."""

    def __post_init__(self) -> None:
        at_least("unipc.order", self.order, 1)
        one_of("unipc.kind", self.kind, get_args(UniPcKind))
        one_of("unipc.predicts", self.predicts, get_args(UniPcPrediction))
        for number in self.uncorrected:
            at_least("unipc.uncorrected", number, 0)


def require_solver(path: str, solver: str, where: str = "solver") -> None:
    """Raises ValueError for a solver that does not run along a path of the kind `path`."""
    known = SOLVERS[path]
    if solver not in known:
        raise ValueError(
            f"{where} {solver}: that is no solver of the {path} path, whose solvers are {', '.join(known)}."
        )
