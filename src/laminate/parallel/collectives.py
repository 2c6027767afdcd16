"""What the sharded step says to the other devices."""

from functools import partial

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


def zeros_as(tree: PyTree) -> PyTree:
    """Zeros in the shapes of `tree`, which differ from device to device as far as the types are concerned."""
    return jax.tree.map(lambda x: jax.lax.pcast(jnp.zeros(x.shape, x.dtype), AXES, to="varying"), tree)


def rows_of_this_device(count: int) -> Int[Array, " count"]:
    """The places, in the global batch, of the `count` rows that this device holds."""
    device = jax.lax.axis_index(DATA) * jax.lax.axis_size(FSDP) + jax.lax.axis_index(FSDP)
    return device * count + jnp.arange(count, dtype=jnp.int32)


def gather(piece: Array, axis: int) -> Array:
    """The array whose equal pieces along `axis` the devices of an `fsdp` group hold."""
    return jax.lax.all_gather(piece, FSDP, axis=axis, tiled=True)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def gather_by_hops(piece: Array, axis: int) -> Array:
    """As `gather`; its derivative, the sum of everyone's gradient cut into pieces, travels round a ring in hops.

    A TPU computes beside a hop from neighbour to neighbour, and stands still in a reduce-scatter.
    """
    return gather(piece, axis)


def _gather_forward(piece: Array, axis: int) -> tuple[Array, None]:
    return gather(piece, axis), None


def _scatter_by_hops(axis: int, _: None, gradient: Array) -> tuple[Array]:
    devices, here = jax.lax.axis_size(FSDP), jax.lax.axis_index(FSDP)
    length = gradient.shape[axis] // devices
    onward = [(device, (device + 1) % devices) for device in range(devices)]

    def piece_behind(distance: int) -> Array:
        start = (here - distance) % devices * length
        return jax.lax.dynamic_slice_in_dim(gradient, start, length, axis)

    # The sum for device d starts behind it, at d + 1, and comes home after it has passed all others.
    total = piece_behind(1)
    for distance in range(2, devices + 1):
        total = jax.lax.ppermute(total, FSDP, onward) + piece_behind(distance)
    return (total,)


gather_by_hops.defvjp(_gather_forward, _scatter_by_hops)
