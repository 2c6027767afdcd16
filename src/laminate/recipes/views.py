"""What training and validation see of an image, and whether records of arrays are those that a recipe wants."""

import dataclasses

from laminate.data.array_schema import ReadArray
from laminate.data.augment import Augment, Squash
from laminate.data.records import Records
from laminate.recipes.decoder import DecoderRecipe
from laminate.recipes.families import Recipe
from laminate.recipes.flatdino import FlatDinoRecipe
from laminate.recipes.generator import GeneratorRecipe
from laminate.recipes.json_text import teacher_of


def still_view(recipe: Recipe, records: Records) -> Augment:
    """What validation does to an image: all of it, as a square of the size that training sees; arrays are read."""
    arrays = records.manifest.arrays
    return Squash(recipe.augment.image_size) if arrays is None else ReadArray(arrays)


def random_view(recipe: Recipe) -> Augment:
    """What training does to an image."""
    return recipe.augment.transform()


def require_features(recipe: FlatDinoRecipe, records: Records) -> FlatDinoRecipe:
    """`recipe` with the teacher whose features the records hold.

    Raises ValueError if they hold something else, or features of another teacher.
    """
    arrays = records.manifest.arrays
    assert arrays is not None
    source = records.manifest.source
    if arrays.field != "features":
        raise ValueError(
            f"--data holds {arrays.field} of {source}, and this training reads images, or features of its teacher."
        )
    stored, wanted = teacher_of(arrays.made_by["teacher"]), recipe.teacher
    unhashed = dataclasses.replace(wanted, weights=wanted.weights or stored.weights)
    if dataclasses.replace(unhashed, name=stored.name) != stored:
        hashes = "" if unhashed.weights == stored.weights else ", and other weights"
        raise ValueError(
            f"--data holds features of the teacher {stored.name!r} ({stored.patches} of {stored.dim} numbers, in "
            f"{stored.dtype}), and the recipe has {wanted.name!r} ({wanted.patches} of {wanted.dim} numbers, in "
            f"{wanted.dtype}{hashes}): leave --teacher out, or encode the images again."
        )
    layer = arrays.made_by["layer"]
    if recipe.intermediate_layer not in (None, layer):
        held = "no intermediate layer" if layer is None else f"layer {layer}"
        raise ValueError(
            f"The recipe rebuilds layer {recipe.intermediate_layer} of the teacher, and --data holds {held}: encode "
            f"the images again with --layer {recipe.intermediate_layer}."
        )
    return dataclasses.replace(recipe, teacher=unhashed)


def require_latents(recipe: GeneratorRecipe | DecoderRecipe, records: Records) -> None:
    """Raises ValueError if the records hold anything but the latents that `recipe` is to generate."""
    arrays = records.manifest.arrays
    assert arrays is not None
    source = records.manifest.source
    if isinstance(recipe, DecoderRecipe):
        raise ValueError(
            f"--data holds {arrays.field} of {source}, and an image decoder is compared with images: give the images."
        )
    if arrays.field != "latents":
        raise ValueError(
            f"--data holds {arrays.field} of {source}, and a generator reads images, or the latents of its tokenizer: "
            "encode the images with --what latents --tokenizer."
        )
    if not recipe.normalize or recipe.sample_latents:
        raise ValueError(
            f"--data holds normalised means of the posterior, and the recipe {recipe.name!r} asks for "
            f"{'drawn' if recipe.sample_latents else 'raw'} latents: give the images that they were made from."
        )
    stored = arrays.made_by["tokenizer"]
    if recipe.tokenizer is None or stored != recipe.tokenizer.sha256:
        wanted = (
            "none" if recipe.tokenizer is None else f"{recipe.tokenizer.name}, {recipe.tokenizer.sha256[:12]}"
        )
        raise ValueError(
            f"--data holds latents of {source} by a tokenizer with the hash {stored[:12]}, and this generator speaks "
            f"those of another one ({wanted}): give that tokenizer by --tokenizer, or encode the images again."
        )
