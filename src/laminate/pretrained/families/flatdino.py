"""FlatDINO (Calvo-González & Fleuret 2026), as its authors and as this library store it."""

from laminate.pretrained.family import FileLayout, PublishedFamily

FLATDINO = PublishedFamily(
    layouts=(
        FileLayout(
            "laminate-flatdino",
            "a FlatDINO tokenizer of this library",
            (r"^encoder\.stack\.layers\.attention\.qkv\.weight$", r"^decoder\.stack\.layers\."),
            (r"^encoder\.norm\.scale$", 0),
            r"^$()",
            whole=True,
        ),
        FileLayout(
            "flatdino",
            "FlatDINO as its authors store it",
            (r"encoder/blocks/0/attention/qkv_proj/kernel$", r"decoder/blocks/0/attention/qkv_proj/kernel$"),
            (r"encoder/norm/norm/scale$", 0),
            r"encoder/blocks/(\d+)/",
            whole=True,
        ),
    ),
)
