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
def test_half_precision_is_computed_on_a_cpu_too_alone_and_in_batches_with_its_gradient(tokens):
    layer = filled(lambda key: LinearAttention(8, head_dim=4, key=key))
    x = normal(0, 2, tokens, 8)

    @jax.jit
    def run(x):
        total = lambda x: jnp.sum(jax.vmap(layer)(x).astype(jnp.float32))
        return layer(x[0]), jax.vmap(layer)(x), jax.grad(total)(x)

    for half, whole in zip(run(x.astype(jnp.bfloat16)), run(x), strict=True):
        assert half.dtype == jnp.bfloat16
        away = jnp.linalg.norm(half.astype(jnp.float32) - whole) / jnp.linalg.norm(whole)
        assert away < 0.1


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


def conv(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Every channel of `[rows, columns, channels]` alone under its kernel, zeros around it."""
    side = weight.shape[-1] // 2
    padded = np.pad(x, ((side, side), (side, side), (0, 0)))
    y = np.zeros_like(x)
    for a, b in np.ndindex(*weight.shape[2:]):
        y += padded[a : a + x.shape[0], b : b + x.shape[1]] * weight[:, 0, a, b]
    return y


@pytest.mark.parametrize("rows", [1, 3])
def test_each_kernel_gives_as_many_heads_again_cut_out_of_what_lies_around_a_place(rows):
    heads, width, dim, columns = 2, 3, 7, 3
    layer = filled(lambda key: LinearAttention(dim, head_dim=width, heads=heads, kernels=(3, 5), key=key))
    x = normal(0, rows, columns, dim)
    qkv = np.asarray(x, np.float64) @ np.asarray(layer.qkv.weight, np.float64).T
    maps = [qkv]
    for around in layer.around:
        y = conv(qkv, np.asarray(around.depthwise.weight, np.float64))
        mix = np.asarray(around.mix.weight, np.float64)[:, :, 0, 0].reshape(3 * heads, width, width)
        parts = y.reshape(rows, columns, 3 * heads, width)
        maps.append(np.einsum("rcgi,goi->rcgo", parts, mix).reshape(qkv.shape))
    found: list[np.ndarray] = []
    stacked = np.concatenate(maps, axis=2).reshape(rows * columns, 3 * heads, 3, width)
    for head in range(3 * heads):
        q, k, v = (stacked[:, head, part] for part in range(3))
        weights = np.maximum(q, 0) @ np.maximum(k, 0).T
        found.append(weights @ v / (weights.sum(1, keepdims=True) + 1e-15))
    wanted = np.concatenate(found, axis=1) @ np.asarray(layer.out.weight, np.float64).T
    np.testing.assert_allclose(layer(x).reshape(-1, dim), wanted, atol=2e-5)


def test_tokens_may_lie_in_any_axes():
    layer = filled(lambda key: LinearAttention(8, head_dim=4, key=key))
    x = normal(0, 3, 4, 8)
    np.testing.assert_array_equal(layer(x).reshape(12, 8), layer(x.reshape(12, 8)))


def test_a_query_that_no_key_answers_gets_nothing_and_a_finite_gradient():
    q, k, v = jnp.zeros((2, 1, 3)), jax.nn.relu(normal(0, 4, 1, 3)), normal(1, 4, 1, 3)
    for attend in (attend_by_sums, attend_by_pairs):
        np.testing.assert_array_equal(attend(q, k, v), 0.0)
        gradient = jax.grad(lambda k, attend=attend: jnp.sum(attend(q, k, v)))(k)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("kernels", [(), (5,)], ids=["of places", "of places and around them"])
def test_sums_keep_the_cost_of_a_place_the_same(kernels):
    layer = filled(lambda key: LinearAttention(8, head_dim=4, kernels=kernels, key=key))

    def products(side: int) -> float:
        image = jax.ShapeDtypeStruct((side, side, 8), jnp.float32)
        return jax.jit(LinearAttention.__call__).lower(layer, image).cost_analysis()["flops"] / side**2

    costs = {side: products(side) for side in (16, 32, 64)}
    assert max(costs.values()) < 1.05 * min(costs.values()), costs


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="head_dim=5 must divide the width 12"):
        LinearAttention(12, head_dim=5, key=jax.random.key(0))
    with pytest.raises(ValueError, match="heads=0 of 5 numbers"):
        LinearAttention(4, head_dim=5, heads=0, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"rows and columns of them, and the shape is \(6, 4\)"):
        LinearAttention(4, head_dim=2, kernels=(3,), key=jax.random.key(0))(normal(0, 6, 4))
