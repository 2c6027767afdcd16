"""Untrained image decoders of tiny tokenizers and teachers."""

import dataclasses
from pathlib import Path

from laminate.recipes.adversarial.recipe import Adversary, Perceptual
from laminate.recipes.image_decoder.modules import image_decoder
from laminate.recipes.image_decoder.recipe import DecoderRecipe, Noise, for_tokenizer
from laminate.runs.load_tokenizer import load_tokenizer
from laminate.runs.pretrained import save_pretrained
from tests.experiments.jobs import TINY, VIT
from tests.oracles.arrays import filled

OF_LATENTS = DecoderRecipe(
    name="tiny-decoder",
    network=VIT,
    patch_size=8,
    schedule=TINY.schedule,
    noise=Noise("none", 0.0),
    perceptual=Perceptual("none"),
    adversary=Adversary("none"),
    augment=TINY.augment,
)
OF_FEATURES = dataclasses.replace(
    OF_LATENTS,
    name="tiny-rae",
    reads="features",
    teacher=TINY.teacher,
    patch_size=4,
    tokens=16,
    latent_dim=48,
)


def write_decoder(folder: Path, recipe: DecoderRecipe, tokenizer: Path | None = None) -> Path:
    """An untrained decoder of the latents of `tokenizer`, or of the features that the recipe names."""
    if tokenizer is not None:
        read = load_tokenizer(tokenizer)
        recipe = for_tokenizer(recipe, read.latent, read.identity)
    save_pretrained(filled(lambda key: image_decoder(recipe, key=key), scale=0.4), folder, recipe=recipe)
    return folder
