"""ViT-MAE (He et al. 2022)."""

from typing import Any

from laminate.pretrained.family import (
    MODEL,
    VIT_SIZES,
    FileLayout,
    KnownWeights,
    PublishedFamily,
    PublishedNetwork,
)


def _network(letter: str, patch: int, image_size: int) -> PublishedNetwork:
    size = VIT_SIZES[letter]
    config = size.facts({"intermediate_size": 4 * size.width, "image_size": 224, "patch_size": patch})
    return PublishedNetwork(f"mae-{letter}", f"ViT-MAE-{size.letter}", "vit-mae", config, image_size)


def _readers() -> tuple[Any, ...]:
    from laminate.pretrained.plain import MAE

    return (MAE,)


MAE = PublishedFamily(
    layouts=(
        FileLayout(
            "vit-mae",
            "ViT-MAE",
            (r"encoder\.layer\.0\.layernorm_before\.weight$", r"decoder\.decoder_layers\.0\."),
            (r"embeddings\.cls_token$", -1),
            r"encoder\.layer\.(\d+)\.",
            reader="vit-mae",
        ),
        FileLayout(
            "vit-mae",
            "ViT-MAE",
            (r"^(?:.*\.)?vit\.encoder\.layer\.0\.layernorm_before\.weight$",),
            (r"embeddings\.cls_token$", -1),
            r"encoder\.layer\.(\d+)\.",
            reader="vit-mae",
        ),
    ),
    weights=(
        KnownWeights(
            "mae-b",
            "facebook/vit-mae-base",
            (MODEL,),
            "Apache-2.0 (model page)",
            "Meta AI, masked autoencoders (arXiv:2111.06377)",
            "vit-mae",
            448,
            width=768,
            depth=12,
        ),
    ),
    networks=(_network("b", 16, 256), _network("l", 16, 256), _network("h", 14, 224)),
    readers=_readers,
)
