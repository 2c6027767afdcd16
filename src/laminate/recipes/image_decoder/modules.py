"""An image decoder's modules: the decoder, its discriminator, and the frozen networks beside them."""

import dataclasses

import jax

from laminate.data.records import Records
from laminate.models.pixel_decoder import PixelDecoder, RegisterDecoder
from laminate.models.rae_decoder import RaeDecoder
from laminate.models.vit import Vit
from laminate.nn import trunc_normal
from laminate.pretrained.patches import IMAGENET_MEAN, IMAGENET_STD
from laminate.pretrained.published import READERS
from laminate.recipes.adversarial.modules import (
    adversary_identified,
    backbone,
    perceptual_identified,
    perceptual_network,
    whole_batch,
)
from laminate.recipes.family import Modules
from laminate.recipes.image_decoder.recipe import DecoderRecipe, for_tokenizer
from laminate.recipes.latent import LatentSpec, LoadedTokenizer
from laminate.recipes.modules import identified, image_tokenizer, teacher, trunk
from laminate.recipes.network import PLAIN, Compute
from laminate.tokenizers.features import TeacherFeatures
from laminate.tokenizers.frozen_networks import FrozenNetworks
from laminate.types import RandomKey


def image_decoder(recipe: DecoderRecipe, compute: Compute = PLAIN, *, key: RandomKey) -> PixelDecoder:
    """The image decoder of `recipe` with freshly drawn float32 parameters."""
    network, mean, std = recipe.network, IMAGENET_MEAN, IMAGENET_STD
    layers = trunk(network, compute)
    if recipe.reads != "latents":
        assert recipe.teacher is not None
        if recipe.teacher.family in READERS:
            mean, std = READERS[recipe.teacher.family].mean, READERS[recipe.teacher.family].std
        return RaeDecoder(
            layers,
            tokens=recipe.tokens,
            in_dim=recipe.latent_dim,
            patch=recipe.patch_size,
            overlap=recipe.overlap,
            mean=mean,
            std=std,
            key=key,
        )
    k_vit, k_last = jax.random.split(key)
    vit = Vit(
        layers,
        tokens=recipe.tokens,
        in_dim=recipe.latent_dim,
        registers=recipe.grid**2,
        positions=network.positions,
        table_init=trunc_normal(network.table_std),
        key=k_vit,
    )
    return RegisterDecoder(
        vit, patch=recipe.patch_size, overlap=recipe.overlap, mean=mean, std=std, key=k_last
    )


def _frozen(
    recipe: DecoderRecipe,
    *,
    tokenizer: LoadedTokenizer | None = None,
    stored: bool = False,
    weights: bool = True,
) -> FrozenNetworks:
    """The tokenizer or teacher that is read, LPIPS, and what the discriminator looks through.

    A plan of a decoder of reconstructed features without a tokenizer has the teacher alone.
    """
    if recipe.reads == "latents" or tokenizer is not None:
        latent = LatentSpec(recipe.tokens, recipe.latent_dim, recipe.image_size)
        reads = image_tokenizer(tokenizer, like=latent, weights=weights)
    else:
        assert recipe.teacher is not None
        reads = TeacherFeatures(teacher(recipe.teacher, weights=weights))
    distance = perceptual_network(recipe.perceptual, recipe.image_size, weights=weights)
    return FrozenNetworks(reads, distance, backbone(recipe.adversary, recipe.image_size, weights=weights))


def _accept(
    recipe: DecoderRecipe, records: Records, *, tokenizer: LoadedTokenizer | None = None
) -> DecoderRecipe:
    """`recipe` for the latents of the tokenizer, with the hashes of all other frozen weights."""
    arrays = records.manifest.arrays
    if arrays is not None:
        raise ValueError(
            f"--data holds {arrays.field} of {records.manifest.source}, and an image decoder is compared with images: "
            "give the images."
        )
    if tokenizer is not None:
        recipe = for_tokenizer(recipe, tokenizer.latent, tokenizer.identity)
    if recipe.teacher is not None:
        recipe = dataclasses.replace(recipe, teacher=identified(recipe.teacher))
    return dataclasses.replace(
        recipe,
        perceptual=perceptual_identified(recipe.perceptual, recipe.image_size),
        adversary=adversary_identified(recipe.adversary),
    )


def _whole_batch(recipe: DecoderRecipe) -> str:
    return whole_batch(recipe.adversary)


MODULES = Modules(build=image_decoder, frozen=_frozen, accept=_accept, whole_batch=_whole_batch)
