"""A masked autoencoder's module: the encoder as a teacher, with its decoder."""

from collections.abc import Callable
from typing import Any

import jax

from laminate.models.rae_decoder import RaeDecoder
from laminate.models.vit import Vit
from laminate.nn import LayerNorm, PatchEmbed, trunc_normal
from laminate.pretrained.patches import IMAGENET_MEAN, IMAGENET_STD
from laminate.pretrained.teachers import ShowingTeacher
from laminate.recipes.family import Modules
from laminate.recipes.freezing import trained_half
from laminate.recipes.masked_autoencoder.recipe import MaskedAutoencoderRecipe
from laminate.recipes.modules import trunk
from laminate.recipes.network import PLAIN, Compute
from laminate.types import RandomKey


def masked_autoencoder(
    recipe: MaskedAutoencoderRecipe, compute: Compute = PLAIN, *, key: RandomKey
) -> ShowingTeacher:
    """The network of `recipe` with freshly drawn float32 parameters."""
    k_patch, k_encoder, k_decoder = jax.random.split(key, 3)
    encoder = recipe.encoder
    vit = Vit(
        trunk(encoder, compute),
        patch=PatchEmbed(recipe.image_size, recipe.patch_size, encoder.dim, key=k_patch),
        positions=encoder.positions,
        norm=LayerNorm(encoder.dim, scale=False, bias=False),
        table_init=trunc_normal(encoder.table_std),
        key=k_encoder,
    )
    decoder = RaeDecoder(
        trunk(recipe.decoder, compute),
        tokens=recipe.grid**2,
        in_dim=encoder.dim,
        patch=recipe.patch_size,
        overlap=recipe.overlap,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        key=k_decoder,
    )
    return ShowingTeacher(vit, decoder, recipe.image_size, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def trained_parts(recipe: MaskedAutoencoderRecipe) -> Callable[[ShowingTeacher], Any] | None:
    """What picks the half that is trained; None where both are."""
    return trained_half(
        recipe.freeze, encoder=lambda network: network.vit, decoder=lambda network: network.decoder
    )


MODULES = Modules(build=masked_autoencoder, trained=trained_parts)
