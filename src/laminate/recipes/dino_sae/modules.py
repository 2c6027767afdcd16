"""DINO-SAE's modules: the stem and the decoder that are trained, the frozen networks, and all as one tokenizer."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from laminate.data.records import Records
from laminate.models.conv_blocks import LinearAttentionBlock, ResBlock
from laminate.models.conv_stem import ConvStem
from laminate.models.dc_decoder import DcDecoder
from laminate.models.dino_sae import StemAndDecoder
from laminate.nn import LayerNorm
from laminate.pretrained.teachers import VitTeacher
from laminate.recipes.adversarial.modules import (
    adversary_identified,
    backbone,
    perceptual_identified,
    perceptual_network,
    whole_batch,
)
from laminate.recipes.dino_sae.recipe import DinoSaeRecipe
from laminate.recipes.family import Modules, accept_images
from laminate.recipes.latent import LoadedTokenizer
from laminate.recipes.modules import identified, teacher
from laminate.recipes.network import PLAIN, Compute
from laminate.tokenizers.dino_sae import BesideDinoSae, DinoSaeTokenizer
from laminate.types import RandomKey


def stem_and_decoder(recipe: DinoSaeRecipe, compute: Compute = PLAIN, *, key: RandomKey) -> StemAndDecoder:
    """What a stage trains, with freshly drawn float32 parameters."""
    k_stem, k_decoder = jax.random.split(key)
    config = recipe.decoder
    attended = partial(LinearAttentionBlock, head_dim=config.head_dim)
    decoder = DcDecoder(
        recipe.teacher.dim,
        config.widths,
        config.depths,
        [attended if kind == "attention" else ResBlock for kind in config.blocks],
        up=config.up,
        remat=compute.remat_of(max(config.depths)),
        key=k_decoder,
    )
    return StemAndDecoder(ConvStem(recipe.teacher.dim, recipe.stem, key=k_stem), decoder)


def frozen_network(recipe: DinoSaeRecipe, *, weights: bool = True) -> VitTeacher:
    """The frozen network, with the scale and bias of its final norm. Raises ValueError and OSError."""
    found = teacher(recipe.teacher, affine=True, weights=weights)
    if not isinstance(found, VitTeacher):
        raise ValueError(f"A stem stands before a vision transformer, and {recipe.teacher.name!r} is none.")
    return found


def _frozen(
    recipe: DinoSaeRecipe,
    *,
    tokenizer: LoadedTokenizer | None = None,
    stored: bool = False,
    weights: bool = True,
) -> BesideDinoSae:
    return BesideDinoSae(
        frozen_network(recipe, weights=weights),
        perceptual_network(recipe.perceptual, recipe.image_size, weights=weights),
        backbone(recipe.adversary, recipe.image_size, weights=weights),
    )


def _accept(
    recipe: DinoSaeRecipe, records: Records, *, tokenizer: LoadedTokenizer | None = None
) -> DinoSaeRecipe:
    """`recipe` with the hashes of all frozen weights, and the length of the tokens."""
    return dataclasses.replace(
        accept_images(recipe, records),
        teacher=identified(recipe.teacher),
        perceptual=perceptual_identified(recipe.perceptual, recipe.image_size),
        adversary=adversary_identified(recipe.adversary),
        token_norm=round(usual_length(frozen_network(recipe).vit.norm), 4),
    )


def usual_length(norm: LayerNorm) -> float:
    """The length of tokens behind `norm`: exact without a scale and a bias, else that of normal numbers under them."""
    scale = np.ones(norm.dim) if norm.scale is None else np.asarray(norm.scale, np.float64)
    bias = np.zeros(norm.dim) if norm.bias is None else np.asarray(norm.bias, np.float64)
    return float(np.sqrt(np.sum(scale**2 + bias**2)))


def _as_tokenizer(
    recipe: DinoSaeRecipe, model: Any, *, encodes: bool = True, weights: bool = True
) -> DinoSaeTokenizer:
    """The autoencoder with the frozen network inside; one that only decodes has none."""
    network = frozen_network(recipe, weights=weights) if encodes else None
    return DinoSaeTokenizer(
        network, model, (recipe.teacher.grid, recipe.teacher.grid), output=recipe.decoder.output
    )


def _whole_batch(recipe: DinoSaeRecipe) -> str:
    return whole_batch(recipe.adversary)


def trained_parts(recipe: DinoSaeRecipe) -> Callable[[StemAndDecoder], Any] | None:
    """What picks the decoder in a stage that trains it alone; None where the stem is trained too."""
    return None if recipe.trains == "stem-and-decoder" else lambda model: model.decoder


MODULES = Modules(
    build=stem_and_decoder,
    frozen=_frozen,
    accept=_accept,
    tokenizer=_as_tokenizer,
    trained=trained_parts,
    whole_batch=_whole_batch,
)
