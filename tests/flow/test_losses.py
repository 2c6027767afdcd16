"""Losses of one example against NumPy, and what they are zero for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.flow import (
    STRAIGHT,
    Trigonometric,
    cosine_distance,
    drop_label,
    flow_matching_loss,
    likelihood_weight,
    noise_matching_loss,
    score_matching_loss,
    velocity_weight,
)
from tests.oracles.arrays import normal

Z, NOISE, T = normal(0, 7, 4), normal(1, 7, 4), jnp.asarray(0.3)


@given(t=st.floats(0.0, 1.0))
def test_the_true_velocity_noise_and_score_cost_nothing(t):
    t = jnp.asarray(t, jnp.float32)
    assert float(flow_matching_loss(lambda x, t: Z - NOISE, Z, t=t, noise=NOISE)) < 1e-10
    assert float(noise_matching_loss(lambda x, t: NOISE, Z, t=t, noise=NOISE)) < 1e-10
    score = lambda x, t: -NOISE / jnp.maximum(1.0 - t, 1e-6)
    if t < 0.999:
        assert float(score_matching_loss(score, Z, t=t, noise=NOISE)) < 1e-6


def test_flow_matching_is_the_mean_square_at_the_point_of_the_path():
    z, e = np.asarray(Z), np.asarray(NOISE)
    predicted = 2.0 * (0.3 * z + 0.7 * e) + 0.3
    loss = flow_matching_loss(lambda x, t: 2.0 * x + t, Z, t=T, noise=NOISE)
    assert loss.dtype == jnp.float32
    assert float(loss) == pytest.approx(np.mean((predicted - (z - e)) ** 2), rel=1e-5)


def test_the_cosine_term_is_one_minus_the_cosine_over_channels():
    z, e = np.asarray(Z), np.asarray(NOISE)
    predicted, target = 2.0 * (0.3 * z + 0.7 * e), z - e
    cosine = np.sum(predicted * target, -1) / (
        np.linalg.norm(predicted, axis=-1) * np.linalg.norm(target, axis=-1)
    )
    both = flow_matching_loss(lambda x, t: 2.0 * x, Z, t=T, noise=NOISE, cosine_weight=0.5)
    assert float(both) == pytest.approx(
        np.mean((predicted - target) ** 2) + 0.5 * np.mean(1.0 - cosine), rel=1e-5
    )


def test_the_cosine_has_a_finite_gradient_at_zero():
    gradient = jax.grad(lambda v: cosine_distance(v, Z - NOISE))(jnp.zeros_like(Z))
    assert np.isfinite(gradient).all()


def test_a_joint_state_is_averaged_over_all_its_numbers():
    """As the class token is denoised beside the latent: the sum of all squares over their number."""
    z, noise = (Z, normal(2, 5)), (NOISE, normal(3, 5))
    loss = flow_matching_loss(lambda x, t: jax.tree.map(jnp.zeros_like, x), z, t=T, noise=noise)
    squares = sum(float(jnp.sum((a - b) ** 2)) for a, b in zip(z, noise, strict=True))
    assert float(loss) == pytest.approx(squares / (28 + 5), rel=1e-5)


@pytest.mark.parametrize("path", [STRAIGHT, Trigonometric()], ids=["straight", "trigonometric"])
@given(t=st.floats(0.1, 0.9))
def test_weights_turn_errors_of_the_noise_into_errors_of_the_velocity(path, t):
    """With x fixed, an error d of the noise is an error d (sigma' - sigma alpha' / alpha) of the velocity."""
    t = jnp.asarray(t, jnp.float32)
    factor = path.noise_rate(t) - path.noise_weight(t) * path.data_rate(t) / path.data_weight(t)
    assert float(velocity_weight(path, t)) == pytest.approx(float(factor) ** 2, rel=1e-3)
    assert float(likelihood_weight(path, t)) > 0


def test_labels_are_dropped_at_their_rate_and_never_without_a_key():
    label = jnp.asarray(3)
    keys = jax.random.split(jax.random.key(0), 2000)
    dropped = np.asarray(jax.vmap(lambda key: drop_label(label, 10, rate=0.1, key=key))(keys))
    assert set(dropped.tolist()) == {3, 10}
    assert np.mean(dropped == 10) == pytest.approx(0.1, abs=0.025)
    assert int(drop_label(label, 10, rate=0.1, key=None)) == 3
