"""A masked autoencoder's module: the encoder as a teacher, with its decoder."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax

from laminate.data.records import Records
from laminate.models.rae_decoder import RaeDecoder
from laminate.models.vit import Vit
from laminate.nn import LayerNorm, PatchEmbed, trunc_normal
from laminate.pretrained import hub
from laminate.pretrained.patches import IMAGENET_MEAN, IMAGENET_STD
from laminate.pretrained.teachers import ShowingTeacher
from laminate.pretrained.tensors import weights_hash
from laminate.recipes.describe import teacher_identity_text
from laminate.recipes.families import family_of, from_tree
from laminate.recipes.family import Modules, accept_images
from laminate.recipes.freezing import trained_half
from laminate.recipes.latent import LoadedTokenizer
from laminate.recipes.masked_autoencoder.recipe import MaskedAutoencoderRecipe, SeenThrough, as_teacher
from laminate.recipes.modules import model_shapes, network_identity, require_same_weights, same_teacher, trunk
from laminate.recipes.network import PLAIN, Compute, own_teacher
from laminate.tokenizers.flatdino import FlatDino
from laminate.train.export import fill, widened
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


def with_features_of(recipe: MaskedAutoencoderRecipe, source: str | None) -> MaskedAutoencoderRecipe:
    """`recipe`, and if its encoder is frozen, the hash of the network at `source` that it begins with.

    Raises ValueError if the recipe states another one, and OSError if nothing is there.
    """
    if recipe.freeze != "encoder" or source is None or own_teacher(source) is None:
        return recipe
    found = network_identity(source)
    require_same_weights(f"frozen encoder, --init-from {source!r},", recipe.features, found)
    return replace(recipe, features=found)


def _frozen(
    recipe: MaskedAutoencoderRecipe,
    *,
    tokenizer: LoadedTokenizer | None = None,
    stored: bool = False,
    weights: bool = True,
) -> tuple[FlatDino, ...]:
    """The tokenizers whose errors the decoder sees."""
    return tuple(_opened(one, recipe, weights=weights)[0] for one in recipe.tokenizers)


def _accept(
    recipe: MaskedAutoencoderRecipe, records: Records, *, tokenizer: LoadedTokenizer | None = None
) -> MaskedAutoencoderRecipe:
    """`recipe` with the hashes of the tokenizers."""
    accept_images(recipe, records)
    return replace(recipe, tokenizers=tuple(_opened(one, recipe)[1] for one in recipe.tokenizers))


def _opened(
    stated: SeenThrough, recipe: MaskedAutoencoderRecipe, *, weights: bool = True
) -> tuple[FlatDino, SeenThrough]:
    """A tokenizer with its weights in NumPy arrays, or their shapes, and its hash.

    Raises ValueError if it is none of features of the recipe's frozen encoder, or has other weights than the recipe
    states, and OSError if nothing is there.
    """
    config, numbers = hub.load(stated.name)
    of = from_tree((config or {}).get("recipe"))
    latent = family_of(of).latent
    teacher = None if latent is None else latent(of).teacher
    shapes = model_shapes(of)
    if teacher is None or not isinstance(shapes, FlatDino):
        raise ValueError(
            f"--tokenizer {stated.name} compresses no features of a frozen network: take a run of vae.py or fsq.py on "
            "the network that --init-from names."
        )
    if not same_teacher(teacher, as_teacher(recipe, recipe.name)):
        raise ValueError(
            f"--tokenizer {stated.name} compresses the features of {teacher_identity_text(teacher)}, and the frozen "
            f"encoder gives those of {teacher_identity_text(as_teacher(recipe, recipe.name))}: take a tokenizer of the "
            "network that --init-from names."
        )
    found = weights_hash(numbers)
    require_same_weights(f"tokenizer {stated.name!r}", stated.weights, found)
    model = fill(shapes, widened(numbers), stated.name) if weights else shapes
    return model, replace(stated, weights=found)


MODULES = Modules(build=masked_autoencoder, frozen=_frozen, accept=_accept, trained=trained_parts)
