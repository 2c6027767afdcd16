"""Frozen networks that sets of images are measured by: what each makes of one image."""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from laminate.models.clip_vision import ClipVision
from laminate.models.inception import InceptionV3, Rule, inception_input
from laminate.nn import Resampling, resize
from laminate.pretrained.clip import MEAN, STD
from laminate.pretrained.teachers import VitTeacher
from laminate.types import Image, RandomKey

Output = Literal["patches", "cls"]


class PooledTeacher(eqx.Module):
    """A vision transformer: the mean of its patch tokens, or its CLS token, float32.

    Raises ValueError if the CLS token is wanted of a network without one.
    """

    teacher: VitTeacher
    output: Output = eqx.field(static=True)

    def __init__(self, teacher: VitTeacher, output: Output):
        if output == "cls" and teacher.vit.cls is None:
            raise ValueError("This network has no CLS token: take the mean of its patches.")
        self.teacher = teacher
        self.output = output

    def __call__(self, image: Image, *, key: RandomKey | None = None) -> dict[str, Array]:
        """`pool`, of an image in [0, 1] (beyond, it is clipped)."""
        tokens = self.teacher.vit(self.teacher.seen(jnp.clip(image, 0.0, 1.0)))
        pool = tokens[0] if self.output == "cls" else jnp.mean(tokens[self.teacher.vit.prefix :], axis=0)
        return {"pool": pool.astype(jnp.float32)}


class PooledInception(eqx.Module):
    """Inception-v3 as ADM's evaluator runs it, or by another rule for its input (`models.inception.inception_input`):
    `pool`, `logits` without bias, and what the sFID is defined on."""

    network: InceptionV3
    rule: Rule = eqx.field(static=True, default="tensorflow")

    def __call__(self, image: Image, *, key: RandomKey | None = None) -> dict[str, Array]:
        found = self.network(inception_input(jnp.clip(image, 0.0, 1.0), self.rule))
        return {"pool": found.pool2048, "logits": found.logits_unbiased, "spatial": found.spatial2023}


class PooledClip(eqx.Module):
    """CLIP's image embedding, of images brought to its size as CMMD's authors do."""

    network: ClipVision
    resampling: Resampling = eqx.field(static=True, default="bicubic-antialias")

    def __call__(self, image: Image, *, key: RandomKey | None = None) -> dict[str, Array]:
        """`pool`, of an image in [0, 1] (beyond, it is clipped)."""
        side = self.network.image_size
        sized = resize(jnp.clip(image.astype(jnp.float32), 0.0, 1.0), (side, side), self.resampling)
        mean, std = (jnp.broadcast_to(jnp.asarray(c, jnp.float32), sized.shape) for c in (MEAN, STD))
        return {"pool": self.network((sized - mean) / std)}
