"""How alike the patches of an image are, by how far apart they lie (FlatDINO, Figure 5)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Features = Float[np.ndarray, "images patches dim"]
_EPS = 1e-8


class Redundancy(NamedTuple):
    """Cosines by distance: the patch itself first (at 0, with 1), then a bin each; an empty bin lies on the line
    between its neighbours."""

    centres: Float[np.ndarray, " bins"]
    mean: Float[np.ndarray, " bins"]
    std: Float[np.ndarray, " bins"]
    pairs: Int[np.ndarray, " bins"]


class Decay(NamedTuple):
    """How much of the likeness is lost at the far distance, and where half of that is."""

    drop: float
    half_distance: float


class ExactRedundancy(NamedTuple):
    """The same for each squared distance that there is, rising."""

    squared_distance: Int[np.ndarray, " kinds"]
    mean: Float[np.ndarray, " kinds"]
    std: Float[np.ndarray, " kinds"]
    pairs: Int[np.ndarray, " kinds"]


def bin_edges(grid: tuple[int, int], *, bins: int, max_distance: float | None) -> Float[np.ndarray, " edges"]:
    """Even bins from 0 to the largest distance on the grid, or to `max_distance` if that is less."""
    largest = float(np.sqrt((grid[0] - 1) ** 2 + (grid[1] - 1) ** 2))
    return np.linspace(0.0, largest if max_distance is None else min(max_distance, largest), bins + 1)


def redundancy(features: Features, grid: tuple[int, int], edges: Float[np.ndarray, " edges"]) -> Redundancy:
    """Mean and population deviation, over all ordered pairs of different patches of an image, of the cosine of their
    features (`x / (|x| + 1e-8)`), binned by Euclidean distance in patches.

    Bin `i` holds `edges[i] <= distance < edges[i + 1]`, decided on these float64 numbers. Raises ValueError if the
    patches are not those of the grid.
    """
    squared, sums, squares, count = _by_distance(features, grid)
    place = np.searchsorted(edges, np.sqrt(squared.astype(np.float64)), side="right") - 1
    bins = len(edges) - 1
    inside = (place >= 0) & (place < bins)
    total, total_square, counts = (
        np.bincount(place[inside], weights=each[inside], minlength=bins) for each in (sums, squares, count)
    )
    own = features.shape[0] * features.shape[1]
    centres = np.concatenate([[0.0], (edges[:-1] + edges[1:]) / 2.0])
    every = np.concatenate([[own], counts.astype(np.int64)])
    filled = every > 0
    mean, std = (
        np.interp(centres, centres[filled], np.concatenate([[itself], each])[filled])
        for itself, each in zip((1.0, 0.0), _moments(total, total_square, counts), strict=True)
    )
    return Redundancy(centres, mean, std, every.astype(np.int32))


def exact_redundancy(features: Features, grid: tuple[int, int]) -> ExactRedundancy:
    """`redundancy` of each distance by itself, which needs no bins."""
    squared, sums, squares, count = _by_distance(features, grid)
    mean, std = _moments(sums, squares, count)
    return ExactRedundancy(squared.astype(np.int32), mean, std, count.astype(np.int32))


def decay(found: Redundancy, max_distance: float) -> Decay:
    """From the patch itself to the bin nearest to `max_distance`."""
    far = int(np.argmin(np.abs(found.centres - max_distance)))
    middle = (found.mean[0] + found.mean[far]) / 2.0
    half = int(np.argmin(np.abs(found.mean - middle)))
    return Decay(float(found.mean[0] - found.mean[far]), float(found.centres[half]))


def _by_distance(
    features: Features, grid: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each squared distance on the grid but zero: itself, the sums of cosines and of their squares, and pairs."""
    rows, columns = grid
    if features.shape[1] != rows * columns:
        raise ValueError(
            f"redundancy: {features.shape[1]} patches are no grid of {rows} x {columns} = {rows * columns}."
        )
    y, x = np.divmod(np.arange(rows * columns), columns)
    apart = np.square(y[:, None] - y) + np.square(x[:, None] - x)
    kinds, place = np.unique(apart, return_inverse=True)
    place = place.reshape(-1)
    sums, squares = np.zeros(len(kinds)), np.zeros(len(kinds))
    for image in features:
        wide = image.astype(np.float64)
        unit = wide / (np.linalg.norm(wide, axis=1, keepdims=True) + _EPS)
        cosine = (unit @ unit.T).reshape(-1)
        sums += np.bincount(place, weights=cosine, minlength=len(kinds))
        squares += np.bincount(place, weights=np.square(cosine), minlength=len(kinds))
    count = len(features) * np.bincount(place, minlength=len(kinds))
    return kinds[1:], sums[1:], squares[1:], count[1:]


def _moments(sums: np.ndarray, squares: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    safe = np.maximum(count, 1)
    mean = sums / safe
    return mean, np.sqrt(np.maximum(squares / safe - np.square(mean), 0.0))
