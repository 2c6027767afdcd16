"""Dropout of elements and of residual branches: who is dropped, how often, and what stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.nn import drop_path, dropout

KEYS = jax.random.split(jax.random.key(5), 4096)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_drop_path_drops_whole_branches_at_its_rate_and_keeps_the_expectation(rate):
    branch = jnp.asarray([[1.0, -2.0, 3.0]])
    drawn = np.asarray(jax.vmap(lambda key: drop_path(branch, jnp.float32(rate), key=key))(KEYS), np.float64)
    kept = drawn[:, 0, 0] != 0
    assert abs(kept.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / len(KEYS))
    np.testing.assert_array_equal(drawn[~kept], 0)
    np.testing.assert_allclose(
        drawn[kept], np.broadcast_to(branch, drawn[kept].shape) / (1 - rate), rtol=1e-6
    )
    np.testing.assert_allclose(drawn.mean(0), branch, rtol=5 * np.sqrt(rate / (1 - rate) / len(KEYS)))


@pytest.mark.parametrize("rate", [0.1, 0.75])
def test_dropout_drops_elements_at_its_rate_and_keeps_the_expectation(rate):
    x = jnp.ones((64, 65))
    drawn = np.asarray(dropout(x, rate, key=jax.random.key(0)))
    kept = drawn != 0
    assert abs(kept.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / x.size)
    np.testing.assert_allclose(drawn[kept], 1 / (1 - rate), rtol=1e-6)
    assert 0 < kept.mean(0).std() and 0 < kept.mean(1).std()  # neither rows nor columns go as a whole


def test_without_a_key_nothing_is_dropped():
    x = jnp.arange(6.0)
    assert dropout(x, 0.9, key=None) is x
    assert drop_path(x, jnp.float32(0.9), key=None) is x
    assert drop_path(x, None, key=jax.random.key(0)) is x
    assert dropout(x, 0.0, key=jax.random.key(0)) is x


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_dtype_is_kept(dtype):
    x = jnp.ones((3, 4), dtype)
    assert dropout(x, 0.5, key=jax.random.key(0)).dtype == dtype
    assert drop_path(x, jnp.float32(0.5), key=jax.random.key(0)).dtype == dtype


def test_a_rate_of_zero_keeps_every_branch_and_a_rate_of_one_none():
    branch = jnp.arange(1.0, 4.0)
    draw = jax.jit(
        jax.vmap(
            jax.value_and_grad(lambda b, rate, key: jnp.sum(drop_path(b, rate, key=key))),
            in_axes=(None, None, 0),
        )
    )
    for rate, kept in ((0.0, 1.0), (1.0, 0.0)):
        values, gradients = draw(branch, jnp.float32(rate), KEYS[:16])
        np.testing.assert_array_equal(values, np.full(16, 6.0 * kept))
        np.testing.assert_array_equal(gradients, np.full((16, 3), kept))
