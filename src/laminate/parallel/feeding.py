"""From batches in host memory to batches on the mesh, ahead of their use, and back."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from laminate.parallel.hosts import host_index
from laminate.parallel.sharding import batch_sharding

HostBatch = dict[str, np.ndarray]
DeviceBatch = dict[str, Array]

BOOKKEEPING = ("global_row",)
"""What a batch says of itself for the host; these arrays stay there."""


def feed(batches: Iterable[HostBatch], mesh: Mesh, *, ahead: int = 2) -> Iterator[DeviceBatch]:
    """Each host's rows as one global batch, cut over the devices; `ahead` batches are under way at any time.

    Every host passes the rows of its own `parts_of_host`, in their order. Arrays named in `BOOKKEEPING` stay on the
    host.

    Raises:
        ValueError: an array whose values the devices cannot hold as they are: text, objects, or, without
            `jax_enable_x64`, numbers of 64 bits, which JAX would cut to 32 without a word.
    """
    sharding = batch_sharding(mesh)
    put: Callable[[HostBatch], DeviceBatch] = lambda batch: {
        name: jax.make_array_from_process_local_data(sharding, _require_exact(name, rows))
        for name, rows in batch.items()
        if name not in BOOKKEEPING
    }
    source = iter(batches)
    queue = deque(put(batch) for batch in islice(source, ahead))
    while queue:
        yield queue.popleft()
        queue.extend(put(batch) for batch in islice(source, 1))


def _require_exact(name: str, rows: np.ndarray) -> np.ndarray:
    """`rows`, if an array on the devices holds the same values."""
    held = jax.dtypes.canonicalize_dtype(rows.dtype)
    if held != rows.dtype:
        raise ValueError(
            f"The array {name!r} of a batch is {rows.dtype}, and devices would hold it as {held}: let the augmentation "
            f"give {held}, or set JAX_ENABLE_X64=1 if the numbers need 64 bits."
        )
    if rows.dtype.kind in "OSUMm":
        raise ValueError(
            f"The array {name!r} of a batch is {rows.dtype}, and devices hold numbers only: leave it out of what the "
            "augmentation gives."
        )
    return rows


def parts_of_host(mesh: Mesh, host: int | None = None) -> tuple[tuple[int, ...], int]:
    """Which of how many equal parts of a global batch the devices of one host (None: this one) hold.

    A batch is cut over the devices in the order of the mesh. That order follows the interconnect, not the hosts: on
    a slice of 4x8 chips the 2x2 chips of a host hold two separate pairs of parts.
    """
    host = host_index() if host is None else host
    devices = mesh.devices.flat
    parts = tuple(part for part, device in enumerate(devices) if device.process_index == host)
    return parts, mesh.devices.size


def whole(tree: PyTree) -> PyTree:
    """Every array of `tree`, cut over the mesh or not, as a NumPy array that every host has. All hosts call it."""
    return jax.tree.map(_whole, tree)


def _whole(x: Array | np.ndarray) -> np.ndarray:
    if not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated:
        return np.asarray(x)
    return multihost_utils.process_allgather(x, tiled=True)
