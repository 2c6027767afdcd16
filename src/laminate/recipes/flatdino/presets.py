"""The recipes that FlatDINO's names stand for, and those with fixed names."""

from collections.abc import Callable
from dataclasses import replace

from laminate.data.sources.embedded import PHOTOGRAPHS
from laminate.recipes.bottleneck import Bottleneck, FsqBottleneck, GaussianBottleneck
from laminate.recipes.embedded import (
    AUGMENT,
    CROPS,
    FSQ_NAME,
    GLOBAL_BATCH_SIZE,
    LATENT,
    PHOTOGRAPHS_FSQ,
    PHOTOGRAPHS_VAE,
    PIXELS,
    TEACHER,
    TOKENIZER_NAME,
)
from laminate.recipes.flatdino import fsq_names, vae_names
from laminate.recipes.flatdino.grammar import EPOCHS
from laminate.recipes.flatdino.photos import PHOTOS
from laminate.recipes.flatdino.recipe import FlatDinoRecipe
from laminate.recipes.latent import LatentSpec
from laminate.recipes.network import PRETRAINED_TEACHERS, VitConfig
from laminate.recipes.sizes import SIZES
from laminate.recipes.training import Optimizer, Schedule

DECAY_EPOCHS = {"fast": 5, "med": 15, "long": 22, "ext": 75}

# Pixel patches say nothing of their place, and a short training cannot wait until attention has found it out.
EMBEDDED_VIT = VitConfig(dim=128, depth=1, heads=4, hidden=256, positions="learned", table_std=0.5)
EMBEDDED_OPTIMIZER = Optimizer(kind="muon", betas=(0.9, 0.95), clip_norm=1.0, ema_decay=0.95)
EMBEDDED_SCHEDULE = Schedule(
    unit="steps", length=700, warmup=30, decay=420, validate_every=100, start=1e-4, peak=1e-2, final=1e-5
)


def embedded_vae() -> FlatDinoRecipe:
    """64 patches of 192 numbers to 16 tokens of 128: six times fewer numbers."""
    return FlatDinoRecipe(
        name=TOKENIZER_NAME,
        teacher=TEACHER,
        tokens=16,
        encoder=EMBEDDED_VIT,
        decoder=EMBEDDED_VIT,
        bottleneck=GaussianBottleneck(latent_dim=128, initial_logvar=-5.0),
        schedule=EMBEDDED_SCHEDULE,
        optimizer=EMBEDDED_OPTIMIZER,
        augment=AUGMENT,
        global_batch_size=GLOBAL_BATCH_SIZE,
    )


def embedded_fsq() -> FlatDinoRecipe:
    """64 patches of 192 numbers to 16 tokens of 16 whole numbers, each of 8 codes of 8 values: 6144 bits for an image.

    A whole number has 31 bits at most, and one for each token does not hold nine tenths of the features' variance.
    """
    tokenizer = replace(
        embedded_vae(), name=FSQ_NAME, bottleneck=FsqBottleneck(levels=(8,) * 8, codebooks=16)
    )
    return tokenizer.in_steps(750)


def photographs_vae() -> FlatDinoRecipe:
    """16 patches of 768 pixel values to 16 tokens of 128 numbers, on the photographs in the package."""
    return replace(embedded_vae(), name=PHOTOGRAPHS_VAE, teacher=PIXELS, augment=CROPS)


def photographs_fsq() -> FlatDinoRecipe:
    """16 patches of 768 pixel values to 32 tokens of 8 codes, each one of 8 values: 768 bits for an image."""
    return replace(
        photographs_vae(), name=PHOTOGRAPHS_FSQ, tokens=32, bottleneck=FsqBottleneck(levels=(8,) * 8)
    )


DATA = {PHOTOGRAPHS_VAE: PHOTOGRAPHS, PHOTOGRAPHS_FSQ: PHOTOGRAPHS}
"""What those are trained on that are not for the emoji."""


def vae_like(latent: LatentSpec) -> FlatDinoRecipe:
    """A β-VAE with such latents: one of the embedded ones where they have them, else one of the paper's sizes."""
    shape = (latent.tokens, latent.latent_dim, latent.image_size)
    if shape == (LATENT.tokens, LATENT.latent_dim, LATENT.image_size):
        return photographs_vae() if latent.teacher == PIXELS else embedded_vae()
    return named_vae(f"long-{latent.tokens}-bl-{latent.latent_dim}")


def named_vae(name: str) -> FlatDinoRecipe:
    """The β-VAE recipe of a name that is no preset. Raises `ValueError` with the nearest valid names."""
    spec = vae_names.parse(name)
    bottleneck = GaussianBottleneck(
        latent_dim=spec.latent_dim,
        kl_weight=spec.kl_weight,
        anneal_steps=spec.anneal_steps,
        free_bits=spec.free_bits,
        kl_variance_weight=spec.kl_variance_weight,
        tanh=spec.tanh,
        deterministic=spec.no_kl,
    )
    recipe = _scaled(vae_names.format(spec), spec, bottleneck)
    return _or_refuse(
        name,
        lambda: replace(
            recipe,
            intermediate_layer=spec.intermediate_layer,
            intermediate_weight=spec.intermediate_weight,
        ),
    )


def named_fsq(name: str) -> FlatDinoRecipe:
    """The FSQ recipe of a name that is no preset. Raises `ValueError` with the nearest valid names."""
    spec = fsq_names.parse(name)
    return _or_refuse(
        name,
        lambda: _scaled(fsq_names.format(spec), spec, FsqBottleneck(spec.levels, spec.nested_dropout)),
    )


def _or_refuse(name: str, build: Callable[[], FlatDinoRecipe]) -> FlatDinoRecipe:
    """What `build` makes; a value that no recipe can have is said to come from the name."""
    try:
        return build()
    except ValueError as error:
        raise ValueError(f"Experiment {name!r} cannot be: {error}") from error


def _scaled(name: str, spec: vae_names.VaeName | fsq_names.FsqName, bottleneck: Bottleneck) -> FlatDinoRecipe:
    """The paper's training of an encoder and a decoder of the named sizes."""
    return FlatDinoRecipe(
        name=name,
        teacher=PRETRAINED_TEACHERS["dinov2-b"],
        tokens=spec.tokens,
        encoder=_transformer(spec.encoder, half=spec.half_depth),
        decoder=replace(_transformer(spec.decoder, half=spec.half_depth), positions="learned"),
        bottleneck=bottleneck,
        schedule=Schedule(
            length=EPOCHS[spec.variant], warmup=5, decay=DECAY_EPOCHS[spec.variant], validate_every=5
        ),
        encoder_disposable=spec.encoder_disposable,
        decoder_disposable=spec.decoder_disposable,
        statistics="center-crop",
    )


def _transformer(letter: str, *, half: bool) -> VitConfig:
    size = SIZES[letter]
    depth = max(1, size.depth // 2) if half else size.depth
    return VitConfig(dim=size.dim, depth=depth, heads=size.heads, hidden=size.matched_hidden)


def _early(name: str, bottleneck: Bottleneck, schedule: Schedule) -> FlatDinoRecipe:
    """The released code's first experiments: six layers of ViT-B with plain MLPs on both sides."""
    size = SIZES["b"]
    vit = VitConfig(dim=size.dim, depth=6, heads=size.heads, hidden=size.hidden, mlp="gelu")
    return FlatDinoRecipe(
        name=name,
        teacher=PRETRAINED_TEACHERS["dinov2-b"],
        tokens=32,
        encoder=vit,
        decoder=replace(vit, positions="learned"),
        bottleneck=bottleneck,
        schedule=schedule,
        statistics="center-crop",
    )


_COSINE = Schedule(length=100, warmup=10, decay=0, validate_every=5, kind="warmup_cosine")
_WSD = Schedule(length=50, warmup=5, decay=5, validate_every=5)

VAE_PRESETS: dict[str, Callable[[], FlatDinoRecipe]] = {
    TOKENIZER_NAME: embedded_vae,
    PHOTOGRAPHS_VAE: photographs_vae,
    **PHOTOS,
    "baseline": lambda: _early("baseline", GaussianBottleneck(latent_dim=768), _COSINE),
    "fast-32": lambda: _early("fast-32", GaussianBottleneck(latent_dim=768), _WSD),
    "fast-32-64": lambda: _early("fast-32-64", GaussianBottleneck(latent_dim=64), _WSD),
}
FSQ_PRESETS: dict[str, Callable[[], FlatDinoRecipe]] = {
    FSQ_NAME: embedded_fsq,
    PHOTOGRAPHS_FSQ: photographs_fsq,
    "baseline": lambda: _early("baseline", FsqBottleneck(levels=(8, 5, 5, 5)), _COSINE),
}
