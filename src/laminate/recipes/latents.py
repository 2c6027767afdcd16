"""The tokenizer that a generator speaks with: found, loaded, and seen to be the right one."""

import os
from dataclasses import dataclass, replace

import numpy as np

from laminate.data.records import RecordsManifest
from laminate.recipes.bottleneck import GaussianBottleneck
from laminate.recipes.decoder import DecoderRecipe
from laminate.recipes.embedded import embedded_vae
from laminate.recipes.experiments import flatdino_vae
from laminate.recipes.families import Recipe, script
from laminate.recipes.flags import AttentionKernel
from laminate.recipes.flatdino import FlatDinoRecipe
from laminate.recipes.generator import GeneratorRecipe, TokenizerId, for_latents
from laminate.recipes.sharing import load_pretrained, require_there
from laminate.tokenizers.flatdino import FlatDino
from laminate.train.export import content_hash


@dataclass(frozen=True)
class Tokenizer:
    """A trained tokenizer: the module with its statistics, its recipe, where it lies and what it is."""

    model: FlatDino
    recipe: FlatDinoRecipe
    source: str
    identity: TokenizerId


def load_tokenizer(
    source: str | os.PathLike[str], *, codes: bool = False, kernel: AttentionKernel = "xla"
) -> Tokenizer:
    """The tokenizer in a run, a saved folder or a hub repository; with `codes` its latents may be whole numbers.

    Raises:
        ValueError: it is no tokenizer, or its latents are whole numbers.
        OSError: there is nothing of that name.
    """
    where = os.fspath(source)
    require_there(where)
    found = load_pretrained(source, kernel=kernel)
    if not isinstance(found.recipe, FlatDinoRecipe):
        raise ValueError(
            f"{where} holds what {script(found.recipe)} trains and no tokenizer: give the run of vae.py."
        )
    if not codes and not isinstance(found.recipe.bottleneck, GaussianBottleneck):
        raise ValueError(
            f"{where} is an FSQ tokenizer, whose latents are whole numbers: flow matching needs those of vae.py."
        )
    identity = TokenizerId(found.recipe.name, content_hash(found.model))
    return Tokenizer(found.model, found.recipe, where, identity)


def require_statistics(tokenizer: Tokenizer) -> None:
    """Raises ValueError if the mean and variance of the latents were never measured."""
    statistics = tokenizer.model.normalization
    if not np.any(np.asarray(statistics.mean.value)) and np.all(np.asarray(statistics.std.value) == 1.0):
        raise ValueError(
            f"The tokenizer {tokenizer.source} has no statistics of its latents (mean 0 and deviation 1 everywhere), "
            "and a generator needs them: they are measured when its training ends; run vae.py to its end."
        )


def speak(recipe: GeneratorRecipe, tokenizer: Tokenizer) -> GeneratorRecipe:
    """`recipe` for the latents of `tokenizer`.

    Raises ValueError if it was trained with another one, for latents of another shape, or if statistics are missing.
    """
    require_statistics(tokenizer)
    tokens, features = tokenizer.recipe.tokens, tokenizer.recipe.bottleneck.width
    if recipe.tokenizer is not None and (recipe.tokens, recipe.features) != (tokens, features):
        raise ValueError(
            f"The generator {recipe.name!r} is for {recipe.tokens} tokens of {recipe.features} numbers, and the "
            f"tokenizer {tokenizer.source} has {tokens} of {features}: give the tokenizer {recipe.tokenizer.name}."
        )
    return for_latents(
        recipe,
        tokens=tokens,
        features=features,
        image_size=tokenizer.recipe.augment.image_size,
        tokenizer=tokenizer.identity,
    )


def on_classes(recipe: Recipe, manifest: RecordsManifest, *, fixed: bool) -> Recipe:
    """`recipe` for the classes of the data; an unconditional one stays so, and without classes it becomes one.

    Raises ValueError if the recipe is `fixed`, having been trained already, and for another number of classes.
    """
    assert isinstance(recipe, GeneratorRecipe)
    found = len(manifest.classes)
    if recipe.classes == 0:
        return recipe
    if fixed and recipe.classes != found:
        raise ValueError(
            f"The recipe {recipe.name!r} is for {recipe.classes} classes, and {manifest.source} has {found}: give "
            "the data it is for, or a name in place of the recipe."
        )
    return replace(recipe, classes=found, class_names=manifest.classes)


def latents_like(recipe: GeneratorRecipe | DecoderRecipe) -> FlatDinoRecipe:
    """A tokenizer with latents of that shape, for the cost of what runs beside a generator or an image decoder: the
    paper's sizes."""
    embedded = embedded_vae()
    shape = (recipe.tokens, recipe.features, recipe.augment.image_size)
    if shape == (embedded.tokens, embedded.bottleneck.width, embedded.augment.image_size):
        return embedded
    return flatdino_vae(f"long-{recipe.tokens}-bl-{recipe.features}")
