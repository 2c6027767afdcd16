"""Whose weights a file holds, told from the names and shapes of its tensors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from laminate.pretrained.tensors import WeightsError

Shapes = Mapping[str, tuple[int, ...]]

_SIZES = {192: "T", 384: "S", 768: "B", 1024: "L", 1152: "XL", 1280: "H", 1536: "g"}


@dataclass(frozen=True)
class FileLayout:
    """How the files of one family are recognised.

    Every pattern of `marks` is found in some name. `width` is the name of a tensor and the axis of it that is as
    long as the network is wide; the first group of `layer` is the number of a layer. Patterns are searched for, so a
    prefix in front of all names does not matter. `reader` is the name of the `family.Family` that reads such files as
    a vision transformer, "" if none does.
    """

    family: str
    label: str
    marks: tuple[str, ...]
    width: tuple[str, int]
    layer: str
    absent: tuple[str, ...] = ()
    reader: str = ""


@dataclass(frozen=True)
class Guess:
    """The layout of a file, and the size of its network where the names tell."""

    layout: FileLayout
    width: int | None
    depth: int | None

    @property
    def family(self) -> str:
        return self.layout.family

    def __str__(self) -> str:
        return self.layout.label + size_text(self.width, self.depth)


def size_text(width: int | None, depth: int | None) -> str:
    """` (768 wide: B, 12 layers)`, or less where less is known."""
    letter = f": {_SIZES[width]}" if width in _SIZES else ""
    parts = [f"{width} wide{letter}"] if width is not None else []
    parts += [f"{depth} layers"] if depth is not None else []
    return f" ({', '.join(parts)})" if parts else ""


# The first layout that fits is the guess, so the particular stand in front of the general.
LAYOUTS: tuple[FileLayout, ...] = (
    FileLayout(
        "laminate-flatdino",
        "a FlatDINO tokenizer of this library",
        (r"^encoder\.stack\.layers\.attention\.qkv\.weight$", r"^decoder\.stack\.layers\."),
        (r"^encoder\.norm\.scale$", 0),
        r"^$()",
    ),
    FileLayout(
        "flatdino",
        "FlatDINO as its authors store it",
        (r"encoder/blocks/0/attention/qkv_proj/kernel$", r"decoder/blocks/0/attention/qkv_proj/kernel$"),
        (r"encoder/norm/norm/scale$", 0),
        r"encoder/blocks/(\d+)/",
    ),
    FileLayout(
        "rae",
        "a whole representation autoencoder",
        (r"^encoder\.(?:encoder|model)\.", r"^decoder\.decoder_embed\.weight$"),
        (r"^decoder\.decoder_embed\.bias$", 0),
        r"^decoder\.decoder_layers\.(\d+)\.",
    ),
    FileLayout(
        "dino-sae",
        "DINO-SAE",
        (r"dino_model\.patch_embed\.cnn\.0\.conv\.weight$",),
        (r"dino_model\.norm\.weight$", 0),
        r"dino_model\.blocks\.(\d+)\.",
    ),
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
    FileLayout(
        "dinov2",
        "DINOv2 with registers",
        (r"embeddings\.register_tokens$", r"encoder\.layer\.0\.layer_scale1\.lambda1$"),
        (r"embeddings\.cls_token$", -1),
        r"encoder\.layer\.(\d+)\.",
        reader="dinov2",
    ),
    FileLayout(
        "dinov2-plain",
        "DINOv2 without registers",
        (r"embeddings\.position_embeddings$", r"encoder\.layer\.0\.layer_scale1\.lambda1$"),
        (r"embeddings\.cls_token$", -1),
        r"encoder\.layer\.(\d+)\.",
        reader="dinov2-plain",
    ),
    FileLayout(
        "dinov2",
        "DINOv2 in its authors' layout",
        (r"pos_embed$", r"blocks\.0\.attn\.qkv\.weight$", r"blocks\.0\.ls1\.gamma$"),
        (r"cls_token$", -1),
        r"blocks\.(\d+)\.",
    ),
    FileLayout(
        "vit-mae",
        "ViT-MAE",
        (r"encoder\.layer\.0\.layernorm_before\.weight$", r"decoder\.decoder_layers\.0\."),
        (r"embeddings\.cls_token$", -1),
        r"encoder\.layer\.(\d+)\.",
        reader="vit-mae",
    ),
    FileLayout(
        "vit-mae",
        "ViT-MAE",
        (r"^(?:.*\.)?vit\.encoder\.layer\.0\.layernorm_before\.weight$",),
        (r"embeddings\.cls_token$", -1),
        r"encoder\.layer\.(\d+)\.",
        reader="vit-mae",
    ),
    FileLayout(
        "vit",
        "a plain ViT, such as DINO or the encoder of ViT-MAE",
        (r"embeddings\.position_embeddings$", r"encoder\.layer\.0\.layernorm_before\.weight$"),
        (r"embeddings\.cls_token$", -1),
        r"encoder\.layer\.(\d+)\.",
        reader="dino",
    ),
    FileLayout(
        "siglip2",
        "SigLIP or SigLIP2",
        (r"embeddings\.patch_embedding\.weight$", r"encoder\.layers\.0\.self_attn\.q_proj\.weight$"),
        (r"embeddings\.patch_embedding\.bias$", 0),
        r"(?:^|vision_model\.|encoder\.model\.)encoder\.layers\.(\d+)\.",
        reader="siglip2",
    ),
    FileLayout(
        "rae-decoder",
        "an RAE decoder as diffusers stores it",
        (r"decoder_embed\.weight$", r"decoder_layers\.0\..*to_q\.weight$"),
        (r"decoder_embed\.bias$", 0),
        r"decoder_layers\.(\d+)\.",
    ),
    FileLayout(
        "rae-decoder",
        "an RAE decoder",
        (
            r"decoder_embed\.weight$",
            r"decoder_layers\.0\.attention\.attention\.query\.weight$",
            r"decoder_pred\.",
        ),
        (r"decoder_embed\.bias$", 0),
        r"decoder_layers\.(\d+)\.",
    ),
    FileLayout(
        "dit-dh",
        "DiT^DH",
        (r"s_embedder[./](?:proj[./])?(?:weight|kernel)$", r"x_embedder[./]"),
        (r"s_embedder[./](?:proj[./])?bias$", 0),
        r"(?:^|encoder_)blocks[./](\d+)[./]",
    ),
    FileLayout(
        "lightningdit",
        "LightningDiT",
        (r"x_embedder[./]", r"t_embedder[./]", r"blocks[./]0[./]adaLN_modulation[./]"),
        (r"x_embedder[./](?:proj[./])?bias$", 0),
        r"blocks[./](\d+)[./]",
    ),
    FileLayout(
        "vitok",
        "ViTok",
        (r"(?:encoder|decoder)_blocks\.0\.attn\.qkv_proj\.weight$",),
        (r"(?:patch_embed|decoder_embed)\.bias$", 0),
        r"(?:encoder|decoder)_blocks\.(\d+)\.",
    ),
    FileLayout(
        "dino",
        "DINO in its authors' layout",
        (r"cls_token$", r"pos_embed$", r"blocks\.0\.attn\.qkv\.weight$"),
        (r"cls_token$", -1),
        r"blocks\.(\d+)\.",
        absent=(r"ls1\.gamma$",),
        reader="dino-original",
    ),
    FileLayout(
        "lpips",
        "the linear heads of LPIPS",
        (r"lin0\.model\.1\.weight$|lins\.0\.model\.1\.weight$",),
        (r"^$", 0),
        r"lins?\.?(\d+)\.",
    ),
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
    FileLayout(
        "vavae",
        "VA-VAE or another KL autoencoder of latent diffusion",
        (r"encoder\.conv_in\.weight$", r"decoder\.conv_out\.weight$"),
        (r"encoder\.conv_in\.bias$", 0),
        r"^$()",
    ),
)
# Files of these families do not say of which of several networks they are.
_ALSO = {"vit": ("vit-mae", "dino")}
FAMILIES: dict[str, str] = {layout.family: layout.label for layout in reversed(LAYOUTS)}


def guess(shapes: Shapes) -> Guess | None:
    """The first of `LAYOUTS` that these names fit; None for names of no known layout."""
    for layout in LAYOUTS:
        if all(_finds(mark, shapes) for mark in layout.marks) and not any(
            _finds(mark, shapes) for mark in layout.absent
        ):
            return Guess(layout, _width(layout, shapes), _depth(layout, shapes))
    return None


def require(
    weights: Mapping[str, np.ndarray],
    family: str,
    where: str,
    *,
    title: str = "",
    width: int | None = None,
    depth: int | None = None,
) -> None:
    """Refuse weights that are recognisably of another family of `FAMILIES` (or reader of `LAYOUTS`) or another size.

    Names of no known layout pass: the key map that reads them says what is wrong with them. `title` is what the
    message calls the network that was asked for.

    Raises WeightsError: `FILE looks like ViT-MAE (768 wide: B, 12 layers), you asked for DINOv2 ...`.
    """
    found = guess({name: array.shape for name, array in weights.items()})
    if found is None:
        return
    wrong_size = any(
        asked is not None and seen is not None and asked != seen
        for asked, seen in ((width, found.width), (depth, found.depth))
    )
    if not _may_be(found, family) or wrong_size:
        asked = (title or FAMILIES.get(family, family)) + size_text(width, depth)
        raise WeightsError(
            f"{where} looks like {found}, you asked for {asked}: give the file of the one you mean."
        )


def looks_like(weights: Mapping[str, np.ndarray], family: str, title: str) -> str:
    """The sentence for someone who asked for `title`, of `family`, and gave weights that do not fit it."""
    found = guess({name: array.shape for name, array in weights.items()})
    if found is None or _may_be(found, family):
        return f"The weights do not fit the {title} that was asked for."
    return f"This looks like {found}, you asked for {title}."


def _may_be(found: Guess, family: str) -> bool:
    return family in (found.family, found.layout.reader, *_ALSO.get(found.family, ()))


def _finds(pattern: str, shapes: Shapes) -> bool:
    return any(re.search(pattern, name) for name in shapes)


def _width(layout: FileLayout, shapes: Shapes) -> int | None:
    pattern, axis = layout.width
    for name, shape in shapes.items():
        if shape and re.search(pattern, name):
            return shape[axis]
    return None


def _depth(layout: FileLayout, shapes: Shapes) -> int | None:
    layers = {int(found[1]) for name in shapes if (found := re.search(layout.layer, name)) and found[1]}
    return max(layers) + 1 if layers else None
