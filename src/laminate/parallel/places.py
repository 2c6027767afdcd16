"""Where devices stand: which host runs them, in which slice they are, and where in its torus."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Place:
    """The host and slice of one device, and its coordinates in the torus of that slice."""

    host: int
    slice_index: int
    coordinates: tuple[int, ...]


def places(devices: Iterable[Any]) -> list[Place]:
    """The places of TPU devices, in their order. A device of a single slice does not say which: it is slice 0."""
    return [
        Place(device.process_index, getattr(device, "slice_index", None) or 0, tuple(device.coords))
        for device in devices
    ]
