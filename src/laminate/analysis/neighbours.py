"""Whether samples look like what was asked for, and are no copies: pixels against those of the training images."""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Num

NEIGHBOURS = 5
Compared = Literal["in place", "by value"]
"""How two images are compared: pixel by pixel, or as collections of pixels, wherever they lie.

A crop of a texture is no nearer to another crop of it, pixel by pixel, than to any picture of the same mean: of the
embedded gravel, whose every crop is told by its colours, not one is recognised in place.
"""
_ROWS = 256  # images that are compared at a time


@dataclasses.dataclass(frozen=True)
class Recognised:
    """A k-NN classifier on samples, beside itself on the training images, each without its own place (`real`)."""

    right: float
    real: float
    classes: float
    """The share of the classes that samples are taken for."""


@dataclasses.dataclass(frozen=True)
class Check:
    """What `sample.py --check` prints. `distance` is the mean to the nearest training image, per sample and, for
    `real_distance`, per training image to the nearest other one, both in root mean square of pixels in [0, 1]."""

    by_value: Recognised
    in_place: Recognised
    distance: float
    real_distance: float

    @property
    def closer(self) -> float:
        """How much closer samples are to a training image than training images are to each other; below 0: farther."""
        return 1.0 - self.distance / self.real_distance


def check(
    samples: Num[np.ndarray, "samples height width 3"],
    labels: Int[np.ndarray, " samples"],
    training: Num[np.ndarray, "images height width 3"],
    training_labels: Int[np.ndarray, " images"],
) -> Check:
    """Compare `samples`, asked for as `labels`, with the training images. All are uint8, or floats in [0, 1]."""
    drawn, real = _unit(samples), _unit(training)
    results: dict[Compared, Recognised] = {}
    distances = (0.0, 0.0)
    for how in ("by value", "in place"):
        a, b = _vectors(drawn, how), _vectors(real, how)
        found, nearest = classify(a, b, training_labels)
        own, own_nearest = classify(b, b, training_labels, itself=True)
        results[how] = Recognised(
            float(np.mean(found == labels)),
            float(np.mean(own == training_labels)),
            len(np.unique(found)) / len(np.unique(labels)),
        )
        if how == "in place":
            scale = np.sqrt(a.shape[1])
            distances = (float(np.mean(nearest)) / scale, float(np.mean(own_nearest)) / scale)
    return Check(results["by value"], results["in place"], *distances)


def classify(
    queries: Float[np.ndarray, "queries numbers"],
    known: Float[np.ndarray, "images numbers"],
    labels: Int[np.ndarray, " images"],
    *,
    neighbours: int = NEIGHBOURS,
    itself: bool = False,
) -> tuple[Int[np.ndarray, " queries"], Float[np.ndarray, " queries"]]:
    """The label that most of the nearest `known` have (of equals the nearer), and the distance to the nearest.

    With `itself` the queries are the known images, and none is its own neighbour.
    """
    found, nearest = np.empty(len(queries), labels.dtype), np.empty(len(queries), np.float32)
    squares = np.einsum("ij,ij->i", known, known)
    classes = int(labels.max()) + 1
    for start in range(0, len(queries), _ROWS):
        part = queries[start : start + _ROWS]
        gaps = np.einsum("ij,ij->i", part, part)[:, None] + squares - 2.0 * (part @ known.T)
        if itself:
            gaps[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        count = min(neighbours, len(known) - itself)
        order = np.argsort(gaps, axis=1)[:, :count]
        votes = np.zeros((len(part), classes))
        # A little more for the nearer one decides between classes of equally many neighbours.
        for place in range(count):
            votes[np.arange(len(part)), labels[order[:, place]]] += 1.0 + (count - place) / (10.0 * count**2)
        found[start : start + len(part)] = votes.argmax(1)
        nearest[start : start + len(part)] = np.sqrt(np.maximum(gaps[np.arange(len(part)), order[:, 0]], 0.0))
    return found, nearest


def _vectors(images: Float[np.ndarray, "images height width 3"], how: Compared) -> np.ndarray:
    if how == "in place":
        return images.reshape(len(images), -1)
    return np.sort(images.reshape(len(images), -1, 3), axis=1).reshape(len(images), -1)


def _unit(images: Num[np.ndarray, "images height width 3"]) -> Float[np.ndarray, "images height width 3"]:
    if images.dtype == np.uint8:
        return images.astype(np.float32) / 255.0
    return images.astype(np.float32)
