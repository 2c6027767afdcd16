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
from laminate.recipes.describe import teacher_identity_text
from laminate.recipes.families import family_of, from_tree
from laminate.recipes.family import Modules, accept_images
from laminate.recipes.freezing import trained_half
from laminate.recipes.latent import LoadedTokenizer
from laminate.recipes.masked_autoencoder.recipe import MaskedAutoencoderRecipe, SeenThrough, as_teacher
from laminate.recipes.modules import model_shapes, network_identity, require_same_weights, same_teacher, trunk
from laminate.recipes.network import PLAIN, Compute, own_teacher
from laminate.tokenizers.flatdino import FlatDino
from laminate.train.export import content_hash, fill, widened
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

    Without a source its features are none that are known; one that is gone since the run began is believed.

    Raises ValueError if the network computes its features otherwise or is another one than the recipe states, and
    OSError if nothing is there and the recipe states none.
    """
    if recipe.freeze != "encoder" or source is None:
        return replace(recipe, features="")
    try:
        own = own_teacher(source)
    except OSError as error:
        if recipe.features:
            return recipe
        raise OSError(f"{error} A run that began with it goes on with --recipe RUN/recipe.json.") from error
    if own is None:
        return replace(recipe, features="")
    before = from_tree((hub.config_of(hub.locate(own.name)) or {}).get("recipe"))
    if _sees_by(before) != _sees_by(recipe):
        raise ValueError(
            f"--init-from {source}: its encoder is to stay as it is, and its recipe has another one ({before.encoder}, "
            f"images of {before.image_size} in patches of {before.patch_size}) than this one ({recipe.encoder}, images "
            f"of {recipe.image_size} in patches of {recipe.patch_size}): make them agree by --set or --image-size, or "
            "add --recipe with the recipe.json of its run."
        )
    found = network_identity(source)
    require_same_weights(f"frozen encoder, --init-from {source!r},", recipe.features, found)
    return replace(recipe, features=found)


def _sees_by(recipe: MaskedAutoencoderRecipe) -> tuple[object, ...]:
    """All but the weights that decides what the encoder computes."""
    return replace(recipe.encoder, drop_path_rate=0.0, table_std=1.0), recipe.patch_size, recipe.image_size


def _frozen(
    recipe: MaskedAutoencoderRecipe,
    *,
    tokenizer: LoadedTokenizer | None = None,
    stored: bool = False,
    weights: bool = True,
) -> tuple[FlatDino, ...]:
    """The tokenizers whose errors the decoder sees."""
    return tuple(_opened(one.name, recipe, weights=weights) for one in recipe.tokenizers)


def _accept(
    recipe: MaskedAutoencoderRecipe, records: Records, *, tokenizer: LoadedTokenizer | None = None
) -> MaskedAutoencoderRecipe:
    """`recipe` with the hashes of the tokenizers."""
    accept_images(recipe, records)
    if recipe.tokenizers and not recipe.features:
        raise ValueError(
            f"--tokenizer {recipe.tokenizers[0].name} compresses features of a network that is known: begin with it "
            "by --init-from, a run of teacher.py or what it saved, and not by --restore."
        )
    if not recipe.tokenizers and recipe.latent_noise:
        raise ValueError(
            f"latent_noise={recipe.latent_noise:g} is for the latents of tokenizers: give one by --tokenizer, or take "
            "feature_noise."
        )
    return replace(recipe, tokenizers=tuple(_identified(one, recipe) for one in recipe.tokenizers))


def _identified(stated: SeenThrough, recipe: MaskedAutoencoderRecipe) -> SeenThrough:
    """A tokenizer with its hash. Raises ValueError if it states another one already, and what `_opened` raises."""
    found = content_hash(_opened(stated.name, recipe))
    require_same_weights(f"tokenizer {stated.name!r}", stated.weights, found)
    return replace(stated, weights=found)


def _opened(name: str, recipe: MaskedAutoencoderRecipe, *, weights: bool = True) -> FlatDino:
    """The tokenizer at `name`, its weights in NumPy arrays, or their shapes.

    Raises ValueError if it is none of features of the recipe's frozen encoder, and OSError if nothing is there.
    """
    config = hub.config_of(hub.locate(name))
    try:
        of = from_tree((config or {}).get("recipe"))
    except ValueError as error:
        raise ValueError(f"--tokenizer {name}: {error}") from error
    latent = family_of(of).latent
    teacher, known = None if latent is None else latent(of).teacher, as_teacher(recipe, recipe.name)
    shapes = model_shapes(of)
    if teacher is None or not isinstance(shapes, FlatDino):
        raise ValueError(
            f"--tokenizer {name} compresses no features of a frozen network: take a run of vae.py or fsq.py on the "
            "network that --init-from names."
        )
    if not same_teacher(teacher, known):
        raise ValueError(
            f"--tokenizer {name} compresses the features of {teacher_identity_text(teacher)}, and the frozen encoder "
            f"gives those of {teacher_identity_text(known)}: take a tokenizer of the network that --init-from names."
        )
    return fill(shapes, widened(hub.load(name).weights), name) if weights else shapes


MODULES = Modules(build=masked_autoencoder, frozen=_frozen, accept=_accept, trained=trained_parts)
