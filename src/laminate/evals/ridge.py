"""A linear classifier of features in closed form: nothing is drawn, and a thousand images take a second."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

_LEAST_DEVIATION = 1e-6  # below it a feature is as good as constant


class RidgeClassifier(NamedTuple):
    """`argmax_c w_c . (x - mean) / deviation` among the labels `classes`; a constant feature has no say."""

    classes: Int[np.ndarray, " classes"]
    mean: Float[np.ndarray, " numbers"]
    deviation: Float[np.ndarray, " numbers"]
    weight: Float[np.ndarray, "numbers classes"]

    def __call__(self, features: Float[np.ndarray, "images numbers"]) -> Int[np.ndarray, " images"]:
        """The label of each row."""
        return self.classes[(((features - self.mean) / self.deviation) @ self.weight).argmax(axis=1)]


def fit_ridge(
    features: Float[np.ndarray, "images numbers"],
    labels: Int[np.ndarray, " images"],
    *,
    penalty: float = 0.01,
) -> RidgeClassifier:
    """The weights whose scores are nearest to one-hot labels:

    `min_W  sum_i v_i |y_i - x_i W|^2 + penalty |W|^2`

    over standardised features `x` divided by the root of their number, so that rows have length about 1, and labels `y`
    less `1 / classes`. All classes count alike, whatever their size, in mean and deviation too: `v_i` is the mean size
    of a class over that of the class of `i`. Solved in float64.

    Raises ValueError for fewer than two classes, a penalty that is not positive, or features that are not finite.
    """
    classes, places = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"fit_ridge: a classifier needs images of two classes, and got labels {classes.tolist()}."
        )
    if not penalty > 0:
        raise ValueError(f"fit_ridge: penalty={penalty} must be positive.")
    if not np.isfinite(features).all():
        raise ValueError("fit_ridge: the features hold a NaN or an infinity.")
    share = 1.0 / (len(classes) * np.bincount(places)[places])  # of each image; of a class together, one part
    mean = (share @ features).astype(features.dtype)
    deviation = np.sqrt(share @ np.square(features - mean))
    deviation = np.where(deviation > _LEAST_DEVIATION, deviation, np.inf).astype(features.dtype)
    length, root = np.sqrt(features.shape[1]), np.sqrt(len(labels) * share)[:, None]
    x = root * ((features - mean) / deviation).astype(np.float64) / length
    y = root * ((places[:, None] == np.arange(len(classes))) - 1.0 / len(classes))
    if len(x) < x.shape[1]:  # the same solution, from a system of as many unknowns as images
        weight = x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y)
    else:
        weight = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
    return RidgeClassifier(classes, mean, deviation, (weight / length).astype(features.dtype))
