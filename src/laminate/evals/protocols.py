"""How a figure was measured, as a value: two figures can be compared where all of it is the same."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

EMBEDDED = "embedded"
PRECISION = "network float32, moments and distances float64"
"""Of a measure of sets, where nothing else is said."""
Subject = Literal["reconstructions", "samples", "classes"]
"""What is measured: held-out images given back, drawn images, or how well classes are told."""
Judge = Literal["", "embedded", "inception", "dino", "clip", "lpips"]
"""The network that sees the images: none, that in the package, or one that the flag of this name gives."""
ORIGINALS, TRAINING, HELD_OUT = "the originals", "training images", "held-out images"
"""References that are no file: those that reconstructions are of, and splits of the data."""
DIRECTIONS = "features divided by their length"
"""What votes of neighbours are of."""
ANY = ""
"""Of a named protocol: whatever is given, such as the weights of a network that has no published hash."""


@dataclass(frozen=True)
class Protocol:
    """Everything that decides a measure of a set of images, apart from the images themselves.

    `samples` is their number, 0 for any. An empty text leaves a field open in a named protocol.
    """

    measure: str
    """fid, sfid, fd, kid, cmmd, mind, inception score, precision and recall, k-NN."""
    network: str
    """What sees the images, and which of its outputs is taken."""
    samples: int = 0
    reference: str = ""
    """The images that they are held against: `ORIGINALS`, `TRAINING`, `HELD_OUT`, the name of a file, or what a set is
    called. A file's `moments` are named so behind it."""
    order: str = ""
    """How the samples lie in their file, where parts are taken of it."""
    view: str = ""
    """How an image of the reference is cropped and resized."""
    resize: str = ""
    """How images are brought to the size that the network sees."""
    rounding: str = ""
    """From [0, 1] to 256 values: nearest, down, or none."""
    options: tuple[tuple[str, float], ...] = ()
    """Neighbours, subsets, splits, directions, widths of kernels."""
    seed: int | None = None
    """Of what is drawn: subsets, directions."""
    precision: str = ""
    """Of the network, and of what is computed of its features."""
    network_sha256: str = ""
    reference_sha256: str = ""
    data: str = ""
    """The data that the reference is of; in a named protocol a part of what such data are called, in small letters."""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        found = dataclasses.asdict(self)
        return {**found, "options": dict(self.options)}


@dataclass(frozen=True)
class Named:
    """A protocol that people call by a name, who measures so, what it is about, and what sees the images."""

    protocol: Protocol
    said: str
    subjects: tuple[Subject, ...]
    judge: Judge = "inception"


SCORED, SPATIAL = "logits without bias", "7 channels of 17 x 17 (Mixed_6d.branch1x1)"
"""Outputs of Inception-v3 that are not its pooled features."""
AS_GIVEN, OF_A_SPLIT = "as in the file", "images of a split"
"""The order of samples that nobody shuffles, and the option that says how parts are taken of it."""


def with_output(network: str, output: str) -> str:
    """The name of a network (`Protocol.network`) of which another output is taken."""
    return f"{network.partition(',')[0]}, {output}"


_INCEPTION = "FID Inception-v3"
_POOL = f"{_INCEPTION}, 2048 of the last pooling"
_TF = "bilinear to 299, corners aligned as in TensorFlow 1"
_HALF = "bicubic to 299 without antialiasing"
_ADM_VIEW = "short side to 256, the middle of it, flip 0"  # halved by a box filter, then bicubic
_ADM_FEW = "VIRTUAL_imagenet256_labeled.npz"  # moments of all training images, and 10,000 of them
_IMAGENET = "imagenet"


def _fid(
    reference: str, view: str, resize: str, rounding: str, *, samples: int = 50_000, data: str = ANY
) -> Protocol:
    return Protocol(
        "fid", _POOL, samples, reference, "", view, resize, rounding, precision=PRECISION, data=data
    )


_ADM = _fid(
    f"{_ADM_FEW}, moments", ANY, _TF, ANY
)  # the evaluator takes whole numbers, however they were made

PROTOCOLS: dict[str, Named] = {
    "rfid@val50k": Named(
        _fid(ORIGINALS, _ADM_VIEW, _TF, "down", data=_IMAGENET),
        "RAE, DINO-SAE: reconstructions of the validation images against these, both at 256",
        ("reconstructions",),
    ),
    "rfid@flatdino": Named(
        _fid(ORIGINALS, "squashed to 256²", _HALF, "none", data=_IMAGENET),
        "FlatDINO's own figures of reconstruction: its JAX Inception, another resize",
        ("reconstructions",),
    ),
    "gfid@adm-256": Named(_ADM, "ADM's evaluator: 50,000 samples, balanced over 1000 classes", ("samples",)),
    "gfid@rae": Named(
        dataclasses.replace(_ADM, rounding="down"),
        "RAE: ADM's evaluator on samples cut off to whole numbers, 50 of each class in random order",
        ("samples",),
    ),
    "sfid@adm-256": Named(
        dataclasses.replace(_ADM, measure="sfid", network=with_output(_INCEPTION, SPATIAL)),
        "ADM's evaluator, on spatial features",
        ("samples",),
    ),
    "is@adm-256": Named(
        dataclasses.replace(
            _ADM,
            measure="inception score",
            network=with_output(_INCEPTION, SCORED),
            reference="none",
            order=AS_GIVEN,
            options=((OF_A_SPLIT, 5000.0),),
        ),
        "ADM's evaluator: splits in file order, so that samples sorted by class score lower; of --samples",
        ("samples",),
    ),
    "prc@adm-256": Named(
        dataclasses.replace(
            _ADM, measure="precision and recall", reference=_ADM_FEW, options=(("neighbours", 3.0),)
        ),
        "ADM's evaluator: 50,000 samples against 10,000 images",
        ("samples",),
    ),
    "fid@vitok01": Named(
        _fid(
            ORIGINALS,
            "longest side 256",
            "bicubic to 299, antialiased, [0, 1] as it is",
            "none",
            samples=5000,
        ),
        "ViTok: the network sees [0, 1] where it was trained on [-1, 1]; comparable with nothing else",
        ("reconstructions",),
    ),
    "fdd@vitok": Named(
        Protocol(
            "fd",
            "DINOv3 ViT-B/16, CLS",
            5000,
            ORIGINALS,
            "",
            "longest side 256",
            "bicubic to 512, antialiased",
            "none",
            precision=PRECISION,
        ),
        "ViTok's FDD",
        ("reconstructions",),
        "dino",
    ),
    "fd-dinov2@dgm": Named(
        Protocol(
            "fd",
            "DINOv2 ViT-L/14, CLS",
            50_000,
            TRAINING,
            "",
            "",
            "bicubic to 224",
            "nearest",
            precision=PRECISION,
        ),
        "dgm-eval (Stein et al. 2023)",
        ("samples",),
        "dino",
    ),
    "kid@torch-fidelity": Named(
        Protocol(
            "kid",
            _POOL,
            0,
            "",
            "",
            "",
            _TF,
            "nearest",
            (("subsets", 100.0), ("images of a subset", 1000.0), ("degree", 3.0), ("coef0", 1.0)),
            2020,
            PRECISION,
        ),
        "torch-fidelity's default",
        ("samples",),
    ),
    "cmmd@google": Named(
        Protocol(
            "cmmd",
            "CLIP ViT-L/14 at 336, image embedding",
            30_000,
            "",
            "",
            "",
            "bicubic to 336, antialiased",
            "nearest",
            (("sigma", 10.0), ("scale", 1000.0)),
            precision=PRECISION,
        ),
        "Jayasumana et al. 2024",
        ("reconstructions", "samples"),
        "clip",
    ),
    "mind@5k": Named(
        Protocol(
            "mind", _POOL, 5000, "", "", "", _TF, "nearest", (("directions", 1000.0),), precision=PRECISION
        ),
        "MIND of 5,000 samples, on any features",
        ("reconstructions", "samples"),
    ),
    "knn@dino": Named(
        Protocol(
            "k-NN",
            DIRECTIONS,
            0,
            TRAINING,
            "",
            "",
            "",
            "none",
            (("neighbours", 20.0), ("temperature", 0.07)),
            precision="float64",
        ),
        "DINO's and FlatDINO's Table 10: directions of any features, weighted votes, temperature 0.07",
        ("classes",),
        "",
    ),
}


def deviations(actual: Protocol, wanted: Protocol) -> list[str]:
    """Where a measurement is not that of a named protocol, in words; fields that this leaves open are not compared."""
    found: list[str] = []
    for field in dataclasses.fields(Protocol):
        mine, theirs = getattr(actual, field.name), getattr(wanted, field.name)
        part = field.name == "data" and theirs in mine.lower()
        if theirs in (ANY, None, (), 0) or mine == theirs or part:
            continue
        found.append(f"{field.name.replace('_', ' ')}: {_text(mine)}, where the protocol has {_text(theirs)}")
    return found


def named(name: str) -> Named:
    """The protocol of this name. Raises ValueError with those that there are."""
    if name not in PROTOCOLS:
        raise ValueError(f"There is no protocol {name!r}; there are {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{name} {number:g}" for name, number in value) or "none"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value) or "not known"
