"""Reproducible arrays and modules that need no compiled random generator, which is slow to compile on a CPU."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


def normal(seed: int, *shape: int) -> jax.Array:
    """Standard normal float32 numbers."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def filled(make: Callable[[Any], Any], *, scale: float = 0.3) -> Any:
    """`make(key)` with every array replaced by normal numbers times `scale`; no two are alike."""
    shapes = eqx.filter_eval_shape(make, jax.random.key(0))
    leaves, structure = jax.tree.flatten(shapes)
    return jax.tree.unflatten(
        structure, [normal(1000 + i, *leaf.shape) * scale for i, leaf in enumerate(leaves)]
    )
