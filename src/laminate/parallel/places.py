"""Where devices stand: which host runs them, in which slice they are, and where in its torus."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ChipPlace:
    """The host and slice of one device, and its coordinates in the torus of that slice."""

    host: int
    slice_index: int
    coordinates: tuple[int, ...]


def places(devices: Iterable[Any]) -> list[ChipPlace]:
    """The places of TPU devices, in their order. A device of a single slice does not say which: it is slice 0."""
    return [
        ChipPlace(device.process_index, getattr(device, "slice_index", None) or 0, tuple(device.coords))
        for device in devices
    ]


def in_rings(devices: Sequence[Any], length: int) -> np.ndarray | None:
    """The devices of one slice as rows of `length`, each a ring of neighbours; None where there are no such rows.

    A row is a rectangle of two axes of the torus, walked round. What travels by hops from neighbour to neighbour
    then never takes two links, and a gather within a row has the links of both axes.
    """
    standing = [place.coordinates for place in places(devices)]
    columns = list(zip(*standing, strict=True))
    at = {
        tuple(one - min(column) for one, column in zip(coordinates, columns, strict=True)): device
        for coordinates, device in zip(standing, devices, strict=True)
    }
    sizes = [max(column) - min(column) + 1 for column in columns]
    if len(at) != len(devices) or len(devices) != np.prod(sizes) or len(devices) % length:
        return None
    for first, second in itertools.permutations(range(len(sizes)), 2):
        for width in range(2, length // 2 + 1, 2):
            height = length // width
            if width * height == length and sizes[first] % width == 0 and sizes[second] % height == 0:
                return _rows(at, sizes, {first: width, second: height})
    return None


def _rows(at: dict[tuple[int, ...], Any], sizes: list[int], block: dict[int, int]) -> np.ndarray:
    (first, width), (second, height) = block.items()
    steps = [block.get(axis, 1) for axis in range(len(sizes))]
    corners = itertools.product(*(range(0, size, step) for size, step in zip(sizes, steps, strict=True)))
    rows = np.empty((len(at) // (width * height), width * height), dtype=object)
    for row, corner in enumerate(corners):
        for column, (along, across) in enumerate(_ring(width, height)):
            place = list(corner)
            place[first] += along
            place[second] += across
            rows[row, column] = at[tuple(place)]
    return rows


def _ring(width: int, height: int) -> list[tuple[int, int]]:
    """A closed walk over a `width` by `height` grid, `width` even: back along the first column after a snake."""
    snake = [
        (along, across)
        for along in range(width)
        for across in (range(1, height) if along % 2 == 0 else range(height - 1, 0, -1))
    ]
    return snake + [(along, 0) for along in range(width - 1, -1, -1)]
