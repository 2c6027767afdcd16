"""The command line of `sample.py`: from which weights, what, how, and where to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from laminate.cli.drawing_flags import Drawing
from laminate.recipes.checks import at_least
from laminate.recipes.flags import AS_IT_SAYS, MAX_BAD_IMAGES, Precision, SourceOptions

CLASSES = 10
"""Classes that are drawn unless told which, spread over all."""
PER_CLASS = 10
"""Images of each class that are drawn unless told how many."""


@dataclass(frozen=True)
class SampleFlags(Drawing):
    """Draw images from a trained generator. Image i of a seed is the same in any batch, on any mesh and host."""

    classes: tuple[str, ...] = ()
    """Classes by number or name, in this order. Default: ten, spread over all."""
    per_class: int | None = None
    """Images of each class. Default: 10."""
    total: int | None = None
    """Images in all, balanced over the classes; without --classes over all there are. 50000 is what evaluators
    take."""
    size: tuple[int, int] | None = None
    """Height and width of the images in pixels, where tokenizer and generator are ViTok's, which know no other sizes
    better than those of their training. Default: the square of the recipe."""
    seed: int = 0
    """Decides the noise of every image."""

    out: Path | None = None
    """Folder of the files. Default: drawn in the run of the generator, else drawn here."""
    png: bool = False
    """Write every image as a file of its own, in a folder for each class."""
    npz: bool = False
    """Write samples.npz, as evaluators read it: arr_0 (uint8) and labels."""
    rounding: Literal["nearest", "down"] = "nearest"
    """From [0, 1] to uint8: as FlatDINO's evaluator (nearest) or its picture files (down)."""
    interpolate: Literal["linear", "spherical"] | None = None
    """Write interpolation.png and interpolation.webp too (which moves): six ways, each from an image of one class to
    one of the next, through latents."""
    frames: int = 24
    """Frames of such a way."""
    check: bool = False
    """Say how many samples look like their class, and whether they are copies of training images."""
    data: str | None = None
    """The training images that --check compares with, as in training. Default: those of the generator's run."""
    reading: Annotated[SourceOptions, tyro.conf.arg(name="data")] = AS_IT_SAYS
    """How these data are read, as in training: --data.classes, --data.label-key, ..."""
    max_bad_images: int = MAX_BAD_IMAGES
    """Images of --data that cannot be decoded and are left out, as in training."""

    mesh: str = "auto"
    """Devices, as in training."""
    device_batch_size: int = 50
    """Images that each device draws at a time."""
    precision: Precision = "auto"
    """Number format of the networks, as in training."""
    coordinator: str | None = None
    """ADDRESS:PORT of host 0, as in training."""
    hosts: int | None = None
    """How many processes draw together, as in training."""
    host: int | None = None
    """The number of this process, from 0."""
    distributed: bool = False
    """Refuse to draw alone, as in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for flag in ("per_class", "total", "device_batch_size"):
            value = getattr(self, flag)
            if value is not None:
                at_least(f"--{flag.replace('_', '-')}", value, 1)
        for side in self.size or ():
            at_least("--size", side, 1)
        if self.size is not None and self.check:
            raise ValueError("--check compares squares with training images: leave --size out.")
        at_least("--seed", self.seed, 0)
        at_least("--frames", self.frames, 2)
        if self.per_class is not None and self.total is not None:
            raise ValueError(
                "Give --per-class or --total, not both: each of them says how many images there are."
            )


def chosen_classes(asked: tuple[str, ...], names: tuple[str, ...], classes: int, *, every: bool) -> list[int]:
    """The numbers of the classes that `--classes` names; without it, every class or some spread over all.

    An unconditional generator has the one "class" -1. Raises ValueError for a class that does not exist.
    """
    if not classes:
        if asked:
            raise ValueError("--classes: this generator is unconditional and has no classes.")
        return [-1]
    if not asked:
        few = classes if every else min(classes, CLASSES)
        return sorted({round(i * (classes - 1) / max(few - 1, 1)) for i in range(few)})
    return [_class(text, names, classes) for text in asked]


def _class(text: str, names: tuple[str, ...], classes: int) -> int:
    if text in names:
        return names.index(text)
    if not text.lstrip("-").isdecimal():
        known = (
            f"It has {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
            if names
            else "It has no names"
        )
        raise ValueError(f"--classes: there is no class {text!r}. {known}; numbers are 0 to {classes - 1}.")
    if not 0 <= int(text) < classes:
        raise ValueError(f"--classes: class {text} does not exist, there are 0 to {classes - 1}.")
    return int(text)
