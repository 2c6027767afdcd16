"""Networks that measure images: VGG-16 with the heads of LPIPS, and Inception-v3."""

from laminate.pretrained.family import MODEL, FileLayout, KnownWeights, PublishedFamily

METRICS = PublishedFamily(
    layouts=(
        FileLayout(
            "lpips",
            "the linear heads of LPIPS",
            (r"lin0\.model\.1\.weight$|lins\.0\.model\.1\.weight$",),
            (r"^$", 0),
            r"lins?\.?(\d+)\.",
        ),
        FileLayout(
            "vgg16",
            "VGG-16",
            (r"features\.0\.weight$", r"features\.28\.weight$"),
            (r"features\.28\.bias$", 0),
            r"^$()",
        ),
        FileLayout(
            "inception",
            "Inception-v3",
            (r"Conv2d_1a_3x3\.", r"Mixed_7c\."),
            (r"^$", 0),
            r"^$()",
        ),
    ),
    weights=(
        KnownWeights(
            "vgg16",
            "timm/vgg16.tv_in1k",
            (MODEL,),
            "BSD-3-Clause",
            "torchvision, VGG-16 (arXiv:1409.1556), for LPIPS",
            "vgg16",
            553,
        ),
    ),
)
