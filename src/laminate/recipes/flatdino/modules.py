"""FlatDINO's modules: the tokenizer that is trained, the teacher beside it, and both as one tokenizer of images."""

import dataclasses
from typing import Any

import jax

from laminate.bottlenecks.fsq import Fsq
from laminate.bottlenecks.gaussian import Gaussian
from laminate.data.records import Records
from laminate.models.vit import Vit
from laminate.nn import trunc_normal
from laminate.pretrained.patches import Patches
from laminate.pretrained.teachers import VitTeacher
from laminate.recipes.bottleneck import FsqBottleneck, GaussianBottleneck
from laminate.recipes.family import Modules
from laminate.recipes.flatdino.recipe import FlatDinoRecipe
from laminate.recipes.latent import LoadedTokenizer
from laminate.recipes.modules import identified, teacher, trunk
from laminate.recipes.network import PLAIN, Compute
from laminate.recipes.stored import stored_layer, stored_teacher
from laminate.tokenizers.features import FeatureTokenizer
from laminate.tokenizers.flatdino import FlatDino, NestedLatents
from laminate.types import RandomKey


def flatdino(recipe: FlatDinoRecipe, compute: Compute = PLAIN, *, key: RandomKey) -> FlatDino:
    """The tokenizer of `recipe` with freshly drawn float32 parameters.

    Under `equinox.filter_eval_shape` nothing is allocated.
    """
    k_encoder, k_decoder, k_nested = jax.random.split(key, 3)
    encoder = Vit(
        trunk(recipe.encoder, compute),
        tokens=recipe.teacher.patches,
        in_dim=recipe.teacher.dim,
        out_dim=recipe.encoder_out_dim,
        registers=recipe.encoder_registers,
        positions=recipe.encoder.positions,
        table_init=trunc_normal(recipe.encoder.table_std),
        key=k_encoder,
    )
    decoder = Vit(
        trunk(recipe.decoder, compute),
        tokens=recipe.tokens,
        in_dim=recipe.decoder_in_dim,
        out_dim=recipe.decoder_out_dim,
        registers=recipe.decoder_registers,
        positions=recipe.decoder.positions,
        table_init=trunc_normal(recipe.decoder.table_std),
        key=k_decoder,
    )
    return FlatDino(
        encoder,
        bottleneck(recipe.bottleneck),
        decoder,
        encoder_disposable=recipe.encoder_disposable,
        decoder_disposable=recipe.decoder_disposable,
        intermediate=recipe.intermediate_layer is not None,
        nested=_nested(recipe, key=k_nested),
    )


def bottleneck(recipe: GaussianBottleneck | FsqBottleneck) -> Gaussian | Fsq:
    """The bottleneck of `recipe`; it has no parameters."""
    if isinstance(recipe, FsqBottleneck):
        return Fsq(recipe.levels, codebooks=recipe.codebooks)
    return Gaussian(
        recipe.latent_dim,
        tanh=recipe.tanh,
        deterministic=recipe.deterministic,
        initial_logvar=recipe.initial_logvar,
    )


def _nested(recipe: FlatDinoRecipe, *, key: RandomKey) -> NestedLatents | None:
    if isinstance(recipe.bottleneck, FsqBottleneck) and recipe.bottleneck.nested_dropout:
        return NestedLatents(recipe.bottleneck.width, recipe.decoder.dim, key=key)
    return None


def _frozen(
    recipe: FlatDinoRecipe,
    *,
    tokenizer: LoadedTokenizer | None = None,
    stored: bool = False,
    weights: bool = True,
) -> Patches | VitTeacher | None:
    """The teacher; none where the data hold its features."""
    return None if stored else teacher(recipe.teacher, weights=weights)


def _accept(
    recipe: FlatDinoRecipe, records: Records, *, tokenizer: LoadedTokenizer | None = None
) -> FlatDinoRecipe:
    """`recipe` with the hash of the weights that the teacher's features are computed, or were computed, by."""
    if records.manifest.arrays is not None:
        return _with_stored_teacher(recipe, records)
    if recipe.teacher.name == "patches" and recipe.augment.image_size != recipe.teacher.image_size:
        raise ValueError(
            f"The teacher `patches` sees images of {recipe.teacher.image_size} pixels as they are, and "
            f"augment.image_size is {recipe.augment.image_size}: give both the same, as --image-size does."
        )
    return dataclasses.replace(recipe, teacher=identified(recipe.teacher))


def _as_tokenizer(
    recipe: FlatDinoRecipe, model: Any, *, encodes: bool = True, weights: bool = True
) -> FeatureTokenizer:
    """The tokenizer with its teacher; one that only decodes has none, unless it weighs nothing."""
    needed = encodes or recipe.teacher.shows_images
    return FeatureTokenizer(teacher(recipe.teacher, weights=weights) if needed else None, model)


def _with_stored_teacher(recipe: FlatDinoRecipe, records: Records) -> FlatDinoRecipe:
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
    stored, wanted = stored_teacher(arrays), recipe.teacher
    unhashed = dataclasses.replace(wanted, weights=wanted.weights or stored.weights)
    if dataclasses.replace(unhashed, name=stored.name) != stored:
        hashes = "" if unhashed.weights == stored.weights else ", and other weights"
        raise ValueError(
            f"--data holds features of the teacher {stored.name!r} ({stored.patches} of {stored.dim} numbers, in "
            f"{stored.dtype}), and the recipe has {wanted.name!r} ({wanted.patches} of {wanted.dim} numbers, in "
            f"{wanted.dtype}{hashes}): leave --teacher out, or encode the images again."
        )
    layer = stored_layer(arrays)
    if recipe.intermediate_layer not in (None, layer):
        held = "no intermediate layer" if layer is None else f"layer {layer}"
        raise ValueError(
            f"The recipe rebuilds layer {recipe.intermediate_layer} of the teacher, and --data holds {held}: encode "
            f"the images again with --layer {recipe.intermediate_layer}."
        )
    return dataclasses.replace(recipe, teacher=unhashed)


MODULES = Modules(build=flatdino, frozen=_frozen, accept=_accept, tokenizer=_as_tokenizer)
