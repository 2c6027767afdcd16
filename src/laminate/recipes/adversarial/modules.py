"""The networks and the losses of `Perceptual` and `Adversary`."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from laminate.losses import adversarial
from laminate.losses.diffaug import diffaug, draw_augmentation
from laminate.losses.perceptual import PerceptualDistance, lpips_loss
from laminate.losses.pyramid import pyramid_distance
from laminate.models.dino_discriminator import DinoDiscriminator, TokenNorm
from laminate.models.discriminator import Backbone, Discriminator, Pixels
from laminate.models.inception import InceptionV3
from laminate.models.patchgan import PatchGan
from laminate.models.vgg import Lpips
from laminate.models.vit_distance import VitDistance
from laminate.models.windows import Windows
from laminate.pretrained import hub
from laminate.pretrained.details import Details
from laminate.pretrained.discriminators import VitBackbone, load_backbone
from laminate.pretrained.inception import load_inception
from laminate.pretrained.lpips import load_lpips
from laminate.pretrained.teachers import teacher_shapes
from laminate.recipes.adversarial.recipe import Adversary, Perceptual
from laminate.recipes.modules import (
    embedded_network,
    network_identity,
    require_same_weights,
    trained_teacher,
)
from laminate.recipes.network import PRETRAINED_TEACHERS, own_teacher
from laminate.recipes.training import Schedule, StepCounts
from laminate.train.export import content_hash
from laminate.train.gan_objectives import DecoderExample, DiscriminatorInputs, GanObjectives
from laminate.types import Image, Metrics, RandomKey, Scalar

SEEN_SIZE = 224  # pixels along a side of what DINO is shown
WINDOW_TAPS = 4  # offsets at which the windows are cut
_NETWORKS = {"lpips": "LPIPS", "embedded": "embedded network"}
_NORMS: dict[str, TokenNorm] = {"sample": "bn", "group": "gn"}
_DISCRIMINATOR = {"hinge": adversarial.hinge_loss, "vanilla": adversarial.vanilla_loss}
_GENERATOR = {"mean": adversarial.generator_loss, "non-saturating": adversarial.non_saturating_loss}


# Networks


def discriminator(adversary: Adversary, *, key: RandomKey) -> Discriminator:
    """The discriminator of `adversary` with freshly drawn float32 parameters.

    Raises ValueError for an adversary of kind `none`.
    """
    if adversary.kind in ("patchgan", "details"):
        return PatchGan(layers=adversary.layers, width=adversary.channels, norm=adversary.patch_norm, key=key)
    if adversary.kind == "none":
        raise ValueError("An adversary of kind none has no discriminator.")
    dim, taps = 3 * adversary.window**2, WINDOW_TAPS
    if adversary.kind == "dino":
        dim, taps = _width(adversary), 1 + len(adversary.taps)
    return DinoDiscriminator(dim, taps, kernel=adversary.kernel, norm=_NORMS[adversary.norm], key=key)


def backbone(adversary: Adversary, image_size: int, *, weights: bool = True) -> Backbone | None:
    """What the discriminator sees images of that side through, its weights in NumPy arrays; without `weights` their
    shapes. None without an adversary.

    Raises ValueError if they cannot be used, or for images that are too small, and OSError if they are not there.
    """
    if adversary.kind == "none":
        return None
    if adversary.kind == "windows":
        if image_size % adversary.window:
            raise ValueError(
                f"adversary.window {adversary.window} must divide the image's {image_size} pixels."
            )
        return Windows(adversary.window, WINDOW_TAPS)
    if adversary.kind == "patchgan" and image_size < 3 * 2**adversary.layers:
        raise ValueError(
            f"adversary.layers {adversary.layers} needs images of {3 * 2**adversary.layers} pixels or more, and these "
            f"have {image_size}: take fewer layers."
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


def perceptual_network(
    perceptual: Perceptual, image_size: int, *, weights: bool = True
) -> Lpips | VitDistance | None:
    """The network that compares images of that side, its weights in NumPy arrays, or their shapes; None for a distance
    that has none.

    Raises ValueError if they cannot be used, or not on such images, OSError if they are not there.
    """
    if perceptual.kind == "embedded":
        network = embedded_network(weights=weights)
        patch = network.image_size // math.isqrt(network.tokens)
        if min(image_size, network.image_size) % patch:
            raise ValueError(
                f"perceptual.kind embedded sees patches of {patch} pixels, and images of {image_size} are no whole "
                "number of them: take --image-size of a multiple, or --perceptual pyramid."
            )
        return VitDistance(network.vit, network.image_size, mean=network.mean, std=network.std)
    if perceptual.kind != "lpips":
        return None
    if not weights:
        return eqx.filter_eval_shape(lambda key: Lpips(key=key), jax.random.key(0))
    return _on_host(load_lpips(hub.load(perceptual.source).weights))


def inception(source: str) -> InceptionV3:
    """FID's Inception-v3 from a file or folder, its weights in NumPy arrays. Raises ValueError and OSError."""
    return _on_host(load_inception(hub.load(source).weights))


def perceptual_identified(perceptual: Perceptual, image_size: int) -> Perceptual:
    """With the hash of its weights. Raises ValueError if it states another one already."""
    network = perceptual_network(perceptual, image_size)
    if network is None:
        return perceptual
    found = content_hash(network)
    require_same_weights(_NETWORKS[perceptual.kind], perceptual.weights, found)
    return dataclasses.replace(perceptual, weights=found)


def adversary_identified(adversary: Adversary) -> Adversary:
    """With the hash of its backbone. Raises ValueError if it states another one already."""
    if adversary.kind != "dino":
        return adversary
    found = network_identity(adversary.source)
    require_same_weights("discriminator's backbone", adversary.weights, found)
    return dataclasses.replace(adversary, weights=found)


def whole_batch(adversary: Adversary) -> str:
    """Why a global batch cannot be gone through in parts, and what mends that; empty if it can."""
    if adversary.kind not in ("patchgan", "details") or adversary.patch_norm != "batch":
        return ""
    return (
        "adversary.patch_norm batch takes the statistics of the whole global batch. Leave --device-batch-size out, "
        "take more devices, or another norm: --set adversary.patch_norm=group."
    )


def _width(adversary: Adversary) -> int:
    known = PRETRAINED_TEACHERS.get(adversary.source) or own_teacher(adversary.source)
    return known.dim if known is not None else teacher_shapes(adversary.source).dim


def _on_host(module: Any) -> Any:
    return jax.tree.map(np.asarray, module)


# Losses


def perceptual_distance(
    perceptual: Perceptual, network: Lpips | VitDistance | None, *, clip: bool
) -> PerceptualDistance | None:
    """The distance of two images in [0, 1]; None if there is none. `clip` is that of `lpips_loss`."""
    if network is not None:
        return partial(lpips_loss, network=network, clip=clip)
    return pyramid_distance if perceptual.kind == "pyramid" else None


def adversarial_objectives(
    adversary: Adversary,
    schedule: Schedule,
    counts: StepCounts,
    *,
    prepare: Callable[..., DecoderExample],
    hidden: Callable[..., PyTree],
    image: Callable[[Any, PyTree], Image],
    last: Callable[[Any], Any],
    reconstruct: Callable[..., tuple[Scalar, Metrics]],
    dtype: jnp.dtype,
    clip: bool,
) -> GanObjectives:
    """Those of a network that makes images, whose five parts are given as `GanObjectives` has them, and of `adversary`,
    which looks through `frozen.backbone` in `dtype`; `clip` is that of `adversary_views`."""

    def views(image: Image, frozen: Any, *, key: RandomKey) -> tuple[PyTree, ...]:
        return adversary_views(adversary, frozen.backbone, dtype, image, clip=clip, key=key)

    discriminator_start, adversarial_start = adversary.starts(counts, schedule.unit)
    return GanObjectives(
        prepare=prepare,
        hidden=hidden,
        image=image,
        last=last,
        reconstruct=reconstruct,
        views=views,
        generator_loss=_GENERATOR[adversary.adversarial_loss],
        discriminator_loss=partial(discriminator_loss, adversary),
        quantize=quantize_uint8,
        balance=balance_of(adversary),
        weight=adversary.weight,
        adversarial_start=adversarial_start,
        discriminator_start=discriminator_start,
    )


def balance_of(adversary: Adversary) -> Callable[[Scalar, Scalar], Scalar]:
    """The weight of the adversarial loss, from the norms of both gradients at the last layer, before the constant."""
    if adversary.balanced:
        return partial(adversarial.adaptive_weight, largest=adversary.largest_balance)
    return lambda norm, adversarial_norm: jnp.ones((), jnp.float32)


def adversary_views(
    adversary: Adversary, network: Backbone, dtype: jnp.dtype, image: Image, *, clip: bool, key: RandomKey
) -> tuple[PyTree, ...]:
    """What the discriminator sees of an image in [0, 1]: moved and recoloured at random, then, if it is asked for
    consistency, as it is."""
    signed = 2.0 * (jnp.clip(image, 0.0, 1.0) if clip else image) - 1.0
    moved = diffaug(
        signed, draw_augmentation(key), probability=adversary.augment_rate, cutout=adversary.cutout
    )
    seen = (moved, signed) if adversary.consistency else (moved,)
    return tuple(network(view.astype(dtype)) for view in seen)


def discriminator_loss(
    adversary: Adversary, real: DiscriminatorInputs, fake: DiscriminatorInputs
) -> tuple[Scalar, Metrics]:
    """The discriminator's loss with its penalties, and its terms."""
    on_real, on_fake = (seen.discriminator(seen.views[0]) for seen in (real, fake))
    loss = _DISCRIMINATOR[adversary.discriminator_loss](on_real, on_fake)
    terms = {"logits_real": jnp.mean(on_real), "logits_fake": jnp.mean(on_fake)}
    terms["logits_gap"] = terms["logits_real"] - terms["logits_fake"]
    if adversary.r1:
        numbers, shape = ravel_pytree(real.views[0])
        terms["r1"] = adversarial.r1_penalty(lambda numbers: real.discriminator(shape(numbers)), numbers)
        loss = loss + adversary.r1 * terms["r1"]
    if adversary.consistency:
        pairs = ((real, on_real), (fake, on_fake))
        changes = [
            adversarial.consistency_loss(seen.discriminator(seen.views[1]), moved) for seen, moved in pairs
        ]
        terms["consistency"] = changes[0] + changes[1]
        loss = loss + adversary.consistency * terms["consistency"]
    return loss, terms


def quantize_uint8(image: Image) -> Image:
    """A decoded image as a file would hold it."""
    return jnp.round(jnp.clip(image, 0.0, 1.0) * 255.0) / 255.0
