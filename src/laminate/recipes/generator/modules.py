"""A generator's modules: the diffusion transformer, and the frozen tokenizer whose latents it draws."""

import dataclasses
from functools import partial

from laminate.data.records import Records
from laminate.models import Ddt, Dit, FlatLatent
from laminate.nn import xavier_uniform
from laminate.recipes.family import Modules
from laminate.recipes.generator.recipe import GeneratorRecipe
from laminate.recipes.latent import LatentSpec, LoadedTokenizer, for_latents
from laminate.recipes.modules import image_tokenizer, require_statistics, trunk
from laminate.recipes.network import PLAIN, Compute
from laminate.recipes.stored import require_latents, stored_tokenizer
from laminate.tokenizers.base import ImageTokenizer
from laminate.types import RandomKey


def generator(recipe: GeneratorRecipe, compute: Compute = PLAIN, *, key: RandomKey) -> Dit | Ddt:
    """The generator of `recipe` with freshly drawn float32 parameters."""
    layers = partial(trunk, kernel=compute.kernel, remat=compute.remat_of(recipe.network.depth))
    network = layers(recipe.network)
    shape, null_class = FlatLatent(recipe.tokens, recipe.latent_dim), recipe.class_dropout > 0
    if recipe.head is None:
        return Dit(
            network,
            shape,
            classes=recipe.classes,
            null_class=null_class,
            positions=recipe.network.positions,
            rotary=recipe.rotary,
            key=key,
        )
    head = layers(recipe.head)
    return Ddt(
        dataclasses.replace(network, init=xavier_uniform),
        dataclasses.replace(head, init=xavier_uniform),
        shape,
        classes=recipe.classes,
        null_class=null_class,
        positions=recipe.network.positions,
        rotary=recipe.rotary,
        key=key,
    )


def _frozen(
    recipe: GeneratorRecipe,
    *,
    tokenizer: LoadedTokenizer | None = None,
    stored: bool = False,
    weights: bool = True,
) -> ImageTokenizer:
    """The tokenizer; of one that is not chosen yet, the shapes of one with such latents."""
    latent = LatentSpec(recipe.tokens, recipe.latent_dim, recipe.augment.image_size)
    return image_tokenizer(tokenizer, like=latent, encodes=not stored, weights=weights)


def _accept(
    recipe: GeneratorRecipe, records: Records, *, tokenizer: LoadedTokenizer | None = None
) -> GeneratorRecipe:
    """`recipe` for the latents of the tokenizer and the classes of the data.

    An unconditional one stays so, and without classes it becomes one. A recipe that was trained already is for its
    tokenizer and its number of classes alone.
    """
    fixed, found = recipe.tokenizer is not None, len(records.manifest.classes)
    if tokenizer is not None:
        if tokenizer.latent.codes:
            raise ValueError(
                f"{tokenizer.source} is a tokenizer whose latents are whole numbers: flow matching needs those of a "
                "Gaussian one, such as vae.py trains."
            )
        require_statistics(tokenizer)
        recipe = for_latents(recipe, tokenizer.latent, tokenizer.identity)
    if records.manifest.arrays is not None:
        _require_latents(recipe, records)
    if recipe.classes == 0:
        return recipe
    if fixed and recipe.classes != found:
        raise ValueError(
            f"The recipe {recipe.name!r} is for {recipe.classes} classes, and {records.manifest.source} has {found}: "
            "give the data it is for, or a name in place of the recipe."
        )
    return dataclasses.replace(recipe, classes=found, class_names=records.manifest.classes)


def _require_latents(recipe: GeneratorRecipe, records: Records) -> None:
    """Raises ValueError if the records hold anything but the latents that `recipe` is to generate."""
    arrays = records.manifest.arrays
    assert arrays is not None
    source = records.manifest.source
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
    stored = stored_tokenizer(arrays)
    if recipe.tokenizer is None or stored != recipe.tokenizer.sha256:
        wanted = (
            "none" if recipe.tokenizer is None else f"{recipe.tokenizer.name}, {recipe.tokenizer.sha256[:12]}"
        )
        raise ValueError(
            f"--data holds latents of {source} by a tokenizer with the hash {stored[:12]}, and this generator speaks "
            f"those of another one ({wanted}): give that tokenizer by --tokenizer, or encode the images again."
        )
    require_latents(arrays, (recipe.tokens, recipe.latent_dim))


MODULES = Modules(build=generator, frozen=_frozen, accept=_accept)
