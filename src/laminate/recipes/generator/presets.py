"""The recipes that the names of generators stand for, and the embedded one."""

from collections.abc import Callable
from dataclasses import replace

from laminate.data.sources.embedded import DEFAULT, PHOTOGRAPHS
from laminate.recipes.augment import FramedConfig
from laminate.recipes.embedded import (
    AUGMENT,
    CROPS,
    GENERATOR_NAME,
    IMAGE_SIZE,
    PHOTOGRAPHS_GENERATOR,
    VITOK_GENERATOR,
)
from laminate.recipes.generator.flow import Guidance, SpherePath, StraightPath
from laminate.recipes.generator.names import format, parse, parse_shared
from laminate.recipes.generator.recipe import GeneratorRecipe, SharedModulation
from laminate.recipes.network import VitConfig
from laminate.recipes.training import Optimizer, Schedule
from laminate.recipes.vitok_names import MLP_FACTOR, GeneratorVariant

# Latents of patches lie near few of their directions (half of the variance in 4 of 128, 99 % in 53), which a narrow
# network finds when it predicts the data; most times are early, where classes and colours are decided.
DIT = VitConfig(dim=128, depth=6, heads=4, hidden=256, norm="rms", positions="sincos")
DIT_OPTIMIZER = Optimizer(kind="muon", betas=(0.9, 0.95), weight_decay=0.01, clip_norm=1.0, ema_decay=0.98)
DIT_SCHEDULE = Schedule(
    unit="steps", length=700, warmup=30, decay=280, validate_every=175, start=1e-4, peak=1e-2, final=1e-5
)


def embedded_dit() -> GeneratorRecipe:
    """A class-conditional transformer on the 16 tokens of `embedded_vae`."""
    return GeneratorRecipe(
        name=GENERATOR_NAME,
        network=DIT,
        schedule=DIT_SCHEDULE,
        tokens=16,
        latent_dim=128,
        classes=10,
        time_shift=3.0,
        times="logit-normal",
        prediction="data",
        # Without it the latest of 32000 times weighs 611 where the mean is 3, and the loss jumps.
        min_one_minus_t=0.1,
        normalize=True,
        guidance=Guidance(2.0),
        augment=AUGMENT,
        optimizer=DIT_OPTIMIZER,
        global_batch_size=64,
    )


def photographs_dit() -> GeneratorRecipe:
    """A shorter training with more guidance, on the tokens of `photographs_vae`."""
    return replace(
        embedded_dit(),
        name=PHOTOGRAPHS_GENERATOR,
        schedule=replace(DIT_SCHEDULE, length=500, decay=200, validate_every=125),
        guidance=Guidance(4.0),
        augment=CROPS,
    )


def embedded_vitok_dit() -> GeneratorRecipe:
    """ViTok's transformer, small, on the patches of emoji that `embedded_vitok` has latents of.

    The token in front stands at no place of its own, so that turned queries and keys tell others where they are.
    """
    return replace(
        embedded_dit(),
        name=VITOK_GENERATOR,
        network=replace(DIT, bias=False, positions="none"),
        shared=SharedModulation(cls_token=True, layer_scale=None, theta=100.0),
        schedule=replace(DIT_SCHEDULE, length=1000, decay=400),
        normalize=False,
        solver="unipc",
        augment=FramedConfig(IMAGE_SIZE),
    )


def named_generator(name: str) -> GeneratorRecipe:
    """The recipe of a name that is no preset, for latents of 32 tokens of 128 numbers, or those of ViTok.

    Raises `ValueError` with the nearest names.
    """
    shared = parse_shared(name)
    if shared is not None:
        return vitok_generator(name, shared)
    spec = parse(name)
    dim, depth, hidden, heads = LIGHTNING[spec.size]
    network = VitConfig(dim, depth, heads, hidden, norm="rms", qk_norm=False, positions="sincos")
    head = None
    if spec.head:
        head = replace(network, dim=2048, depth=2, heads=16, hidden=2048 * hidden // dim, positions="none")
        network = replace(network, positions="learned")
    return GeneratorRecipe(
        name=format(spec),
        network=network,
        head=head,
        schedule=Schedule(
            length=80 if spec.sphere else 800,
            warmup=0,
            decay=0,
            validate_every=5,
            kind="constant",
            start=2e-4,
            peak=2e-4,
            final=2e-4,
        ),
        time_shift=spec.kappa,
        times="logit-normal" if spec.sphere else "uniform",
        prediction="data" if spec.predict_data else "velocity",
        normalize=spec.normalize,
        path=SpherePath() if spec.sphere else StraightPath(),
        guidance=Guidance(1.1) if spec.sphere else Guidance(4.5, (0.225, 1.0)),
    )


def vitok_generator(name: str, variant: GeneratorVariant) -> GeneratorRecipe:
    """ViTok's generator and its released training, on tokens of 64 numbers until a tokenizer says otherwise."""
    width, depth, heads = variant.sizes
    return GeneratorRecipe(
        name=name.replace("/", "-"),
        network=VitConfig(
            width, depth, heads, (int(width * MLP_FACTOR) + 8) // 16 * 16, norm="rms", bias=False
        ),
        shared=SharedModulation(),
        schedule=Schedule(
            unit="steps",
            length=400_000,
            warmup=20_000,
            decay=0,
            validate_every=5_000,
            kind="warmup_cosine",
            start=0.0,
            peak=1e-4,
            final=1e-5,
        ),
        tokens=variant.tokens,
        latent_dim=64,
        time_shift=1.0,
        solver="unipc",
        guidance=Guidance(4.0),
        optimizer=Optimizer(betas=(0.9, 0.95), weight_decay=0.0, clip_norm=1.0, ema_decay=0.9999),
        global_batch_size=256,
    )


LIGHTNING: dict[str, tuple[int, int, int, int]] = {
    "s": (384, 12, 1024, 6),
    "b": (768, 12, 2048, 12),
    "l": (1024, 24, 2731, 16),
    "xl": (1152, 28, 3072, 16),
}
"""Width, layers, width of the MLP and heads of LightningDiT's sizes."""

PRESETS: dict[str, Callable[[], GeneratorRecipe]] = {
    GENERATOR_NAME: embedded_dit,
    PHOTOGRAPHS_GENERATOR: photographs_dit,
    VITOK_GENERATOR: embedded_vitok_dit,
}
DATA = {PHOTOGRAPHS_GENERATOR: PHOTOGRAPHS, VITOK_GENERATOR: DEFAULT}
