"""The vision tower of SigLIP 2 (Tschannen et al. 2025)."""

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


def _readers() -> tuple[Any, ...]:
    from laminate.pretrained.siglip2 import SIGLIP2

    return (SIGLIP2,)


_CONFIG = VIT_SIZES["b"].facts({"intermediate_size": 3072, "image_size": 256, "patch_size": 16})
SIGLIP2 = PublishedFamily(
    layouts=(
        FileLayout(
            "siglip2",
            "SigLIP or SigLIP2",
            (r"embeddings\.patch_embedding\.weight$", r"encoder\.layers\.0\.self_attn\.q_proj\.weight$"),
            (r"embeddings\.patch_embedding\.bias$", 0),
            r"(?:^|vision_model\.|encoder\.model\.)encoder\.layers\.(\d+)\.",
            reader="siglip2",
        ),
    ),
    weights=(
        KnownWeights(
            "siglip2-b",
            "google/siglip2-base-patch16-256",
            (MODEL,),
            APACHE,
            "Google, SigLIP 2 (arXiv:2502.14786); the text tower is in the same file",
            "siglip2",
            width=768,
        ),
    ),
    networks=(PublishedNetwork("siglip2-b", "SigLIP2-B", "siglip2", _CONFIG, 256),),
    readers=_readers,
)
