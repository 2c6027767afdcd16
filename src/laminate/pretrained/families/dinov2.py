"""DINOv2 (Oquab et al. 2023), with registers (Darcet et al. 2024) and without."""

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

_SIZES = (("s", "small", 88), ("b", "base", 346), ("l", "large", 1217), ("g", "giant", 4546))
_TITLES = {"dinov2": "DINOv2-{} with registers", "dinov2-plain": "DINOv2-{}"}


def _network(name: str, letter: str, layout: str) -> PublishedNetwork:
    size = VIT_SIZES[letter]
    config = size.facts({"image_size": 518, "patch_size": 14, "use_swiglu_ffn": letter == "g"})
    return PublishedNetwork(name, _TITLES[layout].format(size.letter), layout, config, 224)


def _weights(name: str, letter: str, word: str, layout: str, megabytes: int) -> KnownWeights:
    registers = layout == "dinov2"
    repository = f"facebook/dinov2{'-with-registers' if registers else ''}-{word}"
    source = "Meta AI, DINOv2" + (
        " with registers (arXiv:2309.16588)" if registers else " (arXiv:2304.07193)"
    )
    width, depth = VIT_SIZES[letter].width, VIT_SIZES[letter].depth
    return KnownWeights(
        name, repository, (MODEL,), APACHE, source, layout, megabytes, width=width, depth=depth
    )


def _readers() -> tuple[Any, ...]:
    from laminate.pretrained.dinov2 import DINOV2, DINOV2_REGISTERS

    return DINOV2, DINOV2_REGISTERS


_NAMED = [
    (f"dinov2-{letter}{suffix}", letter, word, layout, megabytes)
    for letter, word, megabytes in _SIZES
    for suffix, layout in (("", "dinov2"), ("-plain", "dinov2-plain"))
]
DINOV2 = PublishedFamily(
    layouts=(
        FileLayout(
            "dinov2",
            "DINOv2 with registers",
            (r"embeddings\.register_tokens$", r"encoder\.layer\.0\.layer_scale1\.lambda1$"),
            (r"embeddings\.cls_token$", -1),
            r"encoder\.layer\.(\d+)\.",
            reader="dinov2",
        ),
        FileLayout(
            "dinov2",
            "DINOv2 in its authors' layout",
            (r"pos_embed$", r"blocks\.0\.attn\.qkv\.weight$", r"blocks\.0\.ls1\.gamma$"),
            (r"cls_token$", -1),
            r"blocks\.(\d+)\.",
            absent=(r"storage_tokens$|rope_embed\.periods$",),
        ),
        FileLayout(
            "dinov2-plain",
            "DINOv2 without registers",
            (r"embeddings\.position_embeddings$", r"encoder\.layer\.0\.layer_scale1\.lambda1$"),
            (r"embeddings\.cls_token$", -1),
            r"encoder\.layer\.(\d+)\.",
            reader="dinov2-plain",
        ),
    ),
    weights=tuple(_weights(*row) for row in _NAMED),
    networks=tuple(_network(name, letter, layout) for name, letter, _, layout, _ in _NAMED),
    readers=_readers,
)
