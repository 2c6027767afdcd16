"""Multinomial logistic regression on frozen features, solved to its minimum."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

_LEAST_SLOPE = 1e-11
"""What rounding leaves of a slope."""
_LEAST_CURVATURE = 1e-13
"""Share of the whole that the least eigenvalue has at least, in the coordinates of the solver."""


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
    number. It runs in coordinates in which the bound `x^T x / (2 images) + l` on the curvature (Böhning 1992) is the
    identity, where correlated features cost tens of steps in place of thousands.

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
    x = np.concatenate([x, np.ones((count, 1))], axis=1) if intercept else x
    ridge = np.where(np.arange(x.shape[1]) < dim, penalty, 0.0)
    factor = _bound_factor(x, ridge)
    back = solve_triangular(factor, np.eye(len(factor)), lower=True)
    seen, held = x @ back.T, (back * ridge) @ back.T
    target = np.zeros((count, classes))
    target[np.arange(count), labels] = 1.0

    small = least / float(np.linalg.norm(factor))  # there a slope may be this long, and is below `least` here
    options = {"maxiter": max_steps, "maxfun": 2 * max_steps, "maxcor": 30, "ftol": 0.0, "gtol": small}
    with jax.enable_x64(True):
        fixed = (jnp.asarray(seen), jnp.asarray(target), jnp.asarray(held))
        start = np.zeros(classes * x.shape[1])
        found = minimize(_value_and_slope, start, fixed, "L-BFGS-B", jac=True, options=options)
    steepest = float(np.abs(found.jac.reshape(classes, -1) @ factor.T).max())
    if not steepest <= 100.0 * least:
        raise ArithmeticError(
            f"linear_probe: after {found.nit} steps the slope is still {steepest:.1e}: give features of a moderate "
            "size, or a smaller strength."
        )
    parameters = found.x.reshape(classes, -1) @ back
    offsets = parameters[:, dim] if intercept else np.zeros(classes)
    return LinearProbe(parameters[:, :dim], offsets - offsets.mean(), float(found.fun))


def _value_and_slope(flat: np.ndarray, seen: Array, target: Array, held: Array) -> tuple[float, np.ndarray]:
    value, slope = _objective(flat.reshape(target.shape[1], -1), seen, target, held)
    return float(value), np.asarray(slope).reshape(-1)


@jax.jit
@jax.value_and_grad
def _objective(weights: Array, seen: Array, target: Array, held: Array) -> Array:
    """One program, since threads of a BLAS that wait for each other lose most of their time on busy cores."""
    log_p = jax.nn.log_softmax(seen @ weights.T)
    return -(log_p * target).sum() / len(seen) + (weights @ held * weights).sum() / 2


def _bound_factor(x: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    """The Cholesky factor of the bound on the curvature.

    Any other changes the number of steps alone, so that what rounding could make of tiny eigenvalues is kept off zero.
    """
    bound = x.T @ x / (2 * len(x)) + np.diag(ridge)
    return np.linalg.cholesky(bound + _LEAST_CURVATURE * np.trace(bound) * np.eye(len(bound)))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
