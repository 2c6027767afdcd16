"""A generator's modules: the diffusion transformer, and the frozen tokenizer whose latents it draws."""

import dataclasses
import math

import numpy as np

from laminate.data.records import Records
from laminate.models import Ddt, Dit, FlatLatent, GridLatent, SharedDit, Trunk
from laminate.models.naflex import Window
from laminate.nn import fan_in_uniform, xavier_uniform
from laminate.recipes.augment import FramedConfig
from laminate.recipes.family import Modules
from laminate.recipes.generator.flow import PathConfig, SpherePath
from laminate.recipes.generator.recipe import GeneratorRecipe, SharedModulation
from laminate.recipes.latent import LatentSpec, LoadedTokenizer, for_latents
from laminate.recipes.modules import image_tokenizer, require_statistics, trunk
from laminate.recipes.network import PLAIN, Compute
from laminate.recipes.stored import require_latents, stored_tokenizer
from laminate.tokenizers.base import ImageTokenizer
from laminate.types import RandomKey


def generator(recipe: GeneratorRecipe, compute: Compute = PLAIN, *, key: RandomKey) -> Dit | Ddt | SharedDit:
    """The generator of `recipe` with freshly drawn float32 parameters."""
    network, null_class = trunk(recipe.network, compute), recipe.class_dropout > 0
    if recipe.shared is not None:
        return _shared(recipe, recipe.shared, network, key=key)
    if recipe.grid is None:
        shape = FlatLatent(recipe.tokens, recipe.latent_dim)
    else:
        shape = GridLatent(*recipe.grid, recipe.latent_dim)
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
    head = trunk(recipe.head, compute)
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


def _shared(
    recipe: GeneratorRecipe, shared: SharedModulation, network: Trunk, *, key: RandomKey
) -> SharedDit:
    """ViTok's generator; tokens whose grid nobody knows stand on a square, or in one row if they do not fill one."""
    side = math.isqrt(recipe.tokens)
    rows, columns = recipe.grid or ((side, side) if side**2 == recipe.tokens else (1, recipe.tokens))
    return SharedDit(
        dataclasses.replace(network, layer_scale=shared.layer_scale, parallel=True, init=fan_in_uniform),
        GridLatent(rows, columns, recipe.latent_dim),
        classes=recipe.classes,
        null_class=recipe.class_dropout > 0,
        cls_token=shared.cls_token,
        registers=shared.registers,
        theta=shared.theta,
        bound=shared.bound,
        window=None if shared.window is None else Window(shared.window),
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
        if isinstance(recipe.augment, FramedConfig) and tokenizer.latent.patch is None:
            raise ValueError(
                f"The recipe {recipe.name!r} is for latents of images of several shapes, and {tokenizer.source} has "
                "squares alone: give a tokenizer of vitok.py, or another --experiment."
            )
        recipe = for_latents(recipe, tokenizer.latent, tokenizer.identity)
        recipe = dataclasses.replace(
            recipe, grid=tokenizer.latent.grid, path=measured(recipe.path, recipe.normalize, tokenizer)
        )
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


def measured(path: PathConfig, normalize: bool, tokenizer: LoadedTokenizer) -> PathConfig:
    """`path`, on a sphere with the length of the tokenizer's tokens, to which drawn ones are brought.

    Normalised tokens have that of the sphere, to which normalising brings them.
    """
    if not isinstance(path, SpherePath) or path.decode_radius is not None:
        return path
    length = tokenizer.latent.token_norm
    if tokenizer.latent.normalised:
        if normalize:
            return path
        statistics = tokenizer.model.normalization
        squares = np.square(np.asarray(statistics.mean.value, np.float64))
        squares += np.square(np.asarray(statistics.std.value, np.float64))
        length = float(np.sqrt(np.mean(np.sum(squares, axis=-1))))
    return dataclasses.replace(path, decode_radius=None if length is None else round(length, 4))


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


def _float32(recipe: GeneratorRecipe) -> str:
    if recipe.radius is None:
        return ""
    return "on a sphere half precision makes trainings unstable (HAE) and has no small angles"


MODULES = Modules(build=generator, frozen=_frozen, accept=_accept, float32=_float32)
