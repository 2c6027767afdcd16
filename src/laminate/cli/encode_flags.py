"""The command line of an encoding: which network, which images, and where the records go."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from laminate.recipes.checks import at_least
from laminate.recipes.flags import AS_IT_SAYS, MAX_BAD_IMAGES, Precision, SourceOptions
from laminate.recipes.network import StoredDtype


@dataclass(frozen=True)
class EncodeFlags:
    """Write what a frozen network makes of images as records, which trainings read in their place."""

    out: Annotated[Path, tyro.conf.Positional]
    """Folder to write; of several hosts, one that they share."""
    what: Literal["features", "latents"] = "features"
    """Features of a teacher, or the normalised latents of a trained tokenizer."""
    tokenizer: str | None = None
    """Whose latents: a run, a saved folder or a hub repository."""
    teacher: str | None = None
    """Whose features, as in training. Default: the tokenizer's teacher, else dinov2-b."""
    teacher_image_size: int | None = None
    """Side of the images that the teacher sees, as in training."""
    teacher_dtype: StoredDtype = "float32"
    """Number format in which the teacher's weights are held, as in training."""
    layer: int | None = None
    """Write the features that leave this layer too (from 0, not normed), which a recipe with -ilN rebuilds."""

    data: str | None = None
    """Images, as in training; or records of features, to make latents of. Default: what the tokenizer was trained on,
    else embedded."""
    reading: Annotated[SourceOptions, tyro.conf.arg(name="")] = AS_IT_SAYS
    """How the data are read, where they can be read in two ways."""
    views: int = 0
    """Random crops and flips of each training image; 0 is the one still view that validation has: all of it, resized
    to a square."""
    image_size: int | None = None
    """Side of that square. Default: as in training."""
    seed: int = 0
    """Decides the random views."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the records; auto is that of the computation, so that nothing is lost."""
    shard_images: int = 512
    """Images in one file: what an interrupted encoding may lose."""
    data_workers: int | None = None
    """Threads that decode images. Default: one per core."""
    max_bad_images: int = MAX_BAD_IMAGES
    """Images that cannot be decoded and are left out before the encoding stops."""

    precision: Precision = "auto"
    """Number format of the computation, as in training."""
    mesh: str = "auto"
    """Devices of each host: auto, 8 (data) or 2x4 (data x fsdp, which share the weights). Simulated on a CPU."""
    host_batch_size: int = 64
    """Images that a host computes at a time, over its devices."""
    coordinator: str | None = None
    """ADDRESS:PORT of host 0, when several processes encode together and neither a TPU slice nor Slurm says so."""
    hosts: int | None = None
    """How many processes encode together."""
    host: int | None = None
    """The number of this process, from 0."""

    def __post_init__(self) -> None:
        for flag in ("shard_images", "host_batch_size"):
            at_least(f"--{flag.replace('_', '-')}", getattr(self, flag), 1)
        for flag in ("views", "seed", "max_bad_images"):
            at_least(f"--{flag.replace('_', '-')}", getattr(self, flag), 0)
        for flag in ("image_size", "data_workers"):
            if getattr(self, flag) is not None:
                at_least(f"--{flag.replace('_', '-')}", getattr(self, flag), 1)
        if (self.tokenizer is not None) != (self.what == "latents"):
            raise ValueError("--what latents and --tokenizer belong together: give both or none of them.")
        if self.layer is not None and self.what == "latents":
            raise ValueError("--layer is for features: latents are made of the final ones.")
