"""The stages of DINO-SAE's two published schedules, and of the embedded one."""

from collections.abc import Callable
from dataclasses import replace

from laminate.recipes.adversarial.recipe import Adversary, Perceptual
from laminate.recipes.dino_sae.recipe import ConvDecoderConfig, DinoSaeRecipe, LatentNoise
from laminate.recipes.embedded import AUGMENT, TEACHER
from laminate.recipes.network import PRETRAINED_TEACHERS
from laminate.recipes.training import Optimizer, Schedule

EMBEDDED_1, EMBEDDED_2 = "embedded-sae-1", "embedded-sae-2"

_ADVERSARY = Adversary(
    kind="dino",
    antialias=False,
    weight=0.5,
    balanced=False,
    discriminator_start=0,
    adversarial_start=2,
    optimizer=Optimizer(betas=(0.5, 0.9), weight_decay=0.0, clip_norm=None),
)
"""RAE's discriminator, whose constant weight is not balanced by gradients (open)."""


def _constant(epochs: int, peak: float) -> Schedule:
    return Schedule(
        length=epochs, warmup=0, decay=0, validate_every=1, kind="constant", start=peak, peak=peak, final=peak
    )


def _stage(name: str, former: str, epochs: int, peak: float) -> DinoSaeRecipe:
    return DinoSaeRecipe(
        name, teacher=PRETRAINED_TEACHERS["dinov3-l"], schedule=_constant(epochs, peak), former=former
    )


def v2_1() -> DinoSaeRecipe:
    """Semantic-structural alignment: stem and decoder."""
    return replace(_stage("dino-sae-v2-1", "", 20, 1e-5), alignment=0.5)


def v2_2() -> DinoSaeRecipe:
    """Adversarial adaptation and latent smoothing: the decoder alone."""
    return replace(
        _stage("dino-sae-v2-2", "dino-sae-v2-1", 40, 5e-5),
        trains="decoder",
        adversary=_ADVERSARY,
        noise=LatentNoise(0.8, 1.2, 20),
        optimizer=Optimizer(betas=(0.5, 0.9), weight_decay=0.0, clip_norm=None, ema_decay=0.9975),
    )


V1_EPOCHS = 20
"""Of every stage of the first version. Open."""


def v1_1() -> DinoSaeRecipe:
    """Semantic-structural alignment. Epochs, averaging and betas are open."""
    return replace(_stage("dino-sae-v1-1", "", V1_EPOCHS, 1e-5), alignment=0.5, global_batch_size=256)


def v1_2() -> DinoSaeRecipe:
    """Adversarial adaptation; that it trains what the first stage trains is open, and when its adversary begins."""
    return replace(
        _stage("dino-sae-v1-2", "dino-sae-v1-1", V1_EPOCHS, 1e-4),
        alignment=0.5,
        adversary=_ADVERSARY,
        optimizer=Optimizer(betas=(0.5, 0.9), weight_decay=0.0, clip_norm=None, ema_decay=0.9975),
        global_batch_size=256,
    )


def v1_3() -> DinoSaeRecipe:
    """Decoder refinement: the stem is frozen too. That the losses are those of the second stage is open."""
    return replace(v1_2(), name="dino-sae-v1-3", former="dino-sae-v1-2", alignment=0.0, trains="decoder")


def v1_4() -> DinoSaeRecipe:
    """Noise augmentation, as RAE has it."""
    return replace(
        v1_3(),
        name="dino-sae-v1-4",
        former="dino-sae-v1-3",
        schedule=_constant(V1_EPOCHS, 5.4e-5),
        noise=LatentNoise(0.8, 0.8),
    )


# Embedded: the network in the package stands in for DINOv3, and nothing needs weights.


def embedded_1() -> DinoSaeRecipe:
    """The first stage on a laptop.

    The features of the network in the package stand in for LPIPS: a distance that asks for detail by its strength alone
    leaves a grain in the rhythm of the decoder's doublings.
    """
    return DinoSaeRecipe(
        EMBEDDED_1,
        former="",
        teacher=TEACHER,
        schedule=Schedule(
            unit="steps",
            length=360,
            warmup=20,
            decay=260,
            validate_every=180,
            start=1e-4,
            peak=5e-3,
            final=1e-4,
        ),
        stem=(32, 64),
        decoder=ConvDecoderConfig(
            widths=(24, 24, 48, 192),
            depths=(1, 1, 1, 1),
            blocks=("residual", "residual", "residual", "attention"),
        ),
        alignment=0.5,
        perceptual=Perceptual("embedded", weight=100.0),
        augment=AUGMENT,
        optimizer=Optimizer(kind="muon", betas=(0.9, 0.95), weight_decay=0.0, clip_norm=1.0, ema_decay=0.97),
        global_batch_size=16,
    )


def embedded_2() -> DinoSaeRecipe:
    """The second stage on a laptop: against a discriminator of fine detail, with noisy latents.

    The adversary comes late and is weak, or it brings that grain back.
    """
    return replace(
        embedded_1(),
        name=EMBEDDED_2,
        former=EMBEDDED_1,
        trains="decoder",
        alignment=0.0,
        schedule=Schedule(
            unit="steps",
            length=120,
            warmup=5,
            decay=80,
            validate_every=60,
            start=1e-4,
            peak=2e-3,
            final=1e-4,
        ),
        adversary=Adversary(
            kind="details",
            layers=2,
            channels=32,
            discriminator_start=0,
            adversarial_start=60,
            weight=0.2,
            augment_rate=0.0,
            peak=1e-2,
            optimizer=Optimizer(kind="muon", betas=(0.5, 0.95), weight_decay=0.0, clip_norm=10.0),
        ),
        noise=LatentNoise(0.4, 0.8, 50),
        optimizer=Optimizer(kind="muon", betas=(0.5, 0.9), weight_decay=0.0, clip_norm=1.0, ema_decay=0.97),
    )


PRESETS: dict[str, Callable[[], DinoSaeRecipe]] = {
    EMBEDDED_2: embedded_2,
    EMBEDDED_1: embedded_1,
    "dino-sae-v1-1": v1_1,
    "dino-sae-v1-2": v1_2,
    "dino-sae-v1-3": v1_3,
    "dino-sae-v1-4": v1_4,
    "dino-sae-v2-1": v2_1,
    "dino-sae-v2-2": v2_2,
}
LAST = {"embedded": EMBEDDED_2, "v1": "dino-sae-v1-4", "v2": "dino-sae-v2-2"}
"""The last stage of each schedule."""


def stages(name: str) -> tuple[str, ...]:
    """The names of the stages up to `name`, the first one first."""
    former = PRESETS[name]().former
    return (*(stages(former) if former else ()), name)
