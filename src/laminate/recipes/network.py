"""Recipes of the networks: the frozen teacher, and the transformers of a tokenizer."""

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from laminate.recipes.checks import above, at_least, one_of, rate

Mlp = Literal["swiglu", "gelu"]
Norm = Literal["layer", "rms"]
Positions = Literal["none", "learned", "sincos"]


@dataclass(frozen=True)
class Vit:
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
    """Kind of MLP: gated (SwiGLU) or plain (GELU)."""
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
        for field in ("dim", "depth", "heads", "hidden"):
            at_least(f"transformer.{field}", getattr(self, field), 1)
        if self.dim % self.heads:
            raise ValueError(f"transformer.heads must divide dim, got {self.heads} heads for dim {self.dim}.")
        one_of("transformer.mlp", self.mlp, get_args(Mlp))
        one_of("transformer.norm", self.norm, get_args(Norm))
        one_of("transformer.positions", self.positions, get_args(Positions))
        above("transformer.norm_eps", self.norm_eps, 0.0)
        above("transformer.table_std", self.table_std, 0.0)
        rate("transformer.drop_path_rate", self.drop_path_rate)


@dataclass(frozen=True)
class Teacher:
    """The frozen network whose patch features are compressed."""

    name: str
    """`patches` (the normalised pixels of each patch) or a pretrained network such as `dinov2-b`."""
    image_size: int
    """Side of the square image that the teacher sees, in pixels."""
    patches: int
    """Patch features per image, a square grid."""
    dim: int
    """Width of one patch feature."""
    depth: int = 0
    """Layers whose output can be asked for; 0 for `patches`."""

    def __post_init__(self) -> None:
        for field in ("image_size", "patches", "dim"):
            at_least(f"teacher.{field}", getattr(self, field), 1)
        at_least("teacher.depth", self.depth, 0)
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
    def grid(self) -> int:
        """Patches along one side."""
        return math.isqrt(self.patches)

    @property
    def patch_size(self) -> int:
        """Side of one patch in pixels."""
        return self.image_size // self.grid

    @property
    def numbers(self) -> int:
        """Numbers per image that a tokenizer has to compress."""
        return self.patches * self.dim


PRETRAINED_TEACHERS: dict[str, Teacher] = {
    name: Teacher(name, image_size=224, patches=256, dim=dim, depth=depth)
    for name, dim, depth in (
        ("dinov2-s", 384, 12),
        ("dinov2-b", 768, 12),
        ("dinov2-l", 1024, 24),
        ("dinov2-g", 1536, 40),
    )
}


def patch_teacher(image_size: int, patch_size: int) -> Teacher:
    """The teacher without weights: each patch of the image is its own feature."""
    at_least("patch size", patch_size, 1)
    if image_size % patch_size:
        raise ValueError(f"The patch size must divide the image size, got {patch_size} and {image_size}.")
    return Teacher(
        "patches", image_size=image_size, patches=(image_size // patch_size) ** 2, dim=3 * patch_size**2
    )


def find_teacher(text: str) -> Teacher:
    """The teacher that a person names: `dinov2-b`, or `patches` / `patches-64-8` (image and patch size).

    Raises `ValueError` with the known names.
    """
    if text == "patches":
        return patch_teacher(64, 8)
    sized = re.fullmatch(r"patches-([0-9]+)-([0-9]+)", text)
    if sized:
        return patch_teacher(int(sized[1]), int(sized[2]))
    if text not in PRETRAINED_TEACHERS:
        known = ", ".join(["patches", "patches-IMAGE-PATCH", *PRETRAINED_TEACHERS])
        raise ValueError(f"Unknown teacher {text!r}. Known: {known}.")
    return PRETRAINED_TEACHERS[text]
