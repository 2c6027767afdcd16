"""The pre-norm block is the sum of its parts."""

import jax
import jax.numpy as jnp
import numpy as np

from laminate.nn import Attention, Block, LayerNorm, SwiGlu
from tests.oracles.arrays import filled, normal


def build(dropout_rate=0.0):
    def make(key):
        attention = Attention(12, 3, dropout_rate=dropout_rate, key=key)
        mlp = SwiGlu(12, 20, dropout_rate=dropout_rate, key=key)
        return Block(LayerNorm(12), attention, LayerNorm(12), mlp)

    return filled(make)


BLOCK, X = build(), normal(0, 7, 12)
MASK = jnp.asarray(np.tri(7, dtype=bool))


def test_it_adds_attention_and_then_the_mlp_of_the_normed_stream():
    @jax.jit
    def by_hand(block, x):
        x = x + block.attention(block.attention_norm(x), MASK)
        return x + block.mlp(block.mlp_norm(x))

    np.testing.assert_allclose(jax.jit(Block.__call__)(BLOCK, X, MASK), by_hand(BLOCK, X), atol=1e-5)


def test_attention_weights_are_those_of_the_forward_pass():
    wanted = jax.jit(lambda block, x: block.attention.weights(block.attention_norm(x), MASK))(BLOCK, X)
    np.testing.assert_allclose(jax.jit(Block.attention_weights)(BLOCK, X, MASK), wanted, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(wanted)[:, ~np.asarray(MASK)], 0)


def test_a_dropped_block_is_the_identity():
    call = jax.jit(lambda rate, key: BLOCK(X, drop_rate=rate, key=key))
    np.testing.assert_array_equal(call(jnp.float32(1.0), jax.random.key(0)), X)
    kept = call(jnp.float32(0.0), jax.random.key(0))
    np.testing.assert_allclose(kept, jax.jit(Block.__call__)(BLOCK, X), atol=1e-5)


def test_the_two_branches_are_dropped_independently():
    call = jax.jit(jax.vmap(lambda key: BLOCK(X, drop_rate=jnp.float32(0.5), key=key)))
    outcomes = np.unique(np.round(call(jax.random.split(jax.random.key(0), 64)), 3), axis=0)
    assert len(outcomes) == 4  # neither, the first, the second, both


def test_every_dropout_of_a_block_has_its_own_key():
    block = build(dropout_rate=0.5)
    call = jax.jit(lambda key: block(X, key=key))
    np.testing.assert_array_equal(call(jax.random.key(1)), call(jax.random.key(1)))
    assert not np.array_equal(call(jax.random.key(1)), call(jax.random.key(2)))
    np.testing.assert_allclose(call(None), jax.jit(Block.__call__)(BLOCK, X), atol=1e-5)


def test_layer_scale_weighs_every_channel_of_both_branches():
    scales = normal(5, 12), normal(6, 12)
    block = Block(BLOCK.attention_norm, BLOCK.attention, BLOCK.mlp_norm, BLOCK.mlp, *scales)

    @jax.jit
    def by_hand(block, x):
        x = x + block.attention(block.attention_norm(x)) * scales[0][None]
        return x + block.mlp(block.mlp_norm(x)) * scales[1][None]

    np.testing.assert_allclose(jax.jit(Block.__call__)(block, X), by_hand(BLOCK, X), atol=1e-5)
