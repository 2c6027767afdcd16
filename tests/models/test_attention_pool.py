"""Attention pooling against NumPy."""

import jax
import numpy as np
import pytest

from laminate.models.attention_pool import AttentionPool
from tests.oracles.arrays import filled, normal


def test_the_probe_attends_to_the_tokens_head_by_head():
    pool, x = filled(lambda key: AttentionPool(6, 2, 5, key=key)), normal(0, 7, 6)
    q = np.asarray(pool.probe @ pool.qkv.weight[:6].T + pool.qkv.bias[None, :6])[0]
    k, v = (np.asarray(x @ pool.qkv.weight[i : i + 6].T + pool.qkv.bias[None, i : i + 6]) for i in (6, 12))
    heads = []
    for head in (slice(0, 3), slice(3, 6)):
        weights = np.exp(k[:, head] @ q[head] / np.sqrt(3))
        heads.append(weights @ v[:, head] / weights.sum())
    y = np.asarray(pool.out.weight) @ np.concatenate(heads) + np.asarray(pool.out.bias)
    wanted = (
        y + np.asarray(jax.jit(lambda pool, y: pool.mlp(pool.norm(y[None])))(pool, y.astype(np.float32)))[0]
    )
    np.testing.assert_allclose(jax.jit(AttentionPool.__call__)(pool, x), wanted, atol=1e-5)


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match="dim=6 cannot be split over heads=4"):
        AttentionPool(6, 4, 5, key=jax.random.key(0))
