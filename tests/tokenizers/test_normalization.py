"""Normalised latents and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.tokenizers import Normalization
from laminate.types import split_buffers
from tests.oracles.arrays import normal

LATENTS, FEATURES = 3, 4
SHAPE = (LATENTS, FEATURES)


@given(spread=st.floats(1e-2, 1e2), offset=st.floats(-10, 10), seed=st.integers(0, 99), half=st.booleans())
def test_inverse_undoes_the_map_and_the_map_the_inverse(spread, offset, seed, half):
    measured = Normalization(*SHAPE).measured(
        normal(seed, *SHAPE) + offset, jnp.square(normal(seed + 1, *SHAPE)) * spread + 1e-2
    )
    z = normal(seed + 2, *SHAPE).astype(jnp.bfloat16 if half else jnp.float32)
    assert measured(z).dtype == measured.inverse(z).dtype == jnp.float32
    np.testing.assert_allclose(measured.inverse(measured(z)), z.astype(jnp.float32), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(measured(measured.inverse(z)), z.astype(jnp.float32), rtol=1e-4, atol=1e-3)


def test_measured_latents_get_zero_mean_and_unit_variance():
    draws = np.asarray(normal(0, 500, *SHAPE) * normal(1, *SHAPE)[None] + normal(2, *SHAPE)[None], np.float64)
    measured = Normalization(*SHAPE).measured(
        jnp.asarray(draws.mean(0), jnp.float32), jnp.asarray(draws.var(0), jnp.float32)
    )
    normalised = np.asarray(jax.vmap(measured)(jnp.asarray(draws, jnp.float32)), np.float64)
    np.testing.assert_allclose(normalised.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(normalised.var(0), 1, atol=1e-4)


def test_a_fresh_one_is_the_identity_and_is_never_trained():
    z = normal(0, *SHAPE)
    np.testing.assert_array_equal(Normalization(*SHAPE)(z), z)
    np.testing.assert_array_equal(Normalization(*SHAPE).inverse(z), z)
    assert jax.tree.leaves(split_buffers(Normalization(*SHAPE))[0]) == []


def test_a_number_that_never_varies_keeps_its_scale():
    measured = Normalization(1, 2).measured(jnp.asarray([[5.0, 1.0]]), jnp.asarray([[0.0, 4.0]]))
    np.testing.assert_array_equal(measured(jnp.asarray([[5.5, 2.0]])), [[0.5, 0.5]])


@pytest.mark.parametrize(
    ("mean", "variance", "message"),
    [
        (
            jnp.zeros((1, 2)),
            jnp.ones((2, 1)),
            r"shape \(1, 2\) and \(2, 1\) do not fit latents of shape \(1, 2\)",
        ),
        (jnp.asarray([[0.0, jnp.nan]]), jnp.ones((1, 2)), "must be finite"),
        (jnp.zeros((1, 2)), jnp.asarray([[1.0, jnp.inf]]), "must be finite"),
        (jnp.zeros((1, 2)), jnp.asarray([[1.0, -1.0]]), "variances not negative"),
    ],
)
def test_senseless_statistics_are_refused(mean, variance, message):
    with pytest.raises(Exception, match=message if mean.shape == variance.shape else "."):
        Normalization(1, 2).measured(mean, variance)
