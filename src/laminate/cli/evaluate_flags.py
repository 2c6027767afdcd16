"""The command line of `evaluate.py`: what is measured, by which networks, and where the result goes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from laminate.cli.drawing_flags import Drawing
from laminate.recipes.checks import above, at_least
from laminate.recipes.flags import AS_IT_SAYS, MAX_BAD_IMAGES, Precision, SourceOptions
from laminate.recipes.network import HeldDtype


@dataclass(frozen=True)
class Measuring:
    """What every measurement can be told."""

    inception: str | None = None
    """FID's Inception-v3 (pt_inception-2015-12-05, as safetensors): adds FID, sFID and inception score. Without any
    network the one in the package is taken, and measures are named `@embedded`."""
    dino: str | None = None
    """A vision transformer by known name, file, folder or hub repository, such as dinov2-l: distances of its CLS
    tokens."""
    clip: str | None = None
    """CLIP's vision transformer (openai/clip-vit-large-patch14-336), file, folder or hub repository: CMMD, and other
    distances of its embeddings."""
    protocol: str | None = None
    """A protocol that a measure has to follow, such as gfid@adm-256 (`evaluate.py protocols`): what is measured
    otherwise is refused."""
    inexact: bool = False
    """Measure in spite of what --protocol would refuse; the result says where it deviates."""
    seed: int = 0
    """Of noise, directions and resamples."""
    out: Path | None = None
    """Folder of evaluation.json and evaluation.png. Default: evaluation/WHAT in the run that is measured, else
    evaluation/WHAT here; what is there is replaced."""
    max_bad_images: int = MAX_BAD_IMAGES
    """Images that cannot be decoded and are left out, as in training."""
    device_batch_size: int = 64
    """Images on each device at a time."""
    precision: Precision = "auto"
    """Number format of the networks that are measured, as in training. Those that measure are float32."""
    mesh: str = "auto"
    """Devices, as in training."""
    coordinator: str | None = None
    """ADDRESS:PORT of host 0, as in training."""
    hosts: int | None = None
    """How many processes measure together, as in training."""
    host: int | None = None
    """The number of this process, from 0."""
    distributed: bool = False
    """Refuse to measure alone, as in training."""

    def __post_init__(self) -> None:
        at_least("--device-batch-size", self.device_batch_size, 1)
        at_least("--seed", self.seed, 0)
        at_least("--max-bad-images", self.max_bad_images, 0)
        if self.inexact and self.protocol is None:
            raise ValueError("--inexact is for a --protocol that is not followed: give one.")


@dataclass(frozen=True)
class Reconstruct(Measuring):
    """What a tokenizer gives back of held-out images: PSNR, SSIM, LPIPS of each, and distances of the sets."""

    tokenizer: str | None = None
    """Run, saved folder or hub repository, or a published autoencoder: sd, sdxl, sd3, flux, flux2, flux2-small-decoder,
    qwen, vavae, dc-ae-f32, dc-ae-f64, or a folder as diffusers has them. Default: what vae.py leaves, trained first if
    need be."""
    against: tuple[str, ...] = ()
    """Measure these tokenizers on the same images, named as by --tokenizer: one table, and a row of pictures for each.
    Those that read squares of one size alone have to agree on it."""
    image_size: int | None = None
    """Side of the squares that a tokenizer of images of any size is measured on. Default: that of the others, else
    256."""
    decoder: str | None = None
    """What makes images of its latents, as in sample.py."""
    stored: HeldDtype = "float32"
    """Number format in which the weights of the tokenizers are held: bfloat16, or int8 for the layers of
    transformers."""
    data: str | None = None
    """Images, of which the validation split is measured. Default: those that the tokenizer was trained on."""
    reading: Annotated[SourceOptions, tyro.conf.arg(name="data")] = AS_IT_SAYS
    """How these data are read, as in training: --data.classes, --data.label-key, ..."""
    lpips: str | None = None
    """LPIPS, network and heads in one file: VGG-16 or AlexNet, which is told by its shapes."""
    rounding: Literal["none", "nearest", "down"] = "none"
    """From [0, 1] to 256 values, of the images that sets are measured by."""
    longest: int | None = None
    """Longest side of the images in pixels, of a tokenizer of images of any size; smaller ones stay as they are.
    Default: what its validation sees."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.longest is not None:
            at_least("--longest", self.longest, 1)
        if self.image_size is not None:
            at_least("--image-size", self.image_size, 2)
        if self.against and self.decoder is not None and self.decoder != "none":
            raise ValueError(
                "--decoder makes images of the latents of one tokenizer, and --against names several: each takes the "
                "one beside it, or --decoder none itself."
            )


@dataclass(frozen=True)
class Generate(Measuring, Drawing):
    """How near drawn images are to the training images, beside held-out real ones."""

    samples: str | None = None
    """Measure these instead of drawing: an npz, or a folder of images."""
    total: int | None = None
    """Images to draw, balanced over the classes. Default: as many as there are held-out images, at least 256."""
    data: str | None = None
    """The images that samples are held against. Default: those that the generator was trained on."""
    reading: Annotated[SourceOptions, tyro.conf.arg(name="data")] = AS_IT_SAYS
    """How these data are read, as in training."""
    reference: str | None = None
    """An npz of moments or images to hold them against, in place of the training images."""

    def __post_init__(self) -> None:
        Measuring.__post_init__(self)
        Drawing.__post_init__(self)
        if self.total is not None:
            at_least("--total", self.total, 2)
        drawing = self.given() if self.total is None else ["--total", *self.given()]
        if self.samples is not None and drawing:
            raise ValueError(
                f"--samples names images, and {', '.join(drawing)} is for images that are drawn: give one of them."
            )


@dataclass(frozen=True)
class Compare(Measuring):
    """How far two sets of images are apart."""

    first: Annotated[str | None, tyro.conf.Positional] = None
    """A folder, records, any other source as in training (perhaps with @train or @validation behind it), an npz of
    samples, or one of moments (mu, sigma, mu_s, sigma_s). Without any set: what the generator that generator.py leaves
    drew (runs/embedded-dit/drawn/samples.npz), drawn now if need be."""
    second: Annotated[str | None, tyro.conf.Positional] = None
    """What it is held against. Without any set: the held-out images of that generator's data."""
    total: int | None = None
    """Take so many images of each, the first ones."""
    image_size: int | None = None
    """Side of the images of a source. Default: that of a file of samples on the other side, else 64."""
    view: Literal["squash", "center-crop"] = "squash"
    """How an image of a source is brought to that square; files are taken as they are."""
    reading: Annotated[SourceOptions, tyro.conf.arg(name="data")] = AS_IT_SAYS
    """How sources are read, as in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first is not None and self.second is None:
            raise ValueError(
                f"compare {self.first}: two sets are compared, and this is one. Name the other one behind it, such as "
                "embedded@validation; without any, samples of the embedded generator are held against held-out images."
            )
        for flag in ("total", "image_size"):
            if getattr(self, flag) is not None:
                at_least(f"--{flag.replace('_', '-')}", getattr(self, flag), 2)


@dataclass(frozen=True)
class Probe(Measuring):
    """How well classes are told by latents, and by the features that they compress: k-NN and a linear probe."""

    tokenizer: str | None = None
    """Run, saved folder or hub repository. Default: what vae.py leaves, trained first if need be."""
    data: str | None = None
    """Images with labels; known ones are the training split, those that are told the validation split. Default: those
    that the tokenizer was trained on."""
    reading: Annotated[SourceOptions, tyro.conf.arg(name="data")] = AS_IT_SAYS
    """How these data are read, as in training."""
    neighbours: tuple[int, ...] = (10, 20, 100)
    """How many neighbours vote."""
    temperature: float = 0.07
    """Of the votes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.neighbours:
            raise ValueError("--neighbours needs a number.")
        for count in self.neighbours:
            at_least("--neighbours", count, 1)
        above("--temperature", self.temperature, 0)


@dataclass(frozen=True)
class Protocols:
    """Every protocol by name, and what it consists of."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Say all of these alone."""


@dataclass(frozen=True)
class Show:
    """Results side by side, and where they were measured otherwise."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """evaluation.json files, or the folders that hold them."""


Evaluation = (
    Annotated[Reconstruct, tyro.conf.subcommand("reconstruct")]
    | Annotated[Generate, tyro.conf.subcommand("generate")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Probe, tyro.conf.subcommand("probe")]
    | Annotated[Protocols, tyro.conf.subcommand("protocols")]
    | Annotated[Show, tyro.conf.subcommand("show")]
)
