"""From batches in host memory to batches on the mesh, ahead of their use."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from laminate.parallel.sharding import batch_sharding

HostBatch = dict[str, np.ndarray]
DeviceBatch = dict[str, Array]


def feed(batches: Iterable[HostBatch], mesh: Mesh, *, ahead: int = 2) -> Iterator[DeviceBatch]:
    """Each host's rows as one global batch, cut over the devices; `ahead` batches are under way at any time.

    Every host passes its own contiguous rows. 64-bit arrays stay on the host: they are bookkeeping.
    """
    sharding = batch_sharding(mesh)
    put: Callable[[HostBatch], DeviceBatch] = lambda batch: {
        name: jax.make_array_from_process_local_data(sharding, rows)
        for name, rows in batch.items()
        if rows.dtype.itemsize < 8
    }
    source = iter(batches)
    queue = deque(put(batch) for batch in islice(source, ahead))
    while queue:
        yield queue.popleft()
        queue.extend(put(batch) for batch in islice(source, 1))
