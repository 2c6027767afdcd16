"""The perceptual distance in a published vision transformer."""

import os
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp

from laminate.models.vit_distance import VitDistance
from laminate.pretrained import hub
from laminate.pretrained.identify import identify, split_name
from laminate.pretrained.teachers import describe_teacher


def load_vit_distance(
    source: str | os.PathLike[str],
    *,
    longest: int,
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
    cache: Path | None = None,
) -> VitDistance:
    """The distance of images whose longer side is at most `longest`, in the network that `source` names as
    `teachers.load_teacher` reads it, with the scale and bias of its last norm.

    Weights are NumPy arrays, stored in `dtype`. Raises what `load_teacher` raises.
    """
    asked, where = split_name(os.fspath(source))
    config, weights = hub.load(where, cache=cache)
    one = identify(config, weights, where, asked=asked)
    vit = one.load(weights, affine=True, dtype=dtype, on_host=True)
    return VitDistance(vit, longest, mean=one.family.mean, std=one.family.std)


def vit_distance_shapes(
    source: str | os.PathLike[str], *, longest: int, dtype: jnp.dtype = jnp.dtype(jnp.float32)
) -> VitDistance:
    """`load_vit_distance` without its numbers: a published name needs no file."""
    one = describe_teacher(source)
    vit = eqx.filter_eval_shape(
        lambda key: one.family.make(one.config, affine=True, key=key), jax.random.key(0)
    )
    stored = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), vit)
    return VitDistance(stored, longest, mean=one.family.mean, std=one.family.std)
