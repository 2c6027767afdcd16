"""Paths: end points, derivatives, and the conversions between velocity, score and data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.flow import STRAIGHT, Straight, Trigonometric, VariancePreserving
from tests.oracles.arrays import normal

PATHS = [Straight(), Trigonometric(), VariancePreserving(), VariancePreserving(0.3, 12.0)]
every_path = pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
times = st.floats(0.05, 0.95)


@every_path
def test_a_path_goes_from_noise_to_data(path):
    data, noise = normal(0, 3, 4), normal(1, 3, 4)
    np.testing.assert_allclose(path.point(data, noise, jnp.asarray(0.0)), noise, atol=1e-6)
    reached = path.point(data, noise, jnp.asarray(1.0))
    np.testing.assert_allclose(reached, data, atol=0.2 if isinstance(path, VariancePreserving) else 1e-6)


@every_path
@given(t=times)
def test_the_velocity_is_the_derivative_of_the_path(path, t):
    data, noise = normal(0, 3, 4), normal(1, 3, 4)
    _, derivative = jax.jvp(
        lambda t: path.point(data, noise, t), (jnp.asarray(t, jnp.float32),), (jnp.ones(()),)
    )
    np.testing.assert_allclose(
        path.velocity(data, noise, jnp.asarray(t, jnp.float32)), derivative, rtol=2e-4, atol=2e-5
    )


@every_path
@given(t=times, std=st.floats(0.2, 3.0))
def test_the_score_is_that_of_the_marginal(path, t, std):
    """Data N(0, std^2): the marginal is N(0, V), its score -x / V and its velocity V' x / 2 V."""
    t, x = jnp.asarray(t, jnp.float32), normal(2, 5)
    variance = lambda t: path.data_weight(t) ** 2 * std**2 + path.noise_weight(t) ** 2
    velocity = jax.grad(variance)(t) / (2.0 * variance(t)) * x
    np.testing.assert_allclose(path.score(x, velocity, t), -x / variance(t), rtol=5e-3, atol=1e-4)


@every_path
@given(t=st.floats(0.0, 0.9))
def test_a_prediction_of_the_true_data_is_the_true_velocity(path, t):
    t = max(t, 0.05) if isinstance(path, VariancePreserving) else t  # its velocity is infinite at the noise
    data, noise, t = normal(0, 3, 4), normal(1, 3, 4), jnp.asarray(t, jnp.float32)
    velocity = path.data_to_velocity(path.point(data, noise, t), data, t, min_one_minus_t=0.1)
    np.testing.assert_allclose(velocity, path.velocity(data, noise, t), rtol=1e-3, atol=1e-4)


@every_path
def test_the_least_remaining_time_bounds_the_division(path):
    x, data = normal(0, 3, 4), normal(1, 3, 4)
    velocity = lambda t: path.data_to_velocity(x, data, jnp.asarray(t), min_one_minus_t=0.25)
    for t in (0.8, 1.0):
        np.testing.assert_allclose(velocity(t), velocity(0.75), rtol=1e-5)
    if path == STRAIGHT:
        np.testing.assert_allclose(velocity(1.0), (data - x) / 0.25, rtol=1e-5)
        np.testing.assert_allclose(velocity(0.5), (data - x) / 0.5, rtol=1e-5)


def test_a_state_may_be_a_tree():
    data, noise = (normal(0, 3, 4), normal(1, 2)), (normal(2, 3, 4), normal(3, 2))
    t = jnp.asarray(0.25)
    for got, z, e in zip(STRAIGHT.point(data, noise, t), data, noise, strict=True):
        np.testing.assert_allclose(got, 0.25 * z + 0.75 * e, rtol=1e-6)
