"""What an image decoder is trained with: its discriminator, and the frozen networks beside it."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import numpy as np

from laminate.models.dino_discriminator import DinoDiscriminator, TokenNorm
from laminate.models.discriminator import Backbone, Discriminator, Pixels
from laminate.models.inception import InceptionV3
from laminate.models.patchgan import PatchGan
from laminate.models.vgg import Lpips
from laminate.models.windows import Windows
from laminate.pretrained import hub
from laminate.pretrained.details import Details
from laminate.pretrained.discriminators import VitBackbone, load_backbone
from laminate.pretrained.inception import load_inception
from laminate.pretrained.lpips import load_lpips
from laminate.pretrained.teachers import teacher_identity, teacher_shapes
from laminate.recipes import build
from laminate.recipes.decoder import Adversary, DecoderRecipe
from laminate.recipes.network import PRETRAINED_TEACHERS
from laminate.train.export import content_hash
from laminate.types import RandomKey

SEEN_SIZE = 224  # pixels along a side of what DINO is shown
WINDOW_TAPS = 4  # offsets at which the windows are cut
_NORMS: dict[str, TokenNorm] = {"sample": "bn", "group": "gn"}


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


def perceptual(recipe: DecoderRecipe, *, weights: bool = True) -> Lpips | None:
    """The LPIPS network of `recipe`, its weights in NumPy arrays, or their shapes; None if it has none.

    Raises ValueError if they cannot be used or are others than the recipe was made with, OSError if they are not there.
    """
    stated = recipe.perceptual
    if stated.kind != "lpips":
        return None
    if not weights:
        return eqx.filter_eval_shape(lambda key: Lpips(key=key), jax.random.key(0))
    return _on_host(load_lpips(hub.load(stated.source).weights))


def inception(source: str) -> InceptionV3:
    """FID's Inception-v3 from a file or folder, its weights in NumPy arrays. Raises ValueError and OSError."""
    return _on_host(load_inception(hub.load(source).weights))


def identified(recipe: DecoderRecipe) -> DecoderRecipe:
    """`recipe` with the hashes of all frozen weights but the tokenizer's. Raises ValueError if it states others."""
    if recipe.teacher is not None:
        recipe = dataclasses.replace(recipe, teacher=build.identified(recipe.teacher))
    network = perceptual(recipe)
    if network is not None:
        found = content_hash(network)
        _require_same("LPIPS", recipe.perceptual.weights, found)
        recipe = dataclasses.replace(recipe, perceptual=dataclasses.replace(recipe.perceptual, weights=found))
    if recipe.adversary.kind == "dino":
        found = teacher_identity(recipe.adversary.source)
        _require_same("discriminator's backbone", recipe.adversary.weights, found)
        recipe = dataclasses.replace(recipe, adversary=dataclasses.replace(recipe.adversary, weights=found))
    return recipe


def _require_same(what: str, stated: str, found: str) -> None:
    if stated not in ("", found):
        raise ValueError(
            f"The weights of the {what} have changed: their hash is {found[:12]}, and the recipe was made with "
            f"{stated[:12]}. Bring the old ones back, or start from the name of the experiment."
        )


def _width(adversary: Adversary) -> int:
    known = PRETRAINED_TEACHERS.get(adversary.source)
    return known.dim if known is not None else teacher_shapes(adversary.source).dim


def _on_host(module: Any) -> Any:
    return jax.tree.map(np.asarray, module)
