"""The published weights that are known by a short name: where they lie, whose they are, under which licence.

Sizes are those of float32 copies, worked out from the configurations. No hash is written here that its owners do not
state: the first fetch notes the commit and the hashes of a name (`pins`), and every later use is compared with them.
"""

import difflib
from dataclasses import dataclass, field

from laminate.pretrained.pickles import PICKLES

MODEL = "model.safetensors"
CONFIG = "config.json"
_APACHE = "Apache-2.0"
_DINOV3 = "DINOv3 License (gated: accept it on the model page first)"
_UNSTATED = "see the model page"


@dataclass(frozen=True)
class KnownWeights:
    """Known weights: the files of one repository of the Hugging Face hub."""

    name: str
    repository: str
    files: tuple[str, ...]
    """The file of the weights, or the files that make them up together."""
    licence: str
    source: str
    """Who made them."""
    family: str
    """The layout that the files must have (`layouts.FAMILIES`); "" if it is not checked."""
    megabytes: int | None = None
    """Size of the download, about; None where it is not known."""
    config: str | None = CONFIG
    revision: str = "main"
    sha256: dict[str, str] = field(default_factory=dict[str, str])
    """Hash by file, where the owners state it."""
    width: int | None = None
    depth: int | None = None

    @property
    def pickled(self) -> bool:
        """Whether the weights are published as a pickle, which has to be converted first."""
        return any(file.endswith(PICKLES) for file in self.files)


def find(name: str) -> KnownWeights:
    """The known weights of that name. Raises ValueError with the nearest names."""
    if name not in KNOWN:
        near = difflib.get_close_matches(name, KNOWN, n=3, cutoff=0.5)
        hint = (
            f"did you mean {', '.join(near)}?" if near else "`python -m laminate.pretrained list` shows them."
        )
        raise ValueError(f"There are no known weights named {name!r}: {hint}")
    return KNOWN[name]


_VIT_SIZES = (("s", "small", 384, 12, 88), ("b", "base", 768, 12, 346), ("l", "large", 1024, 24, 1217))
_GIANT = ("g", "giant", 1536, 40, 4546)


def _dinov2() -> list[KnownWeights]:
    found: list[KnownWeights] = []
    for letter, size, width, depth, megabytes in (*_VIT_SIZES, _GIANT):
        for suffix, between, family in (("", "-with-registers", "dinov2"), ("-plain", "", "dinov2-plain")):
            name, repository = f"dinov2-{letter}{suffix}", f"facebook/dinov2{between}-{size}"
            source = "Meta AI, DINOv2" + (
                " with registers (arXiv:2309.16588)" if between else " (arXiv:2304.07193)"
            )
            found.append(
                KnownWeights(
                    name, repository, (MODEL,), _APACHE, source, family, megabytes, width=width, depth=depth
                )
            )
    return found


def _dinov3() -> list[KnownWeights]:
    return [
        KnownWeights(
            f"dinov3-{letter}",
            f"facebook/dinov3-vit{letter}16-pretrain-lvd1689m",
            (MODEL,),
            _DINOV3,
            "Meta AI, DINOv3 (arXiv:2508.10104)",
            "dinov3",
            megabytes,
            width=width,
            depth=depth,
        )
        for letter, _, width, depth, megabytes in (
            ("s", "small", 384, 12, 86),
            ("b", "base", 768, 12, 343),
            ("l", "large", 1024, 24, 1213),
        )
    ]


def _rae() -> list[KnownWeights]:
    source = "NYU VISIONx, representation autoencoders"
    raw = "nyu-visionx/RAE-collections"
    found: list[KnownWeights] = []
    for name, folder, converted in (
        ("dinov2-b", "dinov2/wReg_base/ViTXL_n08", "dinov2-wReg-base-ViTXL-n08"),
        ("dinov2-b-512", "dinov2/wReg_base/ViTXL_n08_i512", "dinov2-wReg-base-ViTXL-n08-i512"),
        ("dinov2-s", "dinov2/wReg_small/ViTXL_n08", "dinov2-wReg-small-ViTXL-n08"),
        ("dinov2-l", "dinov2/wReg_large/ViTXL_n08", "dinov2-wReg-large-ViTXL-n08"),
        ("mae-b", "mae/base_p16/ViTXL_n08", "mae-base-p16-ViTXL-n08"),
        ("siglip2-b", "siglip2/base_p16_i256/ViTXL_n08", "siglip2-base-p16-i256-ViTXL-n08"),
    ):
        files = (f"decoders/{folder}/model.pt",)
        found.append(
            KnownWeights(
                f"rae-decoder-{name}", raw, files, _UNSTATED, source, "rae-decoder", config=None, width=1152
            )
        )
        found.append(
            KnownWeights(
                f"rae-{name}-diffusers",
                f"nyu-visionx/RAE-{converted}",
                ("diffusion_pytorch_model.safetensors",),
                _UNSTATED,
                f"{source}, converted for diffusers: encoder, decoder and statistics in one file",
                "",
            )
        )
    for name, folder in (
        ("dinov2-b", "dinov2/wReg_base/imagenet1k"),
        ("dinov2-b-512", "dinov2/wReg_base/imagenet1k_512"),
        ("mae-b", "mae/base_p16/ImageNet1k"),
        ("siglip2-b", "siglip2/base_p16_i256/ImageNet1k"),
    ):
        files = (f"stats/{folder}/stat.pt",)
        found.append(KnownWeights(f"rae-stats-{name}", raw, files, _UNSTATED, source, "", 1, config=None))
    for name, folder in (
        ("xl", "ImageNet256/DiTDH-XL"),
        ("s", "ImageNet256/DiTDH-S_ep14"),
        ("xl-512", "ImageNet512/DiTDH-XL_ep400"),
        ("s-512", "ImageNet512/DiTDH-S_ep20"),
    ):
        files = (f"DiTs/Dinov2/wReg_base/{folder}/stage2_model.pt",)
        found.append(KnownWeights(f"dit-dh-{name}", raw, files, _UNSTATED, source, "dit-dh", config=None))
    return found


def _vitok() -> list[KnownWeights]:
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
                (f"5B-{code}", None)
                for code in ("f16x16", "f16x32", "f16x64", "f32x64", "f32x128", "f32x256")
            ),
        )
    ]


def _lightningdit() -> list[KnownWeights]:
    source = "HUST Vision Lab, LightningDiT and VA-VAE (arXiv:2501.01423)"
    return [
        KnownWeights(name, f"hustvl/{repository}", (file,), "MIT", source, family, megabytes, config=None)
        for name, repository, file, family, megabytes in (
            (
                "vavae-f16d32",
                "vavae-imagenet256-f16d32-dinov2",
                "vavae-imagenet256-f16d32-dinov2.pt",
                "vavae",
                2150,
            ),
            *(
                (
                    f"lightningdit-xl-{epochs}ep",
                    f"lightningdit-xl-imagenet256-{epochs}ep",
                    f"lightningdit-xl-imagenet256-{epochs}ep.pt",
                    "lightningdit",
                    None,
                )
                for epochs in (64, 800)
            ),
        )
    ]


_OTHERS = (
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
    KnownWeights(
        "siglip2-b",
        "google/siglip2-base-patch16-256",
        (MODEL,),
        _APACHE,
        "Google, SigLIP 2 (arXiv:2502.14786); the text tower is in the same file",
        "siglip2",
        width=768,
    ),
    KnownWeights(
        "dino-s8",
        "facebook/dino-vits8",
        (MODEL,),
        _APACHE,
        "Meta AI, DINO (arXiv:2104.14294)",
        "dino",
        87,
        width=384,
        depth=12,
    ),
    KnownWeights(
        "dino-s8-original",
        "nyu-visionx/RAE-collections",
        ("discs/dino_vit_small_patch8_224.pth",),
        _APACHE,
        "Meta AI, DINO (arXiv:2104.14294), as the RAE discriminator reads it",
        "dino",
        87,
        config=None,
        width=384,
        depth=12,
    ),
    KnownWeights(
        "vgg16",
        "timm/vgg16.tv_in1k",
        (MODEL,),
        "BSD-3-Clause",
        "torchvision, VGG-16 (arXiv:1409.1556), for LPIPS",
        "vgg16",
        553,
    ),
    KnownWeights(
        "dino-sae",
        "wkdgnsgo/dino-sae",
        ("ema_model_step_470000.pt",),
        "MIT (of the code); its backbone is under the DINOv3 License",
        "DINO-SAE",
        "dino-sae",
        config=None,
    ),
)

KNOWN: dict[str, KnownWeights] = {
    known.name: known for known in (*_dinov2(), *_dinov3(), *_OTHERS, *_rae(), *_vitok(), *_lightningdit())
}
