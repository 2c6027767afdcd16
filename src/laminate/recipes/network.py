"""Recipes of the networks: the frozen teacher, and the transformers of a tokenizer."""

import math
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from etils import epath

from laminate.pretrained import hub
from laminate.pretrained.registry import KNOWN, NETWORKS
from laminate.recipes.checks import above, at_least, one_of, rate
from laminate.recipes.serialization import ABSENT, FOUND

Mlp = Literal["swiglu", "gelu", "gelu-exact"]
Norm = Literal["layer", "rms"]
Positions = Literal["none", "learned", "sincos"]
MASKED_AUTOENCODER = "masked-autoencoder"
"""The family of the networks that `experiments/teacher.py` trains, the one in the package among them."""
PUBLISHED_CROP = 256
_PUBLISHED_SIZES = (224, 256)
StoredDtype = Literal["float32", "bfloat16"]
HeldDtype = StoredDtype | Literal["int8"]
"""Of the weights of a trained network in inference; int8 is for the layers of transformers."""
Resampling = Literal["bilinear-antialias", "bicubic-antialias", "bilinear", "bicubic"]
AttentionKernel = Literal["xla", "cudnn", "pallas"]
Remat = Literal["none", "products", "dots", "block", "attention"]


@dataclass(frozen=True)
class Compute:
    """How a network is computed, which changes no result beyond round-off."""

    dtype: StoredDtype = "float32"
    """Number format of the computation; parameters, norms, losses and optimiser stay float32."""
    kernel: AttentionKernel = "xla"
    """Attention kernel."""
    remat: Remat = "none"
    """What the backward pass computes again."""
    remat_from: int = 0
    """Layers that a network must have for that: of fewer, nothing is computed again."""

    def remat_of(self, layers: int) -> Remat:
        """What is computed again in a network of so many layers."""
        return self.remat if layers >= self.remat_from else "none"


PLAIN = Compute()


@dataclass(frozen=True)
class VitConfig:
    """A pre-norm vision transformer over a sequence of tokens."""

    dim: int
    """Width of the residual stream."""
    depth: int
    """Number of layers."""
    heads: int
    """Attention heads; they divide the width."""
    hidden: int
    """Width inside the MLP."""
    mlp: Mlp = "swiglu"
    """Kind of MLP: gated (SwiGLU), or plain with the tanh form of GELU or with GELU itself."""
    norm: Norm = "layer"
    """Kind of norm inside the layers."""
    norm_eps: float = 1e-6
    """Added to the variance before its root."""
    qk_norm: bool = True
    """Normalise queries and keys of every head."""
    bias: bool = True
    """Linear layers of attention and MLP have a bias."""
    positions: Positions = "none"
    """Position table added to the tokens, not to the registers."""
    table_std: float = 0.02
    """Standard deviation of positions and registers before training. Far above 0.02, attention tells places apart
    from the first step, which features without positions of their own need in a short training."""
    drop_path_rate: float = 0.0
    """Chance that a branch of the last layer is skipped; grows linearly with depth."""

    def __post_init__(self) -> None:
        for name in ("dim", "depth", "heads", "hidden"):
            at_least(f"transformer.{name}", getattr(self, name), 1)
        if self.dim % self.heads:
            raise ValueError(f"transformer.heads must divide dim, got {self.heads} heads for dim {self.dim}.")
        one_of("transformer.mlp", self.mlp, get_args(Mlp))
        one_of("transformer.norm", self.norm, get_args(Norm))
        one_of("transformer.positions", self.positions, get_args(Positions))
        above("transformer.norm_eps", self.norm_eps, 0.0)
        above("transformer.table_std", self.table_std, 0.0)
        rate("transformer.drop_path_rate", self.drop_path_rate)


@dataclass(frozen=True)
class TeacherConfig:
    """The frozen network whose patch features are compressed."""

    name: str
    """`embedded` (the network in the package), `patches` (the normalised pixels of each patch), a known network such as
    `dinov2-b`, the file, folder or hub repository of one, or `dinov2-b=WHERE`."""
    image_size: int
    """Side of the square image that the teacher sees, in pixels."""
    patches: int
    """Patch features per image, a square grid."""
    dim: int
    """Width of one patch feature."""
    depth: int = 0
    """Layers whose output can be asked for; 0 for `patches`."""
    family: str = ""
    """Kind of network, such as `dinov2`; empty for `patches`."""
    dtype: StoredDtype = "float32"
    """Number format in which its weights are held."""
    weights: str = field(default="", metadata={FOUND: "the weights of --teacher"})
    """SHA-256 of all that decides what it computes; empty until its weights are read, and for `patches`."""
    resampling: Resampling = field(default="bilinear-antialias", metadata={ABSENT: "bilinear-antialias"})
    """How images are brought to its size (`nn.resize`): with a low-pass filter (FlatDINO), or bicubically without
    (RAE)."""

    def __post_init__(self) -> None:
        for name in ("image_size", "patches", "dim"):
            at_least(f"teacher.{name}", getattr(self, name), 1)
        at_least("teacher.depth", self.depth, 0)
        one_of("teacher.dtype", self.dtype, get_args(StoredDtype))
        one_of("teacher.resampling", self.resampling, get_args(Resampling))
        if self.grid**2 != self.patches:
            raise ValueError(f"teacher.patches must be a square number, got {self.patches}.")
        if self.image_size % self.grid:
            raise ValueError(
                f"teacher.image_size must be a multiple of {self.grid} (patches), got {self.image_size}."
            )
        if self.name == "patches" and self.dim != 3 * self.patch_size**2:
            raise ValueError(
                f"teacher.dim of `patches` must be 3 x {self.patch_size}² for this grid, got {self.dim}."
            )

    @property
    def shows_images(self) -> bool:
        """Whether its features become images without another network: pixels, or one that was trained here."""
        return self.name == "patches" or self.family == MASKED_AUTOENCODER

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return math.isqrt(self.patches)

    @property
    def patch_size(self) -> int:
        """Side of one patch in pixels."""
        return self.image_size // self.grid

    @property
    def crop_size(self) -> int:
        """Side of the square that images are brought to before the teacher sees them: 256 for the published sizes,
        as in the paper; that of the teacher for others."""
        published = self.family not in ("", MASKED_AUTOENCODER)
        return PUBLISHED_CROP if self.image_size in _PUBLISHED_SIZES and published else self.image_size

    @property
    def numbers(self) -> int:
        """Numbers per image that a tokenizer has to compress."""
        return self.patches * self.dim


def _known_teachers() -> dict[str, TeacherConfig]:
    found: dict[str, TeacherConfig] = {}
    for name, known in KNOWN.items():
        one = NETWORKS.get(name)
        if one is not None and not known.pickled:
            patches = (one.image_size // one.patch) ** 2
            found[name] = TeacherConfig(name, one.image_size, patches, one.width, one.depth, known.family)
    return found


PRETRAINED_TEACHERS: dict[str, TeacherConfig] = _known_teachers()


def patch_teacher(image_size: int, patch_size: int) -> TeacherConfig:
    """The teacher without weights: each patch of the image is its own feature."""
    at_least("patch size", patch_size, 1)
    if image_size % patch_size:
        raise ValueError(f"The patch size must divide the image size, got {patch_size} and {image_size}.")
    return TeacherConfig(
        "patches", image_size=image_size, patches=(image_size // patch_size) ** 2, dim=3 * patch_size**2
    )


def find_teacher(
    text: str, *, image_size: int | None = None, dtype: StoredDtype = "float32"
) -> TeacherConfig:
    """The teacher that a person names: `embedded`; `dinov2-b`; the file, folder or hub repository of one, or the run
    that trained it; `dinov2-b=WHERE`; or `patches` / `patches-64-8` (image and patch size).

    `image_size` is the side of the images that it sees, its usual one if None. What has no known name is looked at,
    and fetched where it has to be. Raises `ValueError` with the known names, or for what cannot teach, and OSError if
    it is not there.
    """
    sized = re.fullmatch(r"patches(?:-([0-9]+)-([0-9]+))?", text)
    if sized:
        if image_size is not None or dtype != "float32":
            raise ValueError(
                "The teacher `patches` has no weights, and is named with its sizes: --teacher patches-IMAGE-PATCH."
            )
        return patch_teacher(int(sized[1] or 64), int(sized[2] or 8))
    found = PRETRAINED_TEACHERS.get(text.partition("=")[0])
    if found is None or (text != found.name and "=" not in text):
        found = _looked_at(text)
    else:
        found = replace(found, name=text)
    return _seeing(replace(found, dtype=dtype), image_size)


def _seeing(teacher: TeacherConfig, image_size: int | None) -> TeacherConfig:
    if image_size is None:
        return teacher
    patch = teacher.patch_size
    if image_size < 1 or image_size % patch:
        near = max(1, round(image_size / patch)) * patch
        raise ValueError(
            f"The teacher {teacher.name!r} sees images of whole patches of {patch} pixels, and {image_size} is no "
            f"multiple of that: --teacher-image-size {near} is the nearest."
        )
    return replace(teacher, image_size=image_size, patches=(image_size // patch) ** 2)


def _looked_at(text: str) -> TeacherConfig:
    """The teacher that lies in a file, folder or repository."""
    if not (text == hub.EMBEDDED or "/" in text or "=" in text or Path(os.path.expanduser(text)).exists()):
        known = ", ".join([hub.EMBEDDED, "patches", "patches-IMAGE-PATCH", *PRETRAINED_TEACHERS])
        raise ValueError(
            f"Unknown teacher {text!r}. Known: {known}; or a file, a folder or ORGANISATION/NAME of the hub."
        )
    own = own_teacher(text)
    if own is not None:
        return own
    from laminate.pretrained.teachers import describe_teacher  # only these need JAX to be understood

    one = describe_teacher(text)
    dim, depth = one.size
    return TeacherConfig(
        text, one.image_size, (one.image_size // one.patch) ** 2, dim, depth, one.family.name
    )


def left_in(run: str, what: str) -> str:
    """The folder `what` that a training has left in its run (`train.export.FOLDERS`); `run` itself where none is."""
    left = f"{run.rstrip('/')}/{what}"
    return left if (epath.Path(os.path.expanduser(left)) / "config.json").exists() else run


def own_teacher(text: str) -> TeacherConfig | None:
    """The network that was trained here and lies in the folder, run or repository `text`, or in the package; None for
    others. Raises ValueError for a trained model of another kind, and OSError if nothing is there."""
    name, equals, _ = text.partition("=")
    if text in KNOWN or (equals and name in NETWORKS):
        return None
    from laminate.recipes.families import saved_teacher  # which knows recipes, and so this module

    where = left_in(text, "teacher")
    return saved_teacher(where, hub.config_of(hub.locate(where)))
