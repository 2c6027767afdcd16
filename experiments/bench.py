"""Measurements, one JSON line each: speed as a ratio to a limit that was measured in the same run.

    python experiments/bench.py step --size s --depth 4 --images 8     a FlatDINO training step, beside matmul
    python experiments/bench.py step --size s --depth 12 48            compile time over depth
    python experiments/bench.py data --images 256                      the loader, beside decoding alone
    python experiments/bench.py load --megabytes 350                   weights from a file, beside reading it
    python experiments/bench.py teacher --name dinov2-b --images 8     a frozen teacher's forward pass, beside matmul
    python experiments/bench.py generate --batches 1 8 64              passes of a generator over 32 and 256 tokens
    python experiments/bench.py vitok --depth 2 --padding 0.25           a step of a ViTok autoencoder with empty room
    python experiments/bench.py decoder --experiment embedded-decoder  a step of both players of an image decoder
    python experiments/bench.py int8 runs/embedded-vae runs/embedded-dit  layers in int8 beside float32 and bfloat16
    python experiments/bench.py peers --peer-python peer/bin/python    a LightningDiT's step beside the same in PyTorch
    python experiments/bench.py measures --peer-python peer/bin/python  FID, SSIM and others beside usual libraries
    python experiments/bench.py dino-sae --images 8                    a step of stem, frozen network and decoder

Every kind has options of its own: `bench.py step --help`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Step:
    """A whole training step of a FlatDINO β-VAE on patch features: forward, backward, clipping, AdamW."""

    size: Literal["t", "s", "b", "l", "xl"] = "s"
    """Size of encoder and decoder, with parameter-matched SwiGLU."""
    depth: tuple[int, ...] = (4,)
    """Layers of each of the two; several are measured in turn."""
    images: int = 8
    """Images per step and device."""
    patches: int = 256
    """Teacher patches per image, of 768 numbers."""
    tokens: int = 32
    """Latent tokens, of 128 numbers."""
    turns: int = 5
    """How often step and matmul are timed, in turn; the median ratio is reported."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of step and matmul."""
    remat: Literal["none", "products", "dots", "block", "attention"] = "none"
    """What the backward pass computes again."""
    mesh: str = "1x1"
    """Devices, as in vae.py."""


@dataclass(frozen=True)
class Data:
    """The loader on synthetic 500x375 JPEGs of 90 KB, to random crops of 256x256."""

    images: int = 256
    """Images."""
    turns: int = 8
    """How often every method is visited."""


@dataclass(frozen=True)
class Load:
    """Weights from a safetensors file: mapped, checked for NaN, with and without its hash."""

    megabytes: int = 350
    """Size of the file."""
    turns: int = 8
    """How often every method is visited."""


@dataclass(frozen=True)
class Teacher:
    """The forward pass of a frozen teacher of a published size, with random weights: resizing, network, last norm."""

    name: str = "dinov2-b"
    """A known teacher."""
    images: int = 8
    """Images at a time."""
    image_size: int = 256
    """Side of the images, which the teacher resizes to what it sees."""
    turns: int = 5
    """How often teacher and matmul are timed, in turn; the median ratio is reported."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of teacher and matmul."""


@dataclass(frozen=True)
class Generate:
    """Passes of a LightningDiT over 32 and 256 tokens of 128 numbers, and the price of guidance."""

    size: Literal["s", "b", "l", "xl"] = "s"
    """Size of the network."""
    depth: int = 0
    """Layers, 0 for all of that size."""
    batches: tuple[int, ...] = (1, 4, 16, 64)
    """Images in a pass; several are measured in turn."""
    turns: int = 5
    """How often everything is timed, in turn."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of network and matmul."""


@dataclass(frozen=True)
class Decoder:
    """A step of an image decoder and its discriminator, beside matmul, and the shares of its parts."""

    experiment: str = "embedded-decoder"
    """Name of the decoder: embedded-decoder, or vit-s and so on, beside DINOv2-B, DINO-S/8 and VGG-16."""
    depth: int = 0
    """Layers of the decoder, 0 for its own."""
    images: int = 8
    """Images per step."""
    turns: int = 5
    """How often step and matmul are timed, in turn; the median ratio is reported."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of step and matmul."""


@dataclass(frozen=True)
class Vitok:
    """A step of a ViTok autoencoder without its perceptual network, beside matmul; padding is no work."""

    experiment: str = "Ld2-Ld22/1x16x64"
    """Name of the autoencoder."""
    depth: int = 0
    """Most layers of encoder and decoder, 0 for all."""
    images: int = 4
    """Images per step."""
    padding: float = 0.0
    """Share of the room for patches that is empty."""
    turns: int = 5
    """How often step and matmul are timed, in turn; the median ratio is reported."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of step and matmul."""


@dataclass(frozen=True)
class Int8:
    """Trained tokenizers and generators with layers in int8: likeness of images, bytes, and time, by themselves."""

    sources: Annotated[tuple[str, ...], tyro.conf.Positional] = ("runs/embedded-vae", "runs/embedded-dit")
    """Runs, saved folders or hub repositories."""
    images: int = 16
    """Held-out images of a tokenizer, or images that a generator draws."""
    turns: int = 3
    """How often everything is timed, in turn."""


@dataclass(frozen=True)
class Peers:
    """A LightningDiT's step, update and layers beside the same network in PyTorch, in turn, in float32 on a CPU."""

    peer_python: str = ""
    """Interpreter of an environment with PyTorch: 'python -m venv peer', 'peer/bin/pip install torch', then
    peer/bin/python."""
    size: Literal["t", "s", "b", "l", "xl"] = "s"
    """Size of the network."""
    depth: int = 4
    """Layers."""
    tokens: tuple[int, ...] = (36, 256)
    """Tokens of 128 numbers; several are measured in turn."""
    images: int = 8
    """Images per step."""
    turns: int = 15
    """How often each side does each piece of work."""


@dataclass(frozen=True)
class Measures:
    """Our measures of given features and images beside those of the usual libraries, in turn, and their agreement."""

    peer_python: str = ""
    """Interpreter of an environment with torch, torch-fidelity, torchmetrics, scikit-image and scikit-learn."""
    features: tuple[int, int] = (1000, 1024)
    """Features of each of the two sets, and numbers of each."""
    images: int = 64
    """Pairs of images."""
    image_size: tuple[int, int] = (192, 176)
    """Height and width; MS-SSIM needs 176."""
    turns: int = 3
    """How often each side does each piece of work."""
    only: tuple[str, ...] = ()
    """These measures alone."""


@dataclass(frozen=True)
class DinoSae:
    """A step of a DINO-SAE stage beside matmul, the share of its convolutions, and linear attention on three grids."""

    experiment: str = "embedded-sae-1"
    """Name of the stage."""
    images: int = 8
    """Images per step."""
    turns: int = 5
    """How often step and matmul are timed, in turn; the median ratio is reported."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of step and matmul."""


Command = (
    Annotated[Step, tyro.conf.subcommand(name="step")]
    | Annotated[Data, tyro.conf.subcommand(name="data")]
    | Annotated[Load, tyro.conf.subcommand(name="load")]
    | Annotated[Teacher, tyro.conf.subcommand(name="teacher")]
    | Annotated[Generate, tyro.conf.subcommand(name="generate")]
    | Annotated[Decoder, tyro.conf.subcommand(name="decoder")]
    | Annotated[Vitok, tyro.conf.subcommand(name="vitok")]
    | Annotated[Int8, tyro.conf.subcommand(name="int8")]
    | Annotated[Peers, tyro.conf.subcommand(name="peers")]
    | Annotated[Measures, tyro.conf.subcommand(name="measures")]
    | Annotated[DinoSae, tyro.conf.subcommand(name="dino-sae")]
)

if __name__ == "__main__":  # before the imports below, which --help need not wait for
    # Not by `flags_command`: where a side waits for its turn, a virtual machine takes its huge pages away meanwhile.
    COMMAND = tyro.cli(Command, description=__doc__)

import json
import sys
from collections.abc import Iterator
from importlib import import_module

from laminate.parallel.platforms import skip_missing_tpu
from laminate.runs.exit_codes import user_errors

MODULES = {
    Step: "step",
    Data: "data",
    Load: "load",
    Teacher: "teacher",
    Generate: "generate",
    Decoder: "decoder",
    Vitok: "vitok",
    Int8: "int8",
    Peers: "peers",
    Measures: "measures",
    DinoSae: "dino_sae",
}


def results(command: Command) -> Iterator[dict[str, object]]:
    """The lines of a measurement, each of which is a module of `benchmarks`."""
    module = MODULES[type(command)]
    found = import_module(f"benchmarks.{module}").measure(**vars(command))
    for line in [found] if isinstance(found, dict) else found:
        yield {"bench": module, **line}


def main(command: Command) -> None:
    skip_missing_tpu()
    with user_errors("bench.py"):
        for line in results(command):
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(COMMAND)
