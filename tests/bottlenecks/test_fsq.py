"""Laws of finite scalar quantisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.bottlenecks.fsq import Fsq
from tests.oracles import fsq as oracle

_LEVELS = st.lists(st.integers(2, 8), min_size=1, max_size=3).map(tuple)


@given(levels=_LEVELS)
def test_indices_and_codes_are_one_to_one_over_the_whole_codebook(levels: tuple[int, ...]) -> None:
    fsq = Fsq(levels)
    every = jnp.arange(fsq.codebook_size, dtype=jnp.int32)
    codes = jax.jit(fsq.codes_from_indices)(every)
    np.testing.assert_allclose(codes, oracle.codebook(levels), atol=1e-6)
    np.testing.assert_array_equal(jax.jit(fsq.indices_from_codes)(codes), every)


@given(levels=_LEVELS)
def test_every_code_is_reached_and_is_its_own_quantisation(levels: tuple[int, ...]) -> None:
    fsq = Fsq(levels)
    codes = np.asarray(oracle.codebook(levels), np.float32)
    inside = (codes * fsq.half_width + fsq.offset) / fsq.half_l
    pre_image = np.arctanh(np.clip(inside, -0.99999, 0.99999)) - fsq.shift
    np.testing.assert_array_equal(jax.jit(fsq.codes)(jnp.asarray(pre_image, jnp.float32)), codes)


@given(levels=_LEVELS, seed=st.integers(0, 2**16))
def test_bound_and_gradient_are_the_analytic_ones(levels: tuple[int, ...], seed: int) -> None:
    fsq = Fsq(levels)
    z = np.random.default_rng(seed).normal(size=(5, len(levels))).astype(np.float32)
    bounded = [[oracle.bound(float(v), level) for v, level in zip(row, levels, strict=True)] for row in z]
    slopes = [[oracle.slope(float(v), level) for v, level in zip(row, levels, strict=True)] for row in z]
    np.testing.assert_allclose(jax.jit(fsq.bound)(jnp.asarray(z)), bounded, atol=2e-6)
    gradient = jax.jit(jax.grad(lambda z: jnp.sum(fsq.codes(z))))(jnp.asarray(z))
    np.testing.assert_allclose(gradient, slopes, atol=2e-6)


@given(levels=_LEVELS, codebooks=st.integers(1, 4), seed=st.integers(0, 2**16))
def test_several_codebooks_are_one_for_each_group_of_channels(
    levels: tuple[int, ...], codebooks: int, seed: int
) -> None:
    fsq, one = Fsq(levels, codebooks=codebooks), Fsq(levels)
    assert fsq.in_features == fsq.out_features == codebooks * len(levels)
    assert fsq.codebook_size == one.codebook_size
    z = np.random.default_rng(seed).normal(0.0, 2.0, (5, fsq.in_features)).astype(np.float32)
    codes, quantised = fsq(jnp.asarray(z))
    groups = [one(jnp.asarray(group)) for group in np.split(z, codebooks, axis=-1)]
    np.testing.assert_array_equal(codes, np.concatenate([group[0] for group in groups], axis=-1))
    stacked = np.stack([group[1].indices for group in groups], axis=-1)
    np.testing.assert_array_equal(quantised.indices, stacked[:, 0] if codebooks == 1 else stacked)
    np.testing.assert_array_equal(fsq.codes_from_indices(quantised.indices), codes)


def test_a_token_without_a_codebook_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one codebook, got codebooks=0"):
        Fsq((5, 3), codebooks=0)


def test_ties_round_to_even() -> None:
    np.testing.assert_array_equal(jnp.round(jnp.asarray([-1.5, -0.5, 0.5, 1.5, 2.5])), [-2, 0, 0, 2, 2])


def test_codes_are_float32_and_indices_int32_whatever_comes_in() -> None:
    fsq = Fsq((8, 5, 3))
    tokens = jnp.linspace(-2.0, 2.0, 12).reshape(4, 3).astype(jnp.bfloat16)
    codes, quantised = fsq(tokens)
    assert (codes.dtype, quantised.indices.dtype, quantised.continuous.dtype) == (
        jnp.float32,
        jnp.int32,
        jnp.float32,
    )
    np.testing.assert_array_equal(fsq.codes_from_indices(quantised.indices), codes)
    np.testing.assert_array_equal(fsq(tokens, key=jax.random.key(0))[0], codes)


def test_there_is_nothing_to_train() -> None:
    assert not jax.tree.leaves(Fsq((8, 5, 5, 5)))


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ((), "levels is empty"),
        ((8, 1), "at least 2, got \\(8, 1\\)"),
        ((0,), "at least 2"),
        ((1001, 3), "outermost codes of 1001 levels are never reached"),
        ((9,) * 10, "more than an int32 index"),
    ],
)
def test_impossible_levels_are_refused(levels: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fsq(levels)
