"""The k-nearest-neighbour classifier that features are judged by (DINO's and FlatDINO's)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from laminate.evals.neighbours import nearest

TOP = 5
_SHORTEST = 1e-12
_LARGEST_EXPONENT = 700.0
"""Of a float64."""
_TOKEN_EPS = 1e-5


class KnnAccuracy(NamedTuple):
    """Percent of features whose label is the first, or among the first five, of those that their neighbours vote for.

    Of fewer than five neighbours, among the first so many.
    """

    top1: float
    top5: float


def knn_votes(
    features: Float[np.ndarray, "images dim"],
    known: Float[np.ndarray, "known dim"],
    labels: Int[np.ndarray, " known"],
    *,
    classes: int,
    k: int,
    temperature: float = 0.07,
) -> Float[np.ndarray, "images classes"]:
    """The weight of each class among the `k` most similar known features, in float64 (Wu et al. 2018).

    A neighbour of similarity `s`, the product of both features as they are, votes with `exp(s / temperature)`.

    Raises ValueError for a `k` beyond the known features, labels that are no class, no positive temperature, or one so
    small that a vote is no number.
    """
    if not 1 <= k <= len(known):
        raise ValueError(f"knn_votes: k={k} must be between 1 and the {len(known)} known features.")
    if len(labels) != len(known) or (len(labels) and not 0 <= labels.min() <= labels.max() < classes):
        raise ValueError(
            f"knn_votes: each of the {len(known)} known features needs a label from 0 to {classes - 1}; got "
            f"{len(labels)} from {labels.min() if len(labels) else '-'} to {labels.max() if len(labels) else '-'}."
        )
    if not temperature > 0:
        raise ValueError(f"knn_votes: temperature={temperature} must be positive.")
    near = nearest(features, known, k, by="product")
    most = float(near.values.max(initial=0.0))
    if most > _LARGEST_EXPONENT * temperature:
        raise ValueError(
            f"knn_votes: temperature={temperature} is too small for a similarity of {most:.3g}, whose vote is no "
            f"number: take {most / _LARGEST_EXPONENT:.2g} or more."
        )
    votes = np.zeros((len(features), classes))
    rows = np.arange(len(features))[:, None]
    np.add.at(votes, (rows, labels[near.places]), np.exp(near.values / temperature))
    return votes


def knn_predictions(
    votes: Float[np.ndarray, "images classes"], k: int
) -> Int[np.ndarray, "images predictions"]:
    """The classes by falling votes, at most five and no more than `k` neighbours can vote for."""
    return np.argsort(-votes, axis=1, kind="stable")[:, : min(TOP, k)].astype(np.int32)


def knn_accuracy(
    predictions: Int[np.ndarray, "images predictions"], labels: Int[np.ndarray, " images"]
) -> KnnAccuracy:
    """How often the label is the first prediction, and among all of them. Raises ValueError for no images."""
    if not len(labels):
        raise ValueError("knn_accuracy: no images to classify.")
    hit = predictions == labels[:, None]
    return KnnAccuracy(100.0 * float(hit[:, 0].mean()), 100.0 * float(hit.any(axis=1).mean()))


def unit(features: Float[np.ndarray, "images dim"]) -> Float[np.ndarray, "images dim"]:
    """Features divided by their length, in float64 (DINO)."""
    wide = features.astype(np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), _SHORTEST)


def token_direction(tokens: Float[np.ndarray, "images tokens dim"]) -> Float[np.ndarray, "images dim"]:
    """FlatDINO's feature of an image for k-NN: the direction of the mean of its tokens' directions, in float64.

    A vector `x` counts as `x / (1e-5 + |x|)`, so that a token of length zero has no say.
    """
    return _direction(_direction(tokens.astype(np.float64)).mean(axis=1))


def _direction(x: np.ndarray) -> np.ndarray:
    return x / (_TOKEN_EPS + np.linalg.norm(x, axis=-1, keepdims=True))
