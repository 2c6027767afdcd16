"""The affine map, and the initialisers that fill it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.nn import Linear, lecun_normal, trunc_normal, xavier_uniform, zeros
from tests.oracles.arrays import normal


@given(lead=st.sampled_from([(), (5,), (2, 4)]), bias=st.booleans(), seed=st.integers(0, 99))
def test_it_is_the_affine_map_of_the_last_axis(lead, bias, seed):
    linear = Linear(3, 7, bias=bias, key=jax.random.key(0))
    if bias:
        object.__setattr__(linear, "bias", normal(seed + 1, 7))
    x = normal(seed, *lead, 3)
    wanted = np.asarray(x, np.float64) @ np.asarray(linear.weight, np.float64).T
    wanted = wanted + np.asarray(linear.bias) if bias else wanted
    np.testing.assert_allclose(jax.jit(Linear.__call__)(linear, x), wanted, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_the_input_decides_the_dtype_and_the_parameters_stay_float32(dtype):
    linear = Linear(3, 7, key=jax.random.key(0))
    assert linear(normal(0, 5, 3).astype(dtype)).dtype == dtype
    assert linear.weight.dtype == linear.bias.dtype == jnp.float32


def test_a_fresh_bias_is_zero_and_can_be_left_out():
    np.testing.assert_array_equal(Linear(3, 7, key=jax.random.key(0)).bias, np.zeros(7))
    assert Linear(3, 7, bias=False, key=jax.random.key(0)).bias is None


@pytest.mark.parametrize(
    ("init", "deviation", "largest"),
    [
        (trunc_normal(0.02), 0.02 * 0.8796, 0.04),  # N(0, 1) cut at two has standard deviation 0.8796
        (lecun_normal, 64**-0.5, 2 / 0.8796 * 64**-0.5),
        (xavier_uniform, (2 / (64 + 96)) ** 0.5, (6 / (64 + 96)) ** 0.5),
    ],
)
def test_initialisers_have_their_variance_and_their_bounds(init, deviation, largest):
    weight = np.asarray(init(jax.random.key(0), (96, 64)))
    assert weight.shape == (96, 64) and weight.dtype == np.float32
    assert abs(weight.std() / deviation - 1) < 0.05
    assert abs(weight.mean()) < 0.05 * deviation
    assert np.abs(weight).max() <= largest * 1.0001


def test_the_zero_initialiser_makes_a_silent_layer():
    linear = Linear(3, 7, init=zeros, key=jax.random.key(0))
    np.testing.assert_array_equal(linear(normal(0, 5, 3)), np.zeros((5, 7)))
