"""DINO (Caron et al. 2021), in two layouts; plain vision transformers look like one of them."""

from typing import Any

from laminate.pretrained.family import (
    APACHE,
    MODEL,
    VIT_SIZES,
    FileLayout,
    KnownWeights,
    PublishedFamily,
    PublishedNetwork,
)

_SMALL = VIT_SIZES["s"]


def _network(patch: int) -> PublishedNetwork:
    config = _SMALL.facts({"intermediate_size": 4 * _SMALL.width, "image_size": 224, "patch_size": patch})
    return PublishedNetwork(f"dino-s{patch}", f"DINO ViT-S/{patch}", "dino", config, 224)


def _readers() -> tuple[Any, ...]:
    from laminate.pretrained.plain import DINO, DINO_ORIGINAL

    return DINO, DINO_ORIGINAL


_ORIGINAL = {"embed_dim": _SMALL.width, "depth": _SMALL.depth, "num_heads": _SMALL.heads, "patch_size": 8}
DINO = PublishedFamily(
    layouts=(
        FileLayout(
            "vit",
            "a plain ViT, such as DINO or the encoder of ViT-MAE",
            (r"embeddings\.position_embeddings$", r"encoder\.layer\.0\.layernorm_before\.weight$"),
            (r"embeddings\.cls_token$", -1),
            r"encoder\.layer\.(\d+)\.",
            reader="dino",
            also=("vit-mae", "dino"),
        ),
        FileLayout(
            "dino",
            "DINO in its authors' layout",
            (r"cls_token$", r"pos_embed$", r"blocks\.0\.attn\.qkv\.weight$"),
            (r"cls_token$", -1),
            r"blocks\.(\d+)\.",
            absent=(r"ls1\.gamma$",),
            reader="dino-original",
        ),
    ),
    weights=(
        KnownWeights(
            "dino-s8",
            "facebook/dino-vits8",
            (MODEL,),
            APACHE,
            "Meta AI, DINO (arXiv:2104.14294)",
            "dino",
            87,
            width=384,
            depth=12,
        ),
        KnownWeights(
            "dino-s8-original",
            "nyu-visionx/RAE-collections",
            ("discs/dino_vit_small_patch8_224.pth",),
            APACHE,
            "Meta AI, DINO (arXiv:2104.14294), as the RAE discriminator reads it",
            "dino",
            87,
            config=None,
            width=384,
            depth=12,
        ),
    ),
    networks=(
        _network(8),
        _network(16),
        PublishedNetwork(
            "dino-s8-original", "DINO ViT-S/8 (original layout)", "dino-original", _ORIGINAL, 224
        ),
    ),
    readers=_readers,
)
