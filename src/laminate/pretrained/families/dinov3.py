"""DINOv3 (Siméoni et al. 2025), in two layouts of the same weights."""

from typing import Any

from laminate.pretrained.family import (
    MODEL,
    VIT_SIZES,
    FileLayout,
    KnownWeights,
    PublishedFamily,
    PublishedNetwork,
)

_LICENCE = "DINOv3 License (gated: accept it on the model page first)"
_SIZES = (("s", 86), ("b", 343), ("l", 1213))


def _network(letter: str) -> PublishedNetwork:
    size = VIT_SIZES[letter]
    config = size.facts({"intermediate_size": 4 * size.width, "patch_size": 16, "num_register_tokens": 4})
    return PublishedNetwork(f"dinov3-{letter}", f"DINOv3-{size.letter}", "dinov3", config, 256)


def _original(letter: str) -> PublishedNetwork:
    size = VIT_SIZES[letter]
    config = {
        "embed_dim": size.width,
        "depth": size.depth,
        "num_heads": size.heads,
        "patch_size": 16,
        "mask_k_bias": True,
        "n_storage_tokens": 4,
        "norm_layer": "layernormbf16",
    }
    title = f"DINOv3-{size.letter} (original layout)"
    return PublishedNetwork(f"dinov3-{letter}-original", title, "dinov3-original", config, 256)


def _weights(letter: str, megabytes: int) -> KnownWeights:
    return KnownWeights(
        f"dinov3-{letter}",
        f"facebook/dinov3-vit{letter}16-pretrain-lvd1689m",
        (MODEL,),
        _LICENCE,
        "Meta AI, DINOv3 (arXiv:2508.10104)",
        "dinov3",
        megabytes,
        width=VIT_SIZES[letter].width,
        depth=VIT_SIZES[letter].depth,
    )


def _readers() -> tuple[Any, ...]:
    from laminate.pretrained.dinov3 import DINOV3, DINOV3_ORIGINAL

    return DINOV3, DINOV3_ORIGINAL


DINOV3 = PublishedFamily(
    layouts=(
        FileLayout(
            "dinov3",
            "DINOv3 in its authors' layout",
            (
                r"storage_tokens$|rope_embed\.periods$",
                r"blocks\.0\.attn\.qkv\.weight$",
                r"blocks\.0\.ls1\.gamma$",
            ),
            (r"cls_token$", -1),
            r"blocks\.(\d+)\.",
            reader="dinov3-original",
        ),
        FileLayout(
            "dinov3",
            "DINOv3",
            (r"layer\.0\.attention\.q_proj\.weight$", r"layer\.0\.layer_scale1\.lambda1$"),
            (r"embeddings\.cls_token$", -1),
            r"layer\.(\d+)\.",
            reader="dinov3",
        ),
    ),
    weights=tuple(_weights(*row) for row in _SIZES),
    networks=(*(_network(row[0]) for row in _SIZES), *(_original(row[0]) for row in _SIZES)),
    readers=_readers,
)
