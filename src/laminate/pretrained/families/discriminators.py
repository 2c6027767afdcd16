"""Discriminators of image decoders."""

from laminate.pretrained.family import FileLayout, PublishedFamily

DISCRIMINATORS = PublishedFamily(
    layouts=(
        FileLayout(
            "dino-discriminator",
            "heads of a discriminator over DINO, as RAE stores them",
            (r"heads\.0\.0\.0\.weight_orig$", r"heads\.0\.1\.fn\.0\.weight_orig$"),
            (r"heads\.0\.0\.0\.bias$", 0),
            r"^$()",
        ),
        FileLayout(
            "dino-discriminator",
            "heads of a discriminator over DINO, as FlatDINO stores them",
            (r"heads/0/layers/1/fn/conv/layer_instance/kernel$",),
            (r"heads/0/layers/0/conv/layer_instance/bias$", 0),
            r"^$()",
        ),
        FileLayout(
            "patchgan",
            "a PatchGAN discriminator",
            (r"main\.0\.weight(?:_orig)?$", r"main\.2\.weight(?:_orig)?$"),
            (r"^$", 0),
            r"^$()",
        ),
    ),
)
