"""CLIP (Radford et al. 2021), whose vision tower CMMD sees images with."""

from laminate.pretrained.family import UNSTATED, FileLayout, KnownWeights, PublishedFamily

CLIP = PublishedFamily(
    layouts=(
        FileLayout(
            "clip",
            "CLIP",
            (r"vision_model\.embeddings\.class_embedding$", r"vision_model\.pre_layrnorm\.weight$"),
            (r"vision_model\.embeddings\.class_embedding$", 0),
            r"vision_model\.encoder\.layers\.(\d+)\.",
        ),
    ),
    weights=(
        KnownWeights(
            "clip-l-336",
            "openai/clip-vit-large-patch14-336",
            ("pytorch_model.bin",),
            UNSTATED,
            "OpenAI, CLIP ViT-L/14 at 336 (arXiv:2103.00020), for CMMD; the text tower is in the same file",
            "clip",
            1711,
            width=1024,
            depth=24,
        ),
    ),
)
