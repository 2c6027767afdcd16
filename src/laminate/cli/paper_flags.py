"""The command line of `paper.py`: which table or figure, on what, and where the results of the paper's size lie."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from laminate.recipes.checks import at_least
from laminate.recipes.flags import AS_IT_SAYS, MAX_BAD_IMAGES, Precision, SourceOptions


@dataclass(frozen=True)
class PaperFlags:
    """Tables and figures of the papers beside ours: what can be computed here, and the commands for the rest."""

    what: Annotated[str, tyro.conf.Positional] = "list"
    """table1 to table10, figure1 to figure18, a table of a README, or list: all of them, a line each."""
    results: Path | None = None
    """Folder of results, by the names that the commands give them. Default: in the runs that they measure."""
    measure: bool = True
    """Look at what is here too; --no-measure prints the paper's figures, results that lie there, and the commands."""
    tokenizer: str | None = None
    """What is looked at: run, saved folder or hub repository. Default: runs/embedded-vae, which vae.py leaves."""
    generator: str | None = None
    """The run whose evaluation stands beside a table of generators. Default: runs/embedded-dit."""
    decoder: str | None = None
    """What makes images of the tokenizer's latents, as in sample.py."""
    data: str | None = None
    """Images. Default: those that the tokenizer was trained on."""
    reading: Annotated[SourceOptions, tyro.conf.arg(name="data")] = AS_IT_SAYS
    """How these data are read, as in training."""
    split: Literal["train", "validation"] = "train"
    """Which of them."""
    images: int = 1024
    """At most so many of them."""
    seed: int = 0
    """Of noise and draws."""
    out: Path = Path("paper")
    """Folder of NAME.json and NAME.png; what is there is replaced."""
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
        at_least("--device-batch-size", self.device_batch_size, 1)
        at_least("--seed", self.seed, 0)
        at_least("--max-bad-images", self.max_bad_images, 0)
