"""Laws of the reconstruction losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.losses.reconstruction import huber_loss, mse_loss

_SHAPES = st.sampled_from([(1,), (5,), (3, 4), (2, 3, 5)])


def _pair(seed: int, shape: tuple[int, ...], scale: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (scale * rng.normal(size=shape)).astype(np.float32), rng.normal(size=shape).astype(np.float32)


@given(seed=st.integers(0, 2**16), shape=_SHAPES, scale=st.floats(0.0, 8.0))
def test_the_mse_is_the_mean_of_the_squared_errors(seed: int, shape: tuple[int, ...], scale: float) -> None:
    prediction, target = _pair(seed, shape, scale)
    expected = np.mean((prediction.astype(np.float64) - target) ** 2)
    np.testing.assert_allclose(mse_loss(jnp.asarray(prediction), jnp.asarray(target)), expected, rtol=1e-5)


@given(seed=st.integers(0, 2**16), shape=_SHAPES, scale=st.floats(0.0, 8.0), delta=st.floats(0.125, 4.0))
def test_huber_is_a_square_inside_delta_and_a_line_outside(
    seed: int, shape: tuple[int, ...], scale: float, delta: float
) -> None:
    prediction, target = _pair(seed, shape, scale)
    error = np.abs(prediction.astype(np.float64) - target)
    expected = np.mean(np.where(error <= delta, error**2 / 2, delta * (error - delta / 2)))
    ours = huber_loss(jnp.asarray(prediction), jnp.asarray(target), delta=delta)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-7)


def test_the_gradient_of_huber_is_the_clipped_error() -> None:
    errors = jnp.asarray([-3.0, -0.5, 0.0, 0.25, 2.0])
    gradient = jax.grad(lambda e: huber_loss(e, jnp.zeros(5)))(errors)
    np.testing.assert_allclose(5 * gradient, np.clip(errors, -1, 1), atol=1e-7)


@pytest.mark.parametrize("loss", [mse_loss, huber_loss])
def test_a_perfect_prediction_costs_nothing_and_losses_are_float32(loss) -> None:
    x = jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3)
    value = loss(x, x)
    assert value.dtype == jnp.float32
    assert value == 0


def test_a_delta_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="delta must be positive, got 0"):
        huber_loss(jnp.zeros(2), jnp.zeros(2), delta=0.0)
