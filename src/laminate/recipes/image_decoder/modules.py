"""An image decoder's modules: the decoder, its discriminator, and the frozen networks beside them."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import numpy as np

from laminate.data.records import Records
from laminate.models.dino_discriminator import DinoDiscriminator, TokenNorm
from laminate.models.discriminator import Backbone, Discriminator, Pixels
from laminate.models.inception import InceptionV3
from laminate.models.patchgan import PatchGan
from laminate.models.pixel_decoder import PixelDecoder, RegisterDecoder
from laminate.models.rae_decoder import RaeDecoder
from laminate.models.vgg import Lpips
from laminate.models.vit import Vit
from laminate.models.vit_distance import VitDistance
from laminate.models.windows import Windows
from laminate.nn import trunc_normal
from laminate.pretrained import hub
from laminate.pretrained.details import Details
from laminate.pretrained.discriminators import VitBackbone, load_backbone
from laminate.pretrained.inception import load_inception
from laminate.pretrained.lpips import load_lpips
from laminate.pretrained.patches import IMAGENET_MEAN, IMAGENET_STD
from laminate.pretrained.published import READERS
from laminate.pretrained.teachers import teacher_shapes
from laminate.recipes.family import Modules
from laminate.recipes.image_decoder.recipe import Adversary, DecoderRecipe, for_tokenizer
from laminate.recipes.latent import LatentSpec, LoadedTokenizer
from laminate.recipes.modules import (
    embedded_network,
    identified,
    image_tokenizer,
    network_identity,
    require_same_weights,
    teacher,
    trained_teacher,
    trunk,
)
from laminate.recipes.network import PLAIN, PRETRAINED_TEACHERS, Compute, own_teacher
from laminate.tokenizers.features import TeacherFeatures
from laminate.tokenizers.frozen_networks import FrozenNetworks
from laminate.train.export import content_hash
from laminate.types import RandomKey

SEEN_SIZE = 224  # pixels along a side of what DINO is shown
WINDOW_TAPS = 4  # offsets at which the windows are cut
_NETWORKS = {"lpips": "LPIPS", "embedded": "embedded network"}
_NORMS: dict[str, TokenNorm] = {"sample": "bn", "group": "gn"}


def image_decoder(recipe: DecoderRecipe, compute: Compute = PLAIN, *, key: RandomKey) -> PixelDecoder:
    """The image decoder of `recipe` with freshly drawn float32 parameters."""
    network, mean, std = recipe.network, IMAGENET_MEAN, IMAGENET_STD
    layers = trunk(network, kernel=compute.kernel, remat=compute.remat_of(network.depth))
    if recipe.reads == "features":
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


def discriminator(recipe: DecoderRecipe, *, key: RandomKey) -> Discriminator:
    """The discriminator of `recipe` with freshly drawn float32 parameters.

    Raises ValueError for an adversary of kind `none`, and for images that are too small.
    """
    adversary = recipe.adversary
    if adversary.kind in ("patchgan", "details"):
        return PatchGan(layers=adversary.layers, width=adversary.channels, norm=adversary.patch_norm, key=key)
    if adversary.kind == "none":
        raise ValueError(f"The recipe {recipe.name!r} has no adversary.")
    dim, taps = 3 * adversary.window**2, WINDOW_TAPS
    if adversary.kind == "dino":
        dim, taps = _width(adversary), 1 + len(adversary.taps)
    return DinoDiscriminator(dim, taps, kernel=adversary.kernel, norm=_NORMS[adversary.norm], key=key)


def backbone(recipe: DecoderRecipe, *, weights: bool = True) -> Backbone:
    """What the discriminator sees images through, its weights in NumPy arrays; without `weights` their shapes.

    Raises ValueError if they cannot be used, and OSError if they are not there.
    """
    adversary = recipe.adversary
    if adversary.kind == "windows":
        if recipe.image_size % adversary.window:
            raise ValueError(
                f"adversary.window {adversary.window} must divide the image's {recipe.image_size} pixels."
            )
        return Windows(adversary.window, WINDOW_TAPS)
    if adversary.kind == "patchgan" and recipe.image_size < 3 * 2**adversary.layers:
        raise ValueError(
            f"adversary.layers {adversary.layers} needs images of {3 * 2**adversary.layers} pixels or more, and these "
            f"have {recipe.image_size}: take fewer layers."
        )
    if adversary.kind == "details":
        return Details()
    if adversary.kind != "dino":
        return Pixels()
    own = own_teacher(adversary.source)
    if own is not None:
        return VitBackbone(trained_teacher(own, weights=weights), adversary.taps)
    resampling = "bilinear-antialias" if adversary.antialias else "bilinear"
    if not weights:
        shapes = teacher_shapes(adversary.source, image_size=SEEN_SIZE, resampling=resampling)
        return VitBackbone(shapes, adversary.taps)
    return load_backbone(
        adversary.source,
        depths=adversary.taps,
        image_size=SEEN_SIZE,
        resampling=resampling,
        hidden_act=None if adversary.antialias else "gelu_pytorch_tanh",
        on_host=True,
    )


def perceptual(recipe: DecoderRecipe, *, weights: bool = True) -> Lpips | VitDistance | None:
    """The network that compares images in `recipe`, its weights in NumPy arrays, or their shapes; None if it has none.

    Raises ValueError if they cannot be used or are others than the recipe was made with, OSError if they are not there.
    """
    stated = recipe.perceptual
    if stated.kind == "embedded":
        network = embedded_network(weights=weights)
        patch = network.image_size // math.isqrt(network.tokens)
        if min(recipe.image_size, network.image_size) % patch:
            raise ValueError(
                f"perceptual.kind embedded sees patches of {patch} pixels, and images of {recipe.image_size} are no "
                "whole number of them: take --image-size of a multiple, or --perceptual pyramid."
            )
        return VitDistance(network.vit, network.image_size, mean=network.mean, std=network.std)
    if stated.kind != "lpips":
        return None
    if not weights:
        return eqx.filter_eval_shape(lambda key: Lpips(key=key), jax.random.key(0))
    return _on_host(load_lpips(hub.load(stated.source).weights))


def inception(source: str) -> InceptionV3:
    """FID's Inception-v3 from a file or folder, its weights in NumPy arrays. Raises ValueError and OSError."""
    return _on_host(load_inception(hub.load(source).weights))


def _frozen(
    recipe: DecoderRecipe,
    *,
    tokenizer: LoadedTokenizer | None = None,
    stored: bool = False,
    weights: bool = True,
) -> FrozenNetworks:
    """The tokenizer or teacher that is read, LPIPS, and what the discriminator looks through."""
    if recipe.reads == "latents":
        latent = LatentSpec(recipe.tokens, recipe.latent_dim, recipe.image_size)
        reads = image_tokenizer(tokenizer, like=latent, weights=weights)
    else:
        assert recipe.teacher is not None
        reads = TeacherFeatures(teacher(recipe.teacher, weights=weights))
    adversary = None if recipe.adversary.kind == "none" else backbone(recipe, weights=weights)
    return FrozenNetworks(reads, perceptual(recipe, weights=weights), adversary)


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
    network = perceptual(recipe)
    if network is not None:
        found = content_hash(network)
        require_same_weights(_NETWORKS[recipe.perceptual.kind], recipe.perceptual.weights, found)
        recipe = dataclasses.replace(recipe, perceptual=dataclasses.replace(recipe.perceptual, weights=found))
    if recipe.adversary.kind == "dino":
        found = network_identity(recipe.adversary.source)
        require_same_weights("discriminator's backbone", recipe.adversary.weights, found)
        recipe = dataclasses.replace(recipe, adversary=dataclasses.replace(recipe.adversary, weights=found))
    return recipe


def _width(adversary: Adversary) -> int:
    known = PRETRAINED_TEACHERS.get(adversary.source) or own_teacher(adversary.source)
    return known.dim if known is not None else teacher_shapes(adversary.source).dim


def _on_host(module: Any) -> Any:
    return jax.tree.map(np.asarray, module)


def _whole_batch(recipe: DecoderRecipe) -> str:
    if recipe.adversary.kind not in ("patchgan", "details") or recipe.adversary.patch_norm != "batch":
        return ""
    return (
        "adversary.patch_norm batch takes the statistics of the whole global batch. Leave --device-batch-size out, "
        "take more devices, or another norm: --set adversary.patch_norm=group."
    )


MODULES = Modules(build=image_decoder, frozen=_frozen, accept=_accept, whole_batch=_whole_batch)
