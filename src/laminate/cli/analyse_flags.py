"""The command line of `analyse.py`: which question, of which tokenizer, on which images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from laminate.recipes.checks import at_least, within
from laminate.recipes.flags import AS_IT_SAYS, MAX_BAD_IMAGES, Precision, SourceOptions

What = Literal[
    "all",
    "attention",
    "diffusability",
    "dimension",
    "guidance-sweep",
    "interpolate",
    "inversion",
    "latent-statistics",
    "mask",
    "mutual-information",
    "noise",
    "noise-recovery",
    "redundancy",
    "throughput",
    "token-ablation",
    "total-correlation",
]


@dataclass(frozen=True)
class AnalyseFlags:
    """Look into a trained tokenizer: one JSON with all numbers and one picture for each question."""

    what: Annotated[What, tyro.conf.Positional] = "all"
    """The question; all of them, one after the other, without one."""
    tokenizer: str | None = None
    """Run, saved folder or hub repository. Default: what vae.py leaves, trained first if need be."""
    decoder: str | None = None
    """What makes images of its latents, as in sample.py."""
    generator: str | None = None
    """A generator on its latents, for `guidance-sweep`, `noise-recovery` and `throughput`. Default: what generator.py
    leaves, trained first if a question by name needs it; its tokenizer is the one that is asked."""
    data: str | None = None
    """Images. Default: those that the tokenizer was trained on."""
    reading: Annotated[SourceOptions, tyro.conf.arg(name="data")] = AS_IT_SAYS
    """How these data are read, as in training."""
    split: Literal["train", "validation"] = "train"
    """Which of them: estimates of information and dimension need many."""
    images: int = 1024
    """At most so many of them."""
    interpolation: Literal["linear", "spherical"] = "spherical"
    """Way of `interpolate`."""
    scales: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 4.5)
    """Guidance scales of `guidance-sweep`."""
    starts: tuple[float, ...] = (0.0, 0.3)
    """Times, from 0 (noise) to 1, from which on `guidance-sweep` guides."""
    samples: int = 100
    """Images that `guidance-sweep` draws for each setting."""
    inverted: int = 1
    """Images that `inversion` finds again, one after the other."""
    iterations: int | None = None
    """Of `inversion`. Default: 80 of weak noise, for small images; the paper takes 20000, and noise that a number
    given here comes with."""
    network: str | None = None
    """Generator whose speed `throughput` measures, by the name of a recipe such as ditxl; no weights are needed.
    Default: that of --generator, else embedded-dit."""
    batches: tuple[int, ...] = (1, 4, 16, 64)
    """Batch sizes of `throughput`."""
    html: bool = False
    """Join all questions that were asked of this tokenizer into one page, report.html."""
    seed: int = 0
    """Of noise and draws."""
    out: Path | None = None
    """Folder. Default: analysis in the run of the tokenizer, else analysis here; what is there is replaced."""
    max_bad_images: int = MAX_BAD_IMAGES
    """Images that cannot be decoded and are left out, as in training."""
    device_batch_size: int = 64
    """Images on each device at a time."""
    precision: Precision = "auto"
    """Number format of the networks, as in training."""
    mesh: str = "auto"
    """Devices, as in training."""
    coordinator: str | None = None
    """ADDRESS:PORT of host 0, as in training."""
    hosts: int | None = None
    """How many processes work together, as in training."""
    host: int | None = None
    """The number of this process, from 0."""
    distributed: bool = False
    """Refuse to work alone, as in training."""

    def __post_init__(self) -> None:
        at_least("--images", self.images, 8)
        at_least("--samples", self.samples, 2)
        at_least("--inverted", self.inverted, 1)
        if self.iterations is not None:
            at_least("--iterations", self.iterations, 1)
        for flag, values in (
            ("--scales", self.scales),
            ("--starts", self.starts),
            ("--batches", self.batches),
        ):
            if not values:
                raise ValueError(f"{flag} needs a value.")
        for value in self.scales:
            at_least("--scales", value, 0)
        for value in self.starts:
            within("--starts", value, 0.0, 1.0)
        for value in self.batches:
            at_least("--batches", value, 1)
        at_least("--device-batch-size", self.device_batch_size, 1)
        at_least("--seed", self.seed, 0)
        at_least("--max-bad-images", self.max_bad_images, 0)
