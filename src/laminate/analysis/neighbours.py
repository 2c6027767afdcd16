"""Whether samples look like what was asked for, and are no copies: pixels against those of the training images."""

import dataclasses
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Int, Num

NEIGHBOURS = 5
PATCH = 8
STRIDE = 4
PATCHES = 3000  # of each class, drawn from its training images
Compared = Literal["by patches", "in place", "by value"]
"""How an image is told: by the patches that it is made of, wherever they lie (naive-Bayes nearest neighbour, Boiman
et al. 2008); by k-NN, pixel by pixel; or by k-NN on its collection of pixel values.

A crop of a texture is no nearer to another crop of it, pixel by pixel, than to any picture of the same mean.
"""
EVALUATORS: tuple[Compared, ...] = get_args(Compared)
_ROWS = 256  # images that are compared at a time
_FEW = 4  # images whose patches are compared at a time


@dataclasses.dataclass(frozen=True)
class Recognised:
    """A classifier fitted on the training images: on samples (`right`), beside on held-out images of the classes asked
    for (`real`, NaN if there are none)."""

    right: float
    real: float
    classes: float
    """The share of the classes asked for that some sample is taken for."""


@dataclasses.dataclass(frozen=True)
class Check:
    """What `sample.py --check` prints. `distance` is the mean to the nearest training image, per sample and, for
    `real_distance`, per training image to the nearest other one, both in root mean square of pixels in [0, 1]."""

    recognised: dict[Compared, Recognised]
    distance: float
    real_distance: float

    @property
    def closer(self) -> float:
        """How much closer samples are to a training image than training images are to each other; below 0: farther."""
        return 1.0 - self.distance / self.real_distance


class Labelled(NamedTuple):
    """Images, uint8 or floats in [0, 1], and what they show."""

    images: Num[np.ndarray, "images height width 3"]
    labels: Int[np.ndarray, " images"]


def check(samples: Labelled, training: Labelled, held_out: Labelled) -> Check:
    """Compare `samples`, labelled as was asked for, with the training images; `held_out` say what that is worth.

    Every class of the training images may be recognised, and only those that samples were asked of are counted: among
    the classes, the held-out images, and the training images whose distance to each other is measured.
    """
    asked = np.unique(samples.labels)
    held_out = _of_classes(held_out, asked)
    drawn, known, real = (_unit(each.images) for each in (samples, training, held_out))
    recognised: dict[Compared, Recognised] = {}
    for how in EVALUATORS:
        found, told = np.split(
            recognise(np.concatenate([drawn, real]), known, training.labels, how), [len(drawn)]
        )
        recognised[how] = Recognised(
            float(np.mean(found == samples.labels)),
            float(np.mean(told == held_out.labels)) if len(told) else float("nan"),
            float(np.mean(np.isin(asked, found))),
        )
    a, b = drawn.reshape(len(drawn), -1), known.reshape(len(known), -1)
    scale = float(np.sqrt(a.shape[1]))
    nearest = classify(a, b, training.labels)[1]
    own = classify(b, b, training.labels, itself=True)[1][np.isin(training.labels, asked)]
    return Check(recognised, float(np.mean(nearest)) / scale, float(np.mean(own)) / scale)


def _of_classes(images: Labelled, classes: Int[np.ndarray, " classes"]) -> Labelled:
    mine = np.isin(images.labels, classes)
    return Labelled(images.images[mine], images.labels[mine])


def recognise(
    queries: Float[np.ndarray, "queries height width 3"],
    known: Float[np.ndarray, "images height width 3"],
    labels: Int[np.ndarray, " images"],
    how: Compared,
) -> Int[np.ndarray, " queries"]:
    """The label that each query is taken for."""
    if how == "by patches":
        return classify_by_patches(queries, known, labels)
    return classify(_vectors(queries, how), _vectors(known, how), labels)[0]


def classify_by_patches(
    queries: Float[np.ndarray, "queries height width 3"],
    known: Float[np.ndarray, "images height width 3"],
    labels: Int[np.ndarray, " images"],
    *,
    size: int = PATCH,
    stride: int = STRIDE,
    each: int = PATCHES,
) -> Int[np.ndarray, " queries"]:
    """The class with the least sum, over the patches of a query, of squared distances to its nearest patch of the
    class (Boiman et al. 2008): `argmin_c sum_i min_(p of c) |q_i - p|^2`.

    Patches of a query are `size` wide and `stride` apart. Those of a class are `each` ones at random places of its
    images, the same ones always.
    """
    rng = np.random.default_rng(0)
    classes = np.unique(labels)
    cut = _windows(known, size)
    sums = np.empty((len(queries), len(classes)), np.float32)
    for column, label in enumerate(classes):
        image = rng.choice(np.flatnonzero(labels == label), each)
        top, left = rng.integers(0, cut.shape[1], each), rng.integers(0, cut.shape[2], each)
        patches = cut[image, top, left].reshape(each, -1)
        squares, towards = np.einsum("ij,ij->i", patches, patches), -2.0 * patches.T
        for start in range(0, len(queries), _FEW):
            own = _windows(queries[start : start + _FEW], size)[:, ::stride, ::stride]
            flat = own.reshape(-1, patches.shape[1])
            # Without the square of the query's own patch, which is the same for all classes.
            gaps = flat @ towards
            gaps += squares
            least = gaps.min(1)
            sums[start : start + _FEW, column] = least.reshape(len(own), -1).sum(1)
    return classes[sums.argmin(1)]


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


def _windows(images: Float[np.ndarray, "images height width 3"], size: int) -> np.ndarray:
    """Every square of `size` in every image, by its place: `[images, rows, columns, 3, size, size]`, a view."""
    return np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))


def _unit(images: Num[np.ndarray, "images height width 3"]) -> Float[np.ndarray, "images height width 3"]:
    if images.dtype == np.uint8:
        return images.astype(np.float32) / 255.0
    return images.astype(np.float32)
