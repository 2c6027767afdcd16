"""Multinomial logistic regression on frozen features, solved to its minimum."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize

_LEAST_SLOPE = 1e-11
"""What rounding leaves of a slope."""


class LinearProbe(NamedTuple):
    """Logits are `features @ coefficients.T + intercept`; the intercept has mean zero."""

    coefficients: Float[np.ndarray, "classes dim"]
    intercept: Float[np.ndarray, " classes"]
    objective: float
    """The minimum: mean cross-entropy and penalty."""

    def log_probabilities(
        self, features: Float[np.ndarray, "images dim"]
    ) -> Float[np.ndarray, "images classes"]:
        return _log_softmax(features.astype(np.float64) @ self.coefficients.T + self.intercept)


def linear_probe(
    features: Float[np.ndarray, "images dim"],
    labels: Int[np.ndarray, " images"],
    *,
    classes: int,
    strength: float,
    intercept: bool = True,
    accuracy: float = 1e-6,
    max_steps: int = 5000,
) -> LinearProbe:
    """The minimum over `W, b` of `mean_i -log softmax(W x_i + b)[y_i] + (l / 2) |W|^2` with
    `l = 1 / (strength images)`, in float64.

    The problem is convex and its minimum unique (but for a constant in `b`, which is not penalised), so that the answer
    depends on no learning rate, batch or seed. Features are used as given. L-BFGS (Liu & Nocedal 1989), until the slope
    is below `l accuracy`: then no coefficient is farther from the minimum than `accuracy` times the root of their
    number.

    Raises ValueError for labels that are no class, a strength that is not positive, or features that are not finite;
    ArithmeticError if the minimum is not found in `max_steps`.
    """
    count, dim = features.shape
    if not strength > 0:
        raise ValueError(f"linear_probe: strength={strength} must be positive.")
    if len(labels) != count or not count or not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"linear_probe: each of the {count} features needs a label from 0 to {classes - 1}, and one is needed."
        )
    x = features.astype(np.float64)
    if not np.isfinite(x).all():
        raise ValueError("linear_probe: the features hold a NaN or an infinity.")
    penalty = 1.0 / (strength * count)
    least = max(accuracy * penalty, _LEAST_SLOPE * max(1.0, float(np.abs(x).max(initial=0.0))))
    target = np.zeros((count, classes))
    target[np.arange(count), labels] = 1.0

    def value_and_slope(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = flat.reshape(classes, dim + 1)
        weights, offsets = parameters[:, :dim], parameters[:, dim] * intercept
        log_p = _log_softmax(x @ weights.T + offsets)
        missed = (np.exp(log_p) - target) / count
        slope = np.empty_like(parameters)
        slope[:, :dim] = missed.T @ x + penalty * weights
        slope[:, dim] = missed.sum(axis=0) * intercept
        value = -(log_p * target).sum() / count + penalty / 2 * np.square(weights).sum()
        return float(value), slope.reshape(-1)

    found = minimize(
        value_and_slope,
        np.zeros(classes * (dim + 1)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_steps, "maxfun": 2 * max_steps, "maxcor": 30, "ftol": 0.0, "gtol": least},
    )
    steepest = float(np.abs(found.jac).max())
    if not steepest <= 100.0 * least:
        raise ArithmeticError(
            f"linear_probe: after {found.nit} steps the slope is still {steepest:.1e}: give features of a moderate "
            "size, or a smaller strength."
        )
    parameters = found.x.reshape(classes, dim + 1)
    offsets = parameters[:, dim] * intercept
    return LinearProbe(parameters[:, :dim], offsets - offsets.mean(), float(found.fun))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
