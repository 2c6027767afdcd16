"""Attention against numpy, its symmetries, and its probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.nn import Attention, LayerNorm, RMSNorm
from tests.oracles.arrays import filled, normal

TOKENS, HEADS, HEAD_DIM, DIM = 7, 3, 4, 10
CALL = jax.jit(lambda attention, x, mask=None: attention(x, mask))
WEIGHTS = jax.jit(lambda attention, x, mask=None: attention.weights(x, mask))


def build(**options):
    return filled(lambda key: Attention(DIM, HEADS, head_dim=HEAD_DIM, key=key, **options), scale=0.4)


PLAIN, NORMED = build(), build(qk_norm=LayerNorm)


def oracle(module, x, mask=None):
    x = np.asarray(x, np.float64)
    qkv = x @ np.asarray(module.qkv.weight, np.float64).T + np.asarray(module.qkv.bias)
    q, k, v = (part.reshape(-1, HEADS, HEAD_DIM) for part in np.split(qkv, 3, axis=-1))
    if module.q_norm is not None:
        q, k = normed(module.q_norm, q), normed(module.k_norm, k)
    logits = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(HEAD_DIM)
    if mask is not None:
        logits = np.where(mask, logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    y = np.einsum("hqk,khd->qhd", weights, v).reshape(len(x), -1)
    return y @ np.asarray(module.out.weight, np.float64).T + np.asarray(module.out.bias), weights


def normed(norm, x):
    if isinstance(norm, LayerNorm):
        x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-6) * np.asarray(norm.scale)


def masks():
    """Square masks in which every query sees itself at least."""
    return (
        st.integers(0, 2**16)
        .map(lambda seed: np.random.default_rng(seed).random((TOKENS, TOKENS)) < 0.5)
        .map(lambda mask: mask | np.eye(TOKENS, dtype=bool))
    )


@pytest.mark.parametrize("qk_norm", [None, LayerNorm, RMSNorm])
@pytest.mark.parametrize("remat", [False, True])
def test_it_is_the_softmax_attention_of_the_equation(qk_norm, remat):
    module = build(qk_norm=qk_norm, remat=remat)
    x = normal(1, TOKENS, DIM)
    y, weights = oracle(module, x)
    np.testing.assert_allclose(CALL(module, x), y, atol=3e-5)
    if not remat:
        np.testing.assert_allclose(WEIGHTS(module, x), weights, atol=1e-5)


@given(mask=masks(), seed=st.integers(0, 99))
def test_a_mask_hides_keys(mask, seed):
    x = normal(seed, TOKENS, DIM)
    y, weights = oracle(NORMED, x, mask)
    np.testing.assert_allclose(CALL(NORMED, x, jnp.asarray(mask)), y, atol=3e-5)
    np.testing.assert_allclose(WEIGHTS(NORMED, x, jnp.asarray(mask)), weights, atol=1e-5)


@given(seed=st.integers(0, 99))
def test_what_is_masked_has_no_influence(seed):
    x, other = normal(seed, TOKENS, DIM), normal(seed + 1000, TOKENS, DIM)
    mask = jnp.ones((TOKENS, TOKENS), bool).at[:, 5:].set(False)
    changed = jnp.concatenate([x[:5], other[5:]])
    np.testing.assert_array_equal(CALL(PLAIN, x, mask)[:5], CALL(PLAIN, changed, mask)[:5])


@given(seed=st.integers(0, 99), large=st.sampled_from([1.0, 30.0]))
def test_the_weights_of_a_query_sum_to_one_and_make_its_output(seed, large):
    x = normal(seed, TOKENS, DIM) * large
    weights = np.asarray(WEIGHTS(NORMED, x), np.float64)
    assert weights.shape == (HEADS, TOKENS, TOKENS) and (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    values = np.split(np.asarray(jax.jit(NORMED.qkv.__call__)(x), np.float64), 3, axis=-1)[2]
    mixed = np.einsum("hqk,khd->qhd", weights, values.reshape(TOKENS, HEADS, HEAD_DIM)).reshape(TOKENS, -1)
    wanted = mixed @ np.asarray(NORMED.out.weight, np.float64).T + np.asarray(NORMED.out.bias)
    np.testing.assert_allclose(CALL(NORMED, x), wanted, atol=3e-5 * large)


@given(order=st.permutations(range(TOKENS)), seed=st.integers(0, 99))
def test_permuted_tokens_give_permuted_outputs(order, seed):
    x = normal(seed, TOKENS, DIM)
    np.testing.assert_allclose(
        CALL(PLAIN, x[np.asarray(order)]), CALL(PLAIN, x)[np.asarray(order)], atol=1e-5
    )


def test_recomputing_the_probabilities_changes_no_gradient():
    x = normal(1, TOKENS, DIM)
    gradient = jax.jit(jax.grad(lambda module, x: jnp.sum(jnp.square(module(x)))))
    for kept, remade in zip(
        jax.tree.leaves(gradient(NORMED, x)),
        jax.tree.leaves(gradient(build(qk_norm=LayerNorm, remat=True), x)),
        strict=True,
    ):
        np.testing.assert_allclose(remade, kept, rtol=1e-5, atol=1e-6)


def test_half_precision_stays_half_precision_and_its_softmax_is_float32():
    x = normal(1, TOKENS, DIM).astype(jnp.bfloat16)
    assert CALL(NORMED, x).dtype == jnp.bfloat16
    weights = WEIGHTS(NORMED, x)
    assert weights.dtype == jnp.float32
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(CALL(NORMED, x).astype(jnp.float32), oracle(NORMED, x)[0], atol=0.1)


def test_query_and_key_norms_have_a_scale_and_no_bias():
    module = filled(lambda key: Attention(12, 3, qk_norm=LayerNorm, key=key))
    assert module.head_dim == 4 and module.q_norm.scale.shape == (4,) and module.q_norm.bias is None
    assert filled(lambda key: Attention(12, 3, key=key)).k_norm is None


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match=r"dim=10 cannot be split over heads=3.*pass head_dim"):
        Attention(10, 3, key=jax.random.key(0))


def test_a_kernel_that_this_machine_lacks_is_refused():
    if jax.default_backend() == "gpu":
        pytest.skip("the kernel may be there")
    with pytest.raises((RuntimeError, ValueError, NotImplementedError)):
        build(kernel="cudnn")(normal(1, TOKENS, DIM))


@pytest.mark.parametrize("bias", [True, False, (True, False, True)])
def test_half_precision_projects_to_the_heads_of_float32(bias):
    module, x = build(bias=bias), normal(3, TOKENS, DIM)
    wide, half = (np.asarray(CALL(module, x.astype(dtype)), np.float32) for dtype in ("float32", "bfloat16"))
    np.testing.assert_allclose(half, wide, atol=0.03 * np.abs(wide).max())
