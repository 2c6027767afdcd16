"""The arrays of a checkpoint in the files of `orbax.checkpoint.v1`, and nothing else of it.

The state is handed to Orbax as a flat dictionary, path of the leaf -> array, so the files do not depend on
how Orbax sees module classes. Static fields are not stored: the recipe stands for them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath
from orbax.checkpoint import v1 as ocp

from laminate.train.manifest import damaged


def save_arrays(place: epath.Path, leaves: dict[str, jax.Array]) -> Callable[[], None]:
    """Copies the arrays to host memory, starts to write them to `place`; the result waits for the end.

    Arrays without elements are left out, since Orbax refuses them.
    """
    context = ocp.Context()
    context.array.saving.use_compression = (
        False  # weights shrink by 7 %, for several times the processor time
    )
    context.array.saving.min_slice_bytes_for_replica_parallel = (
        16 << 20
    )  # one device writes a smaller array alone
    with context:
        return ocp.save_async(place, {name: x for name, x in leaves.items() if x.size}).result


def load_arrays(place: epath.Path, wanted: dict[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
    """The arrays named in `wanted`, which may be a part of those in `place`."""
    context = ocp.Context()
    context.pytree.loading.partial_load = True
    try:
        with context:
            loaded = ocp.load(place, {name: leaf for name, leaf in wanted.items() if leaf.size})
    except (ValueError, KeyError, OSError) as error:
        raise damaged(place, f"its arrays cannot be read ({error})") from error
    empty = {
        name: jax.device_put(jnp.zeros(leaf.shape, leaf.dtype), leaf.sharding)
        for name, leaf in wanted.items()
        if not leaf.size
    }
    return {name: (loaded | empty)[name] for name in wanted}


def restored_like(leaf: Any) -> jax.ShapeDtypeStruct:
    if not isinstance(leaf, jax.ShapeDtypeStruct | jax.Array):
        raise ValueError(
            f"a leaf to restore is a {type(leaf).__name__}; give a jax.ShapeDtypeStruct with a sharding"
        )
    sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
