"""The recipes that the names of image decoders stand for, and the embedded one."""

import difflib
from collections.abc import Callable
from dataclasses import replace

from laminate.data.sources.embedded import PHOTOGRAPHS
from laminate.recipes.augment import ResizeCropConfig
from laminate.recipes.embedded import (
    CROPS,
    DECODER_NAME,
    GLOBAL_BATCH_SIZE,
    PHOTOGRAPHS_DECODER,
    TEACHER,
    TEACHER_DECODER,
    WHOLE,
)
from laminate.recipes.image_decoder.recipe import Adversary, DecoderRecipe, Noise, Perceptual
from laminate.recipes.network import PRETRAINED_TEACHERS, VitConfig
from laminate.recipes.sizes import SIZES
from laminate.recipes.training import Optimizer, Schedule

DECODER_SCHEDULE = Schedule(
    unit="steps", length=700, warmup=30, decay=600, validate_every=175, start=1e-4, peak=1e-2, final=5e-4
)


def embedded_decoder() -> DecoderRecipe:
    """What the 16 tokens of `embedded_vae` give back to overlapping windows of 16 pixels; nothing has to be fetched.

    It begins with the decoder of the network in the package, which is truest to the pixels and so as blurred as the
    tokens are uncertain, and learns to show edges as sharp as they are: by the strength of detail, by the features of
    that network, and against an adversary. Latents are noisy, so that those of a generator become clean images too.
    """
    before = photographs_decoder()
    return replace(
        before,
        name=DECODER_NAME,
        network=TEACHER_DECODER,
        patch_size=8,
        overlap=4,
        reads="reconstructed",
        teacher=TEACHER,
        from_teacher=True,
        tokens=TEACHER.patches,
        latent_dim=TEACHER.dim,
        schedule=replace(
            before.schedule, length=340, warmup=20, decay=320, validate_every=85, peak=4e-3, final=1e-4
        ),
        noise=Noise("uniform", 0.8),
        pixels="detail",
        perceptual=Perceptual("embedded", weight=350.0),
        adversary=replace(before.adversary, discriminator_start=210, adversarial_start=225, weight=0.4),
        augment=WHOLE,
    )


def photographs_decoder() -> DecoderRecipe:
    """The 16 tokens of `photographs_vae` to patches of 16 pixels; nothing in it needs weights.

    Latents of six times fewer numbers say where the coarse half of the frequencies lies, and of the finer half only
    how strong it is: the perceptual term asks for that, and the adversary that it looks like the detail of photographs.
    """
    return DecoderRecipe(
        name=PHOTOGRAPHS_DECODER,
        network=VitConfig(dim=128, depth=2, heads=4, hidden=256, positions="learned", table_std=0.5),
        patch_size=16,
        schedule=DECODER_SCHEDULE,
        tokens=16,
        latent_dim=128,
        perceptual=Perceptual("pyramid", weight=40.0),  # the L1 of pixels is least without detail
        adversary=Adversary(
            kind="details",
            layers=2,
            channels=32,
            discriminator_start=550,
            adversarial_start=580,
            weight=0.5,
            # A short training never comes to the point where a discriminator knows its images by heart.
            augment_rate=0.0,
            peak=1e-2,
            optimizer=Optimizer(kind="muon", betas=(0.5, 0.95), weight_decay=0.0, clip_norm=10.0),
        ),
        augment=CROPS,
        optimizer=Optimizer(kind="muon", betas=(0.9, 0.95), weight_decay=0.0, clip_norm=1.0, ema_decay=0.97),
        global_batch_size=GLOBAL_BATCH_SIZE,
    )


PUBLISHED_LENGTH = Schedule(
    length=16,
    warmup=1,
    decay=0,
    validate_every=1,
    kind="warmup_cosine",
    start=0.0,
    peak=2e-4,
    final=2e-5,
)
VIT_SIZES = ("s", "b", "l", "xl")
RAE_SIZES = {"b": (768, 12, 12, 3072), "l": (1024, 24, 16, 4096), "xl": (1152, 28, 16, 4096)}
"""Width, layers, heads and width of the MLP of RAE's decoders."""
USAGE = "vit-{s|b|l|xl} (FlatDINO, from latents) or rae-{b|l|xl} (RAE, from features)"


def named_decoder(name: str) -> DecoderRecipe:
    """The recipe of a name that is no preset, before a tokenizer or teacher is chosen.

    Raises `ValueError` with the nearest names.
    """
    family, _, letter = name.partition("-")
    if family == "vit" and letter in VIT_SIZES:
        size = SIZES[letter]
        network = VitConfig(size.dim, size.depth, size.heads, 8 * size.dim // 3, positions="learned")
        return DecoderRecipe(name=name, network=network, patch_size=16, schedule=PUBLISHED_LENGTH)
    if family == "rae" and letter in RAE_SIZES:
        return _rae(name, *RAE_SIZES[letter])
    raise ValueError(
        f"Unknown decoder experiment {name!r}. Did you mean {' or '.join(nearest(name))}? Names are {USAGE}, or "
        f"{DECODER_NAME}."
    )


def nearest(name: str) -> list[str]:
    """The three valid names nearest to `name`, the embedded default among them."""
    known = [
        DECODER_NAME,
        *(f"vit-{letter}" for letter in VIT_SIZES),
        *(f"rae-{letter}" for letter in RAE_SIZES),
    ]
    return difflib.get_close_matches(name.lower().replace("_", "-"), known, n=3, cutoff=0.0)


def _rae(name: str, dim: int, depth: int, heads: int, hidden: int) -> DecoderRecipe:
    """RAE's ViT-MAE decoder on DINOv2-B with registers."""
    teacher = replace(PRETRAINED_TEACHERS["dinov2-b"], resampling="bicubic")
    return DecoderRecipe(
        name=name,
        network=VitConfig(
            dim, depth, heads, hidden, mlp="gelu-exact", norm_eps=1e-12, qk_norm=False, positions="learned"
        ),
        patch_size=16,
        schedule=PUBLISHED_LENGTH,
        reads="features",
        teacher=teacher,
        tokens=teacher.patches,
        latent_dim=teacher.dim,
        noise=Noise("uniform", 0.8),
        clip=False,
        adversary=Adversary(antialias=False),
        augment=ResizeCropConfig(),
    )


PRESETS: dict[str, Callable[[], DecoderRecipe]] = {
    DECODER_NAME: embedded_decoder,
    PHOTOGRAPHS_DECODER: photographs_decoder,
}
DATA = {PHOTOGRAPHS_DECODER: PHOTOGRAPHS}
