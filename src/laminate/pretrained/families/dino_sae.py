"""DINO-SAE."""

from laminate.pretrained.family import FileLayout, KnownWeights, PublishedFamily

DINO_SAE = PublishedFamily(
    layouts=(
        FileLayout(
            "dino-sae",
            "DINO-SAE",
            (r"dino_model\.patch_embed\.cnn\.0\.conv\.weight$",),
            (r"dino_model\.norm\.weight$", 0),
            r"dino_model\.blocks\.(\d+)\.",
            whole=True,
        ),
    ),
    weights=(
        KnownWeights(
            "dino-sae",
            "wkdgnsgo/dino-sae",
            ("ema_model_step_470000.pt",),
            "MIT (of the code); its backbone is under the DINOv3 License",
            "DINO-SAE",
            "dino-sae",
            config=None,
        ),
    ),
)
