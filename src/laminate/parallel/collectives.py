"""What the sharded step says to the other devices."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from laminate.parallel.mesh import AXES, DATA, FSDP


def mesh_mean(tree: PyTree) -> PyTree:
    """The mean over all devices of each array."""
    return jax.tree.map(lambda x: jax.lax.pmean(x, AXES), tree)


def mesh_sum(tree: PyTree) -> PyTree:
    """The sum over all devices of each array."""
    return jax.tree.map(lambda x: jax.lax.psum(x, AXES), tree)


def rows_of_this_device(count: int) -> Int[Array, " count"]:
    """The places, in the global batch, of the `count` rows that this device holds."""
    device = jax.lax.axis_index(DATA) * jax.lax.axis_size(FSDP) + jax.lax.axis_index(FSDP)
    return device * count + jnp.arange(count, dtype=jnp.int32)
