"""Recipes for one's own photographs at 128 and 256 pixels, offline: pixel patches are the teacher."""

from collections.abc import Callable

from laminate.recipes.augment import RandomResizedCropConfig
from laminate.recipes.bottleneck import GaussianBottleneck
from laminate.recipes.flatdino.recipe import FlatDinoRecipe
from laminate.recipes.network import VitConfig, patch_teacher
from laminate.recipes.training import Optimizer, Schedule

# Pixel patches say nothing of their place, and a short training cannot wait until attention has found it out.
_VIT = VitConfig(dim=128, depth=2, heads=4, hidden=256, positions="learned", table_std=0.5)
_OPTIMIZER = Optimizer(kind="muon", betas=(0.9, 0.95), clip_norm=1.0, ema_decay=0.98)
_SCHEDULE = Schedule(
    unit="steps", length=1500, warmup=50, decay=900, validate_every=250, start=1e-4, peak=1e-2, final=1e-5
)


def _photos(side: int, patch: int, latent_dim: int) -> FlatDinoRecipe:
    """256 patches of a photograph in 64 tokens."""
    return FlatDinoRecipe(
        name=f"photos-{side}",
        teacher=patch_teacher(side, patch),
        tokens=64,
        encoder=_VIT,
        decoder=_VIT,
        bottleneck=GaussianBottleneck(latent_dim=latent_dim, initial_logvar=-5.0),
        schedule=_SCHEDULE,
        optimizer=_OPTIMIZER,
        augment=RandomResizedCropConfig(image_size=side, crop_area=(0.5, 1.0)),
        global_batch_size=32,
    )


PHOTOS: dict[str, Callable[[], FlatDinoRecipe]] = {
    "photos-128": lambda: _photos(128, 8, 64),
    "photos-256": lambda: _photos(256, 16, 128),
}

COSTS = {
    "photos-128": "your photographs at 128 x 128 pixels, offline; 20 minutes on two cores",
    "photos-256": "your photographs at 256 x 256 pixels, offline; 20 minutes on two cores",
}
"""What each of them is, and how long it takes."""
