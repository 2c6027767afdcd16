"""A ViTok autoencoder's modules: the tokenizer, and the frozen network of its perceptual loss."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from laminate.data.records import Records
from laminate.models.naflex import NaFlexAutoencoder, NaFlexTransformer, Window, naflex_trunk
from laminate.models.vit import Trunk
from laminate.models.vit_distance import VitDistance
from laminate.pretrained import hub
from laminate.pretrained.teachers import VitTeacher
from laminate.pretrained.vit_distance import load_vit_distance, vit_distance_shapes
from laminate.pretrained.vitok import load_autoencoder
from laminate.recipes.families import family_of_teachers
from laminate.recipes.family import Modules, Shapes, accept_images
from laminate.recipes.freezing import trained_half
from laminate.recipes.latent import LoadedTokenizer
from laminate.recipes.modules import identified, teacher
from laminate.recipes.network import PLAIN, Compute
from laminate.recipes.vitok.presets import known_weights
from laminate.recipes.vitok.recipe import NaFlexConfig, VitokRecipe
from laminate.tokenizers.vitok import Vitok
from laminate.types import RandomKey


def vitok(recipe: VitokRecipe, compute: Compute = PLAIN, *, key: RandomKey) -> Vitok:
    """The autoencoder of `recipe` with freshly drawn float32 parameters."""
    k_encoder, k_decoder = jax.random.split(key)
    window = None if recipe.window is None else Window(recipe.window, recipe.window_on)

    def half(network: NaFlexConfig, in_dim: int, out_dim: int, key: RandomKey) -> NaFlexTransformer:
        return NaFlexTransformer(
            _trunk(network, compute),
            in_dim,
            out_dim,
            cls_token=recipe.cls_token,
            registers=recipe.registers,
            window=window,
            key=key,
        )

    encoder = half(recipe.encoder, recipe.patch_dim, recipe.channels, k_encoder)
    decoder = half(recipe.decoder, recipe.channels, recipe.patch_dim, k_decoder)
    return Vitok(NaFlexAutoencoder(encoder, decoder, patch=recipe.patch))


def _trunk(network: NaFlexConfig, compute: Compute) -> Trunk:
    trunk = naflex_trunk(
        network.dim,
        network.depth,
        network.heads,
        factor=network.mlp_factor,
        layer_scale=network.layer_scale,
        drop_path_rate=network.drop_path_rate,
    )
    return dataclasses.replace(trunk, kernel=compute.kernel, remat=compute.remat_of(network.depth))


def _frozen(
    recipe: VitokRecipe,
    *,
    tokenizer: LoadedTokenizer | None = None,
    stored: bool = False,
    weights: bool = True,
) -> VitDistance | None:
    """The perceptual distance of tiles, its weights in NumPy arrays or their shapes; None if there is none."""
    config = recipe.teacher
    if config is None:
        return None
    tile, dtype = recipe.losses.tile, jnp.dtype(config.dtype)
    if family_of_teachers(config.family) is not None:
        found = teacher(config, weights=weights)
        assert isinstance(found, VitTeacher)
        return VitDistance(found.vit, tile, mean=found.mean, std=found.std)
    if not weights:
        return vit_distance_shapes(config.name, longest=tile, dtype=dtype)
    return load_vit_distance(config.name, longest=tile, dtype=dtype)


def _accept(
    recipe: VitokRecipe, records: Records, *, tokenizer: LoadedTokenizer | None = None
) -> VitokRecipe:
    """`recipe` with the hash of the perceptual network's weights."""
    accept_images(recipe, records)
    if recipe.teacher is None:
        return recipe
    return dataclasses.replace(recipe, teacher=identified(recipe.teacher))


def _published(recipe: VitokRecipe, *, cache: Path | None = None) -> Vitok:
    """The published network whose sizes `recipe` has, its weights in NumPy arrays."""
    found = hub.load(known_weights(recipe.name), cache=cache)
    return Vitok(load_autoencoder(found.weights, on_host=True))


def _example_shapes(recipe: VitokRecipe) -> Shapes:
    tokens = recipe.augment.tokens
    return {
        "patches": ((tokens, recipe.patch_dim), "float32"),
        "mask": ((tokens,), "bool"),
        "row": ((tokens,), "int32"),
        "col": ((tokens,), "int32"),
        "grid": ((2,), "int32"),
        "size": ((2,), "int32"),
        "label": ((), "int32"),
    }


def trained_parts(recipe: VitokRecipe) -> Callable[[Vitok], Any] | None:
    """What picks the half that is trained; None where both are."""
    return trained_half(
        recipe.freeze,
        encoder=lambda model: model.autoencoder.encoder,
        decoder=lambda model: model.autoencoder.decoder,
    )


MODULES = Modules(
    build=vitok,
    frozen=_frozen,
    accept=_accept,
    example_shapes=_example_shapes,
    published=_published,
    trained=trained_parts,
)
