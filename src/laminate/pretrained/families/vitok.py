"""ViTok-v2."""

from laminate.pretrained.family import FileLayout, KnownWeights, PublishedFamily


def _weights() -> list[KnownWeights]:
    source = "P. Hansen-Estruch, ViTok-v2"
    return [
        KnownWeights(
            f"vitok-{name.lower()}",
            f"philippehansen/ViTok-v2-{name}",
            ("encoder.safetensors", "decoder.safetensors"),
            "MIT (of the code); see the model page",
            source,
            "vitok",
            config=None,
            width=width,
        )
        for name, width in (
            *((f"350M-f16x{channels}", 1024) for channels in (16, 32, 64)),
            *(
                (f"5B-{code}", 3072)
                for code in ("f16x16", "f16x32", "f16x64", "f32x64", "f32x128", "f32x256")
            ),
        )
    ]


VITOK = PublishedFamily(
    layouts=(
        FileLayout(
            "vitok",
            "ViTok",
            (r"(?:encoder|decoder)_blocks\.0\.attn\.qkv_proj\.weight$",),
            (r"(?:patch_embed|decoder_embed)\.bias$", 0),
            r"(?:encoder|decoder)_blocks\.(\d+)\.",
        ),
    ),
    weights=tuple(_weights()),
)
