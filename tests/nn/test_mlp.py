"""The token-wise networks against numpy."""

import math

import jax
import numpy as np
import pytest

from laminate.nn import Mlp, SwiGlu, gelu_exact, gelu_tanh
from tests.oracles.arrays import filled, normal


def affine(linear, x):
    y = x @ np.asarray(linear.weight, np.float64).T
    return y if linear.bias is None else y + np.asarray(linear.bias, np.float64)


def gelu(x, approximate):
    if approximate:
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("activation", "approximate"), [(gelu_tanh, True), (gelu_exact, False)])
def test_mlp_is_down_of_the_activation_of_up(activation, approximate, bias):
    mlp = filled(lambda key: Mlp(4, 9, bias=bias, activation=activation, key=key), scale=0.5)
    x = normal(1, 7, 4)
    wanted = affine(mlp.down, gelu(affine(mlp.up, np.asarray(x, np.float64)), approximate))
    np.testing.assert_allclose(jax.jit(Mlp.__call__)(mlp, x), wanted, atol=2e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_swiglu_is_down_of_silu_gate_times_up(bias):
    mlp = filled(lambda key: SwiGlu(4, 9, bias=bias, key=key), scale=0.5)
    x = normal(1, 7, 4)
    wide = np.asarray(x, np.float64)
    gate = affine(mlp.gate, wide)
    wanted = affine(mlp.down, gate / (1 + np.exp(-gate)) * affine(mlp.up, wide))
    np.testing.assert_allclose(jax.jit(SwiGlu.__call__)(mlp, x), wanted, atol=2e-5)


@pytest.mark.parametrize("layer", [Mlp, SwiGlu])
def test_tokens_do_not_see_each_other(layer):
    mlp, x = filled(lambda key: layer(4, 9, key=key)), normal(1, 7, 4)
    order = np.random.default_rng(0).permutation(7)
    call = jax.jit(layer.__call__)
    np.testing.assert_allclose(call(mlp, x[order]), np.asarray(call(mlp, x))[order], atol=1e-6)


def test_two_thirds_of_the_width_make_swiglu_as_large_as_an_mlp():
    count = lambda module: sum(leaf.size for leaf in jax.tree.leaves(module))
    swiglu = filled(lambda key: SwiGlu(12, 8 * 12 // 3, bias=False, key=key))
    assert count(swiglu) == count(filled(lambda key: Mlp(12, 4 * 12, bias=False, key=key)))


@pytest.mark.parametrize("layer", [Mlp, SwiGlu])
def test_dropout_needs_a_key_and_follows_it(layer):
    mlp, x = filled(lambda key: layer(4, 9, dropout_rate=0.5, key=key)), normal(1, 7, 4)
    call = jax.jit(lambda key: mlp(x, key=key))
    np.testing.assert_array_equal(call(jax.random.key(1)), call(jax.random.key(1)))
    assert not np.array_equal(call(jax.random.key(1)), call(jax.random.key(2)))
    plain = filled(lambda key: layer(4, 9, key=key))
    np.testing.assert_allclose(call(None), jax.jit(plain.__call__)(x), atol=1e-6)
