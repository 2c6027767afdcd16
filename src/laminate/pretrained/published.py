"""The sizes in which the families are published, for files that come without a configuration, and for messages.

Names are those of the registry, where it has them.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from laminate.models.vit import Vit
from laminate.pretrained.dinov2 import DINOV2, DINOV2_REGISTERS
from laminate.pretrained.dinov3 import DINOV3, DINOV3_ORIGINAL
from laminate.pretrained.family import PublishedFamily
from laminate.pretrained.plain import DINO, DINO_ORIGINAL, MAE
from laminate.pretrained.siglip2 import SIGLIP2


@dataclasses.dataclass(frozen=True)
class Published:
    """One network as it was published. `image_size` is the usual side of its images."""

    title: str
    family: PublishedFamily
    config: Mapping[str, Any]
    image_size: int

    def load(
        self,
        weights: Mapping[str, np.ndarray],
        *,
        affine: bool = True,
        prefix: str | None = None,
        dtype: jnp.dtype = jnp.dtype(jnp.float32),
        on_host: bool = False,
    ) -> Vit:
        """The network with published weights; see `PublishedFamily.load`."""
        family = dataclasses.replace(self.family, title=self.title)
        return family.load(self.config, weights, affine=affine, prefix=prefix, dtype=dtype, on_host=on_host)

    @property
    def size(self) -> tuple[int, int]:
        """Width and depth."""
        facts = self.family.facts(self.config)
        return facts.get("hidden_size") or facts["embed_dim"], facts.get("num_hidden_layers") or facts[
            "depth"
        ]

    @property
    def patch(self) -> int:
        """Side of a patch, in pixels."""
        return self.family.facts(self.config)["patch_size"]


_SIZES = {  # width, depth, heads
    "S": (384, 12, 6),
    "B": (768, 12, 12),
    "L": (1024, 24, 16),
    "H": (1280, 32, 16),
    "g": (1536, 40, 24),
}


def _sized(letter: str, **more: Any) -> dict[str, Any]:
    dim, depth, heads = _SIZES[letter]
    return {"hidden_size": dim, "num_hidden_layers": depth, "num_attention_heads": heads, **more}


def _dinov2(family: PublishedFamily, letter: str) -> Published:
    config = _sized(letter, image_size=518, patch_size=14, use_swiglu_ffn=letter == "g")
    title = f"DINOv2-{letter}" + (" with registers" if family is DINOV2_REGISTERS else "")
    return Published(title, family, config, 224)


def _dinov3(letter: str) -> Published:
    hidden = 4 * _SIZES[letter][0]
    config = _sized(letter, intermediate_size=hidden, patch_size=16, num_register_tokens=4)
    return Published(f"DINOv3-{letter}", DINOV3, config, 256)


def _dinov3_original(letter: str) -> Published:
    dim, depth, heads = _SIZES[letter]
    config = {
        "embed_dim": dim,
        "depth": depth,
        "num_heads": heads,
        "mask_k_bias": True,
        "n_storage_tokens": 4,
        "norm_layer": "layernormbf16",
    }
    return Published(f"DINOv3-{letter} (original layout)", DINOV3_ORIGINAL, config, 256)


def _plain(title: str, family: PublishedFamily, letter: str, patch: int, image_size: int = 224) -> Published:
    hidden = 4 * _SIZES[letter][0]
    config = _sized(letter, intermediate_size=hidden, image_size=224, patch_size=patch)
    return Published(title, family, config, image_size)


def _siglip2_base() -> Published:
    config = _sized("B", intermediate_size=3072, image_size=256, patch_size=16)
    return Published("SigLIP2-B", SIGLIP2, config, 256)


PUBLISHED: dict[str, Published] = {
    **{f"dinov2-{letter.lower()}": _dinov2(DINOV2_REGISTERS, letter) for letter in "SBLg"},
    **{f"dinov2-{letter.lower()}-plain": _dinov2(DINOV2, letter) for letter in "SBLg"},
    **{f"dinov3-{letter.lower()}": _dinov3(letter) for letter in "SBL"},
    **{f"dinov3-{letter.lower()}-original": _dinov3_original(letter) for letter in "SBL"},
    **{f"mae-{letter.lower()}": _plain(f"ViT-MAE-{letter}", MAE, letter, 16, 256) for letter in "BL"},
    "mae-h": _plain("ViT-MAE-H", MAE, "H", 14),
    "dino-s8": _plain("DINO ViT-S/8", DINO, "S", 8),
    "dino-s16": _plain("DINO ViT-S/16", DINO, "S", 16),
    "dino-s8-original": Published("DINO ViT-S/8 (original layout)", DINO_ORIGINAL, {}, 224),
    "siglip2-b": _siglip2_base(),
}
