"""The attention kernels for TPUs against attention as XLA computes it, in Pallas's simulation of a TPU."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import Mesh, PartitionSpec

from laminate.nn import Attention, LayerNorm, Padding, flash
from laminate.nn.flash import flash_attention
from laminate.nn.sight import attended, raster_band
from laminate.runs.devices import compute_on
from tests.oracles.arrays import filled, normal

HEADS, DIM = 3, 8


def simulated(function):
    """`function`, compiled, with its kernels in a simulation."""
    compiled = jax.jit(function)

    def run(*arguments):
        with pltpu.force_tpu_interpret_mode():
            return compiled(*arguments)

    return run


def with_gradients(attend, *arrays):
    """The result and the gradients of all arrays."""
    y, pull = jax.vjp(attend, *arrays)
    return y, *pull(jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape).astype(y.dtype))


@simulated
def by_kernel(q, k, v, seen):
    return with_gradients(lambda *qkv: flash_attention(*qkv, seen), q, k, v)


@jax.jit
def by_xla(q, k, v, seen):
    seen = jnp.broadcast_to(seen, (q.shape[1], q.shape[1]))
    return with_gradients(lambda *qkv: attended(*qkv, seen), q, k, v)


def agree(ours, theirs, *, of_peak):
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        one, other = np.asarray(one, np.float32), np.asarray(other, np.float32)
        np.testing.assert_allclose(one, other, atol=of_peak * max(1.0, np.abs(other).max()))


def arrays(tokens, seed=0, dtype="float32"):
    random = np.random.default_rng(seed)
    return [jnp.asarray(2 * random.standard_normal((HEADS, tokens, DIM)), dtype) for _ in range(3)]


@settings(max_examples=6)
@given(tokens=st.sampled_from([5, 13]), seed=st.integers(0, 99), density=st.sampled_from([0.0, 0.3, 1.0]))
def test_it_is_softmax_attention_with_its_gradients_whatever_is_masked(tokens, seed, density):
    seen = jnp.asarray(np.random.default_rng(seed).random((tokens, tokens)) < density)
    given_ = arrays(tokens, seed)
    agree(by_kernel(*given_, seen), by_xla(*given_, seen), of_peak=3e-6)


@pytest.mark.parametrize(("dtype", "of_peak"), [("float32", 3e-6), ("bfloat16", 0.02)])
def test_blocks_of_queries_and_heads_change_nothing(monkeypatch, dtype, of_peak):
    monkeypatch.setattr(flash, "_BLOCK_LOGITS", 2**14)
    monkeypatch.setattr(flash, "_BLOCK_BYTES", 1)
    assert flash._query_block(300) == 128
    seen = jnp.asarray(np.random.default_rng(0).random((1, 300)) < 0.6)
    given_ = arrays(300, dtype=dtype)
    agree(by_kernel(*given_, seen), by_xla(*given_, seen), of_peak=of_peak)


@given(tokens=st.integers(1, flash.MOST_TOKENS))
def test_a_block_of_queries_is_all_of_them_or_whole_vectors(tokens):
    block = flash._query_block(tokens)
    assert block == tokens or (block % 128 == 0 and block < tokens)
    assert block * tokens <= max(flash._BLOCK_LOGITS, 128 * tokens)


def module(kernel):
    return filled(
        lambda key: Attention(10, HEADS, head_dim=4, qk_norm=LayerNorm, kernel=kernel, key=key), scale=0.4
    )


def test_a_batch_of_padded_images_is_that_of_xla():
    x, valid = normal(1, 2, 7, 10), jnp.arange(6)[None] < jnp.asarray([[4], [6]])

    def turned(a):
        return a * jnp.cos(jnp.arange(7.0))[None, :, None]

    def images(attention, x):
        return jax.vmap(lambda x, valid: attention(x, Padding(valid, 1), turned))(x, valid)

    ours = simulated(lambda x: with_gradients(partial(images, module("pallas")), x))(x)
    theirs = jax.jit(lambda x: with_gradients(partial(images, module("xla")), x))(x)
    agree(ours, theirs, of_peak=1e-5)


def test_it_is_traced_in_a_map_over_devices_that_checks_what_varies():
    attention = module("pallas")
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("data",))

    def loss(attention, x):
        each = jax.vmap(lambda x: attention(x, Padding(jnp.arange(7) < 5)))(x)
        return jax.lax.pmean(jnp.mean(jnp.square(each)), "data")

    sharded = jax.shard_map(
        jax.grad(loss),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec("data")),
        out_specs=PartitionSpec(),
    )
    found = jax.eval_shape(sharded, attention, normal(1, 4, 7, 10))
    assert found.qkv.weight.shape == attention.qkv.weight.shape


def test_what_the_kernel_cannot_do_is_refused_with_what_can():
    with pytest.raises(ValueError, match="at most 4096 tokens, got 4097: use kernel='xla'"):
        jax.eval_shape(lambda q: flash_attention(q, q, q, None), jnp.zeros((1, 4097, 8)))
    with pytest.raises(ValueError, match="Windows are attended to by kernel='xla'"):
        module("pallas")(normal(1, 40, 10), raster_band(jnp.ones(40, bool), 1))
    if jax.default_backend() != "tpu":
        with pytest.raises(ValueError, match=r"--attention pallas .*is for TPUs.*use xla"):
            compute_on("auto", "pallas")
