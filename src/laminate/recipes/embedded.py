"""The recipes of the no-flag default: photographs that ship with the package, and a teacher without weights.

All numbers that one would tune stand here.
"""

from laminate.recipes.augment import RandomResizedCropConfig
from laminate.recipes.bottleneck import FsqBottleneck, GaussianBottleneck
from laminate.recipes.decoder import Adversary, DecoderRecipe, Perceptual
from laminate.recipes.flatdino import FlatDinoRecipe
from laminate.recipes.generator import GeneratorRecipe, Guidance
from laminate.recipes.network import Vit, patch_teacher
from laminate.recipes.training import Optimizer, Schedule

IMAGE_SIZE = 64
PATCH_SIZE = 16

# Pixel patches say nothing of their place, and a short training cannot wait until attention has found it out.
ENCODER = Vit(dim=128, depth=1, heads=4, hidden=256, positions="learned", table_std=0.5)
DECODER = Vit(dim=128, depth=1, heads=4, hidden=256, positions="learned", table_std=0.5)

AUGMENT = RandomResizedCropConfig(image_size=IMAGE_SIZE, crop_area=(0.85, 1.0))
OPTIMIZER = Optimizer(kind="muon", betas=(0.9, 0.95), clip_norm=1.0, ema_decay=0.95)
SCHEDULE = Schedule(
    unit="steps", length=700, warmup=30, decay=420, validate_every=100, start=1e-4, peak=1e-2, final=1e-5
)
GLOBAL_BATCH_SIZE = 32


# Latents of patches lie near few of their directions (half of the variance in 4 of 128, 99 % in 53), which a narrow
# network finds when it predicts the data; most times are early, where classes and colours are decided.
DIT = Vit(dim=128, depth=6, heads=4, hidden=256, norm="rms", positions="sincos")
DIT_OPTIMIZER = Optimizer(kind="muon", betas=(0.9, 0.95), weight_decay=0.01, clip_norm=1.0, ema_decay=0.98)
DIT_SCHEDULE = Schedule(
    unit="steps", length=500, warmup=30, decay=200, validate_every=125, start=1e-4, peak=1e-2, final=1e-5
)


def embedded_dit() -> GeneratorRecipe:
    """A class-conditional transformer on the 16 tokens of `embedded_vae`."""
    return GeneratorRecipe(
        name="embedded-dit",
        network=DIT,
        schedule=DIT_SCHEDULE,
        tokens=16,
        features=128,
        classes=10,
        kappa=3.0,
        times="logit-normal",
        prediction="data",
        floor=0.1,  # at least: without it the latest of 32000 times weighs 611 where the mean is 3, and the loss jumps
        normalize=True,
        guidance=Guidance(4.0),
        augment=AUGMENT,
        optimizer=DIT_OPTIMIZER,
        global_batch_size=64,
    )


def embedded_vae() -> FlatDinoRecipe:
    """16 patches of 768 numbers to 16 tokens of 128: six times fewer numbers."""
    return FlatDinoRecipe(
        name="embedded-16-128",
        teacher=patch_teacher(IMAGE_SIZE, PATCH_SIZE),
        tokens=16,
        encoder=ENCODER,
        decoder=DECODER,
        bottleneck=GaussianBottleneck(features=128, initial_logvar=-5.0),
        schedule=SCHEDULE,
        optimizer=OPTIMIZER,
        augment=AUGMENT,
        global_batch_size=GLOBAL_BATCH_SIZE,
    )


def embedded_fsq() -> FlatDinoRecipe:
    """16 patches of 768 numbers to 32 tokens of 8 codes, each one of 8 values: 768 bits for an image."""
    return FlatDinoRecipe(
        name="embedded-32-L88888888",
        teacher=patch_teacher(IMAGE_SIZE, PATCH_SIZE),
        tokens=32,
        encoder=ENCODER,
        decoder=DECODER,
        bottleneck=FsqBottleneck(levels=(8,) * 8),
        schedule=SCHEDULE,
        optimizer=OPTIMIZER,
        augment=AUGMENT,
        global_batch_size=GLOBAL_BATCH_SIZE,
    )


DECODER_SCHEDULE = Schedule(
    unit="steps", length=700, warmup=30, decay=600, validate_every=175, start=1e-4, peak=1e-2, final=5e-4
)


def embedded_decoder() -> DecoderRecipe:
    """The 16 tokens of `embedded_vae` to patches of 16 pixels; nothing in it needs weights.

    Latents of six times fewer numbers say where the coarse half of the frequencies lies, and of the finer half only
    how strong it is: the perceptual term asks for that, and the adversary that it looks like the detail of photographs.
    """
    return DecoderRecipe(
        name="embedded-decoder",
        network=Vit(dim=128, depth=2, heads=4, hidden=256, positions="learned", table_std=0.5),
        patch_size=16,
        schedule=DECODER_SCHEDULE,
        tokens=16,
        features=128,
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
        augment=AUGMENT,
        optimizer=Optimizer(kind="muon", betas=(0.9, 0.95), weight_decay=0.0, clip_norm=1.0, ema_decay=0.97),
        global_batch_size=GLOBAL_BATCH_SIZE,
    )
