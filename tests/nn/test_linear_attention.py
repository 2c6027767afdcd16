"""Linear attention: two orders of the same products, and which channels are whose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.nn import LinearAttention
from laminate.nn.linear_attention import attend_by_pairs, attend_by_sums
from tests.oracles.arrays import filled, normal


@given(queries=st.integers(1, 9), keys=st.integers(1, 11), seed=st.integers(0, 99))
def test_sums_over_keys_are_sums_over_pairs(queries, keys, seed):
    q = jax.nn.relu(normal(seed, queries, 3, 5))
    k, v = jax.nn.relu(normal(seed + 1, keys, 3, 5)), normal(seed + 2, keys, 3, 4)
    np.testing.assert_allclose(attend_by_sums(q, k, v), attend_by_pairs(q, k, v), atol=1e-5)


@pytest.mark.parametrize("tokens", [3, 11])
def test_every_head_owns_query_key_and_value_side_by_side(tokens):
    heads, width = 3, 4
    layer = filled(lambda key: LinearAttention(heads * width, head_dim=width, key=key))
    x = normal(0, tokens, heads * width)
    mapped = np.asarray(x @ layer.qkv.weight.T, np.float64).reshape(tokens, heads, 3, width)
    parts: list[np.ndarray] = []
    for head in range(heads):
        q, k, v = (mapped[:, head, part] for part in range(3))
        weights = np.maximum(q, 0) @ np.maximum(k, 0).T
        parts.append(weights @ v / (weights.sum(1, keepdims=True) + 1e-15))
    wanted = np.concatenate(parts, axis=1) @ np.asarray(layer.out.weight, np.float64).T
    np.testing.assert_allclose(layer(x), wanted, atol=2e-5)


def test_a_query_that_no_key_answers_gets_nothing_and_a_finite_gradient():
    q, k, v = jnp.zeros((2, 1, 3)), jax.nn.relu(normal(0, 4, 1, 3)), normal(1, 4, 1, 3)
    for attend in (attend_by_sums, attend_by_pairs):
        np.testing.assert_array_equal(attend(q, k, v), 0.0)
        gradient = jax.grad(lambda k, attend=attend: jnp.sum(attend(q, k, v)))(k)
        assert np.isfinite(gradient).all()


def test_sums_keep_the_cost_of_a_token_the_same():
    layer = filled(lambda key: LinearAttention(8, head_dim=4, key=key))

    def products(tokens: int) -> float:
        compiled = (
            jax.jit(LinearAttention.__call__)
            .lower(layer, jax.ShapeDtypeStruct((tokens, 8), jnp.float32))
            .compile()
        )
        return compiled.cost_analysis()["flops"] / tokens

    assert products(512) < 1.05 * products(128)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="head_dim=5 must divide the width 12"):
        LinearAttention(12, head_dim=5, key=jax.random.key(0))
