"""Laws of the reconstruction losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.losses.reconstruction import charbonnier_loss, huber_loss, l1_loss, mse_loss

_SHAPES = st.sampled_from([(1,), (5,), (3, 4), (2, 3, 5)])


def _pair(seed: int, shape: tuple[int, ...], scale: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (scale * rng.normal(size=shape)).astype(np.float32), rng.normal(size=shape).astype(np.float32)


@given(seed=st.integers(0, 2**16), shape=_SHAPES, scale=st.floats(0.0, 8.0))
def test_the_mse_is_the_mean_of_the_squared_errors(seed: int, shape: tuple[int, ...], scale: float) -> None:
    prediction, target = _pair(seed, shape, scale)
    expected = np.mean((prediction.astype(np.float64) - target) ** 2)
    np.testing.assert_allclose(mse_loss(jnp.asarray(prediction), jnp.asarray(target)), expected, rtol=1e-5)


@given(seed=st.integers(0, 2**16), shape=_SHAPES, scale=st.floats(0.0, 8.0), eps=st.floats(1e-3, 2.0))
def test_charbonnier_is_an_l1_that_is_eps_where_there_is_no_error(
    seed: int, shape: tuple[int, ...], scale: float, eps: float
) -> None:
    prediction, target = _pair(seed, shape, scale)
    error = prediction.astype(np.float64) - target
    x, y = jnp.asarray(prediction), jnp.asarray(target)
    np.testing.assert_allclose(l1_loss(x, y), np.mean(np.abs(error)), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        charbonnier_loss(x, y, eps=eps), np.mean(np.sqrt(error**2 + eps**2)), rtol=1e-5
    )
    np.testing.assert_allclose(charbonnier_loss(y, y, eps=eps), eps, rtol=1e-5)
    assert l1_loss(x, y) <= charbonnier_loss(x, y, eps=eps) * (1 + 1e-6) <= l1_loss(x, y) + eps * (1 + 1e-4)


def test_charbonnier_becomes_l1_as_eps_vanishes_and_keeps_a_gradient_at_zero() -> None:
    x, y = map(jnp.asarray, _pair(0, (3, 5), 1.0))
    np.testing.assert_allclose(charbonnier_loss(x, y, eps=1e-7), l1_loss(x, y), rtol=1e-6)
    np.testing.assert_array_equal(jax.grad(charbonnier_loss)(y, y), 0)


@given(seed=st.integers(0, 2**16), shape=st.sampled_from([(5,), (4, 3), (4, 2, 3)]), axes=st.integers(1, 2))
def test_a_mask_leaves_places_out_and_what_is_left_is_the_mean(
    seed: int, shape: tuple[int, ...], axes: int
) -> None:
    prediction, target = _pair(seed, shape, 1.0)
    mask = np.random.default_rng(seed).random(shape[:axes]) < 0.5
    masked = charbonnier_loss(jnp.asarray(prediction), jnp.asarray(target), mask=jnp.asarray(mask))
    if not mask.any():
        assert masked == 0
        return
    left = charbonnier_loss(jnp.asarray(prediction[mask]), jnp.asarray(target[mask]))
    np.testing.assert_allclose(masked, left, rtol=1e-5)


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


@pytest.mark.parametrize("loss", [mse_loss, huber_loss, l1_loss])
def test_a_perfect_prediction_costs_nothing_and_losses_are_float32(loss) -> None:
    x = jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3)
    value = loss(x, x)
    assert value.dtype == jnp.float32
    assert value == 0


def test_a_delta_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="delta must be positive, got 0"):
        huber_loss(jnp.zeros(2), jnp.zeros(2), delta=0.0)


def test_a_charbonnier_without_smoothing_or_with_a_strange_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="use l1_loss"):
        charbonnier_loss(jnp.zeros(2), jnp.zeros(2), eps=0.0)
    with pytest.raises(ValueError, match="does not fit the first axes"):
        charbonnier_loss(jnp.zeros((2, 3)), jnp.zeros((2, 3)), mask=jnp.ones(3, bool))
