"""The rows of one host: a contiguous part of every global batch."""

from typing import Any, SupportsIndex

import grain

# Indices are multiplied and cast on their way through grain; beyond this, `batch` overflows.
_ENDLESS = 2**52


def check_hosts(global_batch_size: int, host: int, hosts: int) -> int:
    """The rows that one host takes of every global batch.

    Raises:
      ValueError: the batch is empty or cannot be split evenly, or there is no such host.
    """
    if hosts < 1 or not 0 <= host < hosts:
        raise ValueError(f"host {host} of {hosts} does not exist: hosts are counted from 0 to hosts - 1")
    if global_batch_size < 1 or global_batch_size % hosts:
        lower = max(1, global_batch_size // hosts) * hosts
        raise ValueError(
            f"the global batch of {global_batch_size} rows cannot be split evenly over {hosts} hosts; "
            f"the nearest that can are {lower} and {lower + hosts}"
        )
    return global_batch_size // hosts


class HostSlice(grain.MapDataset[Any]):
    """Host h of H takes rows ``[h * b, (h + 1) * b)`` of each global batch of ``H * b`` rows.

    Element i is the parent's element of the i-th such row, counted from the global row `start`, for so many
    `batches` (None: without end). So the global batches, laid host after host, are the parent's rows in their
    order, whatever the number of hosts.
    """

    def __init__(
        self,
        parent: Any,
        *,
        global_batch_size: int,
        host: int,
        hosts: int,
        start: int,
        batches: int | None = None,
    ):
        super().__init__(parent)
        self._rows = check_hosts(global_batch_size, host, hosts)
        self._first = start + host * self._rows
        self._global_batch_size = global_batch_size
        self._length = _ENDLESS if batches is None else batches * self._rows

    def __len__(self) -> int:
        return self._length

    def global_row(self, index: int) -> int:
        batch, within = divmod(index, self._rows)
        return self._first + batch * self._global_batch_size + within

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        return self._parent[self.global_row(index.__index__())]
