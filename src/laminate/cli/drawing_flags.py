"""What images of a generator depend on, for every command that draws some: its weights, its decoder, its steps."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from laminate.recipes.checks import above, at_least, within
from laminate.recipes.network import AttentionKernel, HeldDtype
from laminate.recipes.solvers import SolverName, UniPcConfig

Solver = SolverName | Literal["adaptive"]
Weights = Literal["ema", "raw"]
SETTINGS = UniPcConfig()


@dataclass(frozen=True)
class Drawing:
    """The part of a command line that says with which networks, and along which way, noise becomes images."""

    generator: str | None = None
    """Run, saved folder or hub repository of the generator; RUN/checkpoints/STEP takes that checkpoint.
    Default: runs/embedded-dit, trained first if need be."""
    weights: Weights = "ema"
    """Of a checkpoint: the averaged weights, or those that are trained."""
    tokenizer: str | None = None
    """Run, saved folder or hub repository of its tokenizer. Default: where the run found it, else
    beside the run, else runs/NAME."""
    decoder: str | None = None
    """What decodes the latents: a run of decoder.py, a saved folder or hub repository, or the decoder of a published
    autoencoder, or of a run of teacher.py, on the same teacher; none takes what the tokenizer gives back, if that
    is pixels. Default: the run embedded-decoder beside the tokenizer, if it was trained on this very tokenizer, else
    none."""

    steps: int | None = None
    """Steps from noise to data. Default: the recipe's."""
    solver: Solver | None = None
    """Fixed steps of order 1 (euler), 2 (heun) or 4 (rk4), from earlier predictions (unipc), or steps that choose
    themselves (adaptive, extra `ode`); on a sphere along arcs (expmap), or beside it and back (euler-project). Default:
    the recipe's."""
    unipc: UniPcConfig = SETTINGS
    """Settings of --solver unipc. Default: the recipe's."""
    scale: float | None = None
    """Guidance scale, 1 for none. Default: the recipe's."""
    interval: tuple[float, float] | None = None
    """The times, from 0 (noise) to 1 (data), between which guidance acts. Default: the recipe's."""
    rescale: float | None = None
    """Share of the guided velocity that is brought back to the deviation of the label's, for large scales. Default: the
    recipe's."""
    channels: int | None = None
    """Guide only the first so many numbers of each token. Default: all."""
    auto: str | None = None
    """Autoguidance: a weaker generator on the same latents, such as RUN/checkpoints/STEP, in place of the null
    class."""
    shift: float | None = None
    """Time shift kappa. Default: the recipe's."""
    attention: AttentionKernel = "xla"
    """Attention kernel, as in training."""

    stored: HeldDtype = "float32"
    """Number format in which the weights of all these networks are held: bfloat16 for half the memory, int8 for a
    quarter of that of transformers' layers, which then multiply whole numbers; other layers stay as they are."""

    def __post_init__(self) -> None:
        for flag in ("steps", "channels"):
            value = getattr(self, flag)
            if value is not None:
                at_least(f"--{flag}", value, 1)
        self._check_guidance()
        self._check_solver()

    def _check_guidance(self) -> None:
        if self.scale is not None and not (0.0 <= self.scale < math.inf):
            raise ValueError(f"--scale must be at least 0 and finite, got {self.scale}; 1 is no guidance.")
        if self.rescale is not None:
            within("--rescale", self.rescale, 0.0, 1.0)
        if self.interval is not None:
            low, high = self.interval
            if not 0.0 <= low <= high <= 1.0:
                raise ValueError(
                    f"--interval runs from low to high in [0, 1] (0 is noise), got {low:g} {high:g}."
                )
        for flag in ("channels", "rescale"):
            if self.auto is not None and getattr(self, flag) is not None:
                raise ValueError(
                    f"--{flag} is for guidance by the null class, --auto takes another network in its place."
                )

    def _check_solver(self) -> None:
        if self.shift is not None:
            above("--shift", self.shift, 0.0)
        if self.unipc != SETTINGS and self.solver not in (None, "unipc"):
            raise ValueError(
                f"--unipc.* are settings of --solver unipc, and it is {self.solver}: leave them out."
            )
        if self.solver == "adaptive" and (self.steps is not None or self.shift is not None):
            raise ValueError("--solver adaptive chooses its steps itself: leave --steps and --shift out.")

    def given(self) -> list[str]:
        """The flags beside `--generator` that are not as they are by themselves."""
        fields = dataclasses.fields(Drawing)
        return [
            f"--{one.name}"
            for one in fields
            if one.name != "generator" and getattr(self, one.name) != one.default
        ]
