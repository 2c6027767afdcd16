"""The rows of one host: its parts of every global batch."""

import dataclasses
from typing import Any, SupportsIndex

import grain
import numpy as np

# Indices are multiplied and cast on their way through grain; beyond this, `batch` overflows.
_ENDLESS = 2**52


@dataclasses.dataclass(frozen=True)
class HostShare:
    """What one host reads of every global batch: of `of` equal parts those numbered `parts`, in their order.

    `ALONE` reads everything. A host of a pod holds the parts of its devices, which need not be neighbours.

    Raises:
      ValueError: a part that does not exist, or parts out of order.
    """

    parts: tuple[int, ...]
    of: int

    def __post_init__(self) -> None:
        if not self.parts or list(self.parts) != sorted(set(self.parts)):
            raise ValueError(f"the parts of a host are increasing numbers, got {self.parts}")
        if self.parts[0] < 0 or self.parts[-1] >= self.of:
            raise ValueError(f"part {self.parts[-1]} of {self.of} does not exist: parts are counted from 0")

    @staticmethod
    def even(host: int, hosts: int) -> "HostShare":
        """One part for each host."""
        return HostShare((host,), hosts)

    def places(self, global_batch_size: int) -> np.ndarray:
        """The rows of this host in a global batch, int64 ``[host_batch]``.

        Raises:
          ValueError: the batch is empty or cannot be split evenly.
        """
        if global_batch_size < 1 or global_batch_size % self.of:
            lower = max(1, global_batch_size // self.of) * self.of
            raise ValueError(
                f"the global batch of {global_batch_size} rows cannot be split evenly into {self.of} parts; "
                f"the nearest that can are {lower} and {lower + self.of}"
            )
        rows = global_batch_size // self.of
        return (np.array(self.parts)[:, None] * rows + np.arange(rows)).reshape(-1)


ALONE = HostShare((0,), 1)


class HostSlice(grain.MapDataset[Any]):
    """The rows of one host of each global batch, batch after batch.

    Element i is the parent's element of the i-th such row, counted from the global row `start`, for so many
    `batches` (None: without end). So the global batches, put together from all hosts, are the parent's rows in
    their order, whatever the number of hosts.
    """

    def __init__(
        self,
        parent: Any,
        *,
        global_batch_size: int,
        share: HostShare,
        start: int,
        batches: int | None = None,
    ):
        super().__init__(parent)
        self._places = [int(place) for place in share.places(global_batch_size)]
        self._start = start
        self._global_batch_size = global_batch_size
        self._length = _ENDLESS if batches is None else batches * len(self._places)

    def __len__(self) -> int:
        return self._length

    def global_row(self, index: int) -> int:
        batch, within = divmod(index, len(self._places))
        return self._start + batch * self._global_batch_size + self._places[within]

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        return self._parent[self.global_row(index.__index__())]
