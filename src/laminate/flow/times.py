"""How training times are distributed, and the shift that moves them towards the noise.

A distribution is its quantile function, from a uniform number in [0, 1] to a time.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

from laminate.types import RandomKey, Scalar

Quantile = Callable[[Scalar], Scalar]


def uniform(*, first: float = 0.0, last: float = 1.0) -> Quantile:
    """Uniform on [`first`, `last`]. RAE leaves out the 0.001 nearest to the noise: `first=0.001`."""
    _require_bounds(first, last)
    return lambda u: first + (last - first) * u


def logit_normal(mean: float = 0.0, std: float = 1.0, *, first: float = 0.0, last: float = 1.0) -> Quantile:
    """`sigmoid(mean + std n)` of a normal `n` (Esser et al. 2024), truncated to [`first`, `last`].

    A positive `mean` moves the times towards the data.
    """
    _require_bounds(first, last)
    if std <= 0.0:
        raise ValueError(f"logit_normal needs std > 0, got std={std}.")
    normal = NormalDist(mean, std)
    lowest, highest = normal.cdf(_logit(first)), normal.cdf(_logit(last))
    return lambda u: jax.nn.sigmoid(mean + std * ndtri(lowest + (highest - lowest) * u))


def shift_time(t: Scalar, time_shift: float | Scalar) -> Scalar:
    """`t / (s - (s - 1) t)` with `s = time_shift`: above 1, more time near the noise; 1 changes nothing.

    The paper calls it kappa and takes 3. Where noise is at 1 this is RAE's `s t / (1 + (s - 1) t)`; LightningDiT's
    sampling shift of 0.3 is `s = 1 / 0.3`. Raises ValueError for `time_shift <= 0`.
    """
    if isinstance(time_shift, int | float) and time_shift <= 0:
        raise ValueError(f"A time shift needs time_shift > 0, got time_shift={time_shift}.")
    return t / (time_shift * (1.0 - t) + t)  # the same, but exact at both ends


def dimension_shift(numbers: int, *, base: int = 4096) -> float:
    """`sqrt(numbers / base)`: the shift for latents of `numbers` numbers (RAE; Esser et al. 2024)."""
    if numbers < 1 or base < 1:
        raise ValueError(f"dimension_shift needs positive sizes, got numbers={numbers} and base={base}.")
    return (numbers / base) ** 0.5


def draw_time(key: RandomKey, distribution: Quantile, *, time_shift: float | Scalar = 1.0) -> Scalar:
    """One training time: a draw from `distribution`, then the shift."""
    return shift_time(distribution(jax.random.uniform(key, (), jnp.float32)), time_shift)


def _logit(t: float) -> float:
    if t in (0.0, 1.0):
        return math.inf if t else -math.inf
    return math.log(t / (1.0 - t))


def _require_bounds(first: float, last: float) -> None:
    if not 0.0 <= first < last <= 1.0:
        raise ValueError(f"Times lie in [0, 1] from first to last, got first={first} and last={last}.")
