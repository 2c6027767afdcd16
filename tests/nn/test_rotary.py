"""Rotation of pairs: relative positions, lengths, tokens in front, and the tables' formulas."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.nn import (
    Attention,
    Rotary,
    centred_grid_angles,
    grid_angles,
    rotation_periods,
    sequence_angles,
)
from tests.oracles.arrays import filled, normal

HEADS, HEAD_DIM, TOKENS = 3, 8, 7
ROTARY = Rotary(sequence_angles(HEAD_DIM, TOKENS))


def test_it_turns_each_pair_of_neighbours_by_its_angle():
    x = np.asarray(normal(0, HEADS, TOKENS, HEAD_DIM), np.float64)
    pairs = x[..., 0::2] + 1j * x[..., 1::2]
    turned = pairs * np.exp(1j * sequence_angles(HEAD_DIM, TOKENS))
    got = np.asarray(ROTARY(normal(0, HEADS, TOKENS, HEAD_DIM)))
    np.testing.assert_allclose(got[..., 0::2], turned.real, atol=1e-5)
    np.testing.assert_allclose(got[..., 1::2], turned.imag, atol=1e-5)


def test_products_depend_on_the_distance_alone():
    q, k = (jnp.broadcast_to(normal(i, HEADS, 1, HEAD_DIM), (HEADS, TOKENS, HEAD_DIM)) for i in (1, 2))
    products = np.asarray(jnp.einsum("htd,hsd->hts", ROTARY(q), ROTARY(k)))
    for distance in range(-TOKENS + 1, TOKENS):
        diagonal = np.diagonal(products, distance, axis1=1, axis2=2)
        np.testing.assert_allclose(diagonal, diagonal[:, :1].repeat(diagonal.shape[1], 1), atol=1e-5)


@given(prefix=st.integers(0, 3))
def test_tokens_in_front_stay_and_lengths_stay(prefix):
    x = normal(3, HEADS, prefix + TOKENS, HEAD_DIM)
    y = ROTARY(x)
    np.testing.assert_array_equal(y[:, :prefix], x[:, :prefix])
    np.testing.assert_allclose(y[:, prefix:], ROTARY(x[:, prefix:]), atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(y, axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5)


@given(head_dim=st.integers(1, 6).map(lambda n: 4 * n), rows=st.integers(1, 4), columns=st.integers(1, 5))
def test_a_grid_has_the_row_in_its_first_half_and_the_column_in_its_second(head_dim, rows, columns):
    angles = grid_angles(head_dim, rows, columns).reshape(rows, columns, head_dim // 2)
    half = head_dim // 2
    for i, j in np.ndindex(rows, columns):
        frequencies = 10000.0 ** (-2.0 * np.arange(half // 2) / half)
        np.testing.assert_allclose(angles[i, j], np.concatenate([i * frequencies, j * frequencies]))


def test_the_known_angles_of_head_dim_72():
    token = grid_angles(72, 16, 16)[18]
    np.testing.assert_allclose(token[:3], [1, 0.59948425, 0.35938137], atol=1e-7)
    np.testing.assert_allclose(token[18:21], [2, 1.1989685, 0.71876273], atol=1e-7)


def test_attention_rotates_queries_and_keys_after_their_norm():
    attention = filled(lambda key: Attention(10, HEADS, head_dim=HEAD_DIM, key=key))
    x = jnp.broadcast_to(normal(4, 1, 10), (TOKENS, 10))
    plain, rotated = attention.weights(x), attention.weights(x, None, ROTARY)
    np.testing.assert_allclose(plain, 1 / TOKENS, atol=1e-6)
    assert float(jnp.std(rotated)) > 1e-3
    np.testing.assert_allclose(attention(x, rotate=lambda a: a), attention(x), atol=1e-6)


def test_other_widths_and_too_few_tokens_are_refused():
    with pytest.raises(ValueError, match="for 7 tokens"):
        ROTARY(normal(0, HEADS, TOKENS - 1, HEAD_DIM))
    with pytest.raises(ValueError, match="head_dim"):
        ROTARY(normal(0, HEADS, TOKENS, HEAD_DIM + 2))
    with pytest.raises(ValueError, match="even"):
        sequence_angles(5, 3)
    with pytest.raises(ValueError, match="divisible by 4"):
        grid_angles(6, 2, 2)


def test_a_centred_grid_has_the_row_and_then_the_column():
    angles = centred_grid_angles(8, 3, 5, base=100.0)
    assert angles.shape == (15, 4)
    for i, j in np.ndindex(3, 5):
        places = (2 * (i + 0.5) / 3 - 1, 2 * (j + 0.5) / 5 - 1)
        wanted = [2 * math.pi * place / 100 ** (k / 2) for place in places for k in range(2)]
        np.testing.assert_allclose(angles[5 * i + j], wanted)


def test_halves_are_turned_like_complex_numbers():
    x, angles = normal(0, 2, 3, 8), np.asarray(normal(1, 3, 4))
    rotary = Rotary(angles, pairing="halves")
    turned = np.asarray(rotary(x))
    wanted = (np.asarray(x[..., :4]) + 1j * np.asarray(x[..., 4:])) * np.exp(1j * angles)
    np.testing.assert_allclose(turned[..., :4] + 1j * turned[..., 4:], wanted, atol=1e-5)
    assert rotary(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


@given(
    pairing=st.sampled_from(["neighbours", "halves"]),
    prefix=st.integers(0, 2),
    spread=st.sampled_from([1.0, 100.0, 1e-3]),
    seed=st.integers(0, 2**16),
)
def test_bfloat16_is_turned_in_float32_and_rounded_once_forward_and_backward(pairing, prefix, spread, seed):
    rotary = Rotary(sequence_angles(HEAD_DIM, TOKENS, theta=3.0), pairing=pairing)
    x, weights = (
        (spread * normal(seed + n, HEADS, prefix + TOKENS, HEAD_DIM)).astype(jnp.bfloat16) for n in (0, 1)
    )
    product = lambda x: jnp.sum((rotary(x) * weights.astype(x.dtype)).astype(jnp.float32))
    for function in (rotary, jax.grad(product)):
        rough, fine = function(x), function(x.astype(jnp.float32))
        assert rough.dtype == jnp.bfloat16
        # half a unit in the last of eight bits, and the rounding of float32 where both parts cancel
        np.testing.assert_allclose(
            rough.astype(jnp.float32), fine, rtol=2.0**-8, atol=2.0**-20 * float(jnp.max(jnp.abs(fine)))
        )


def test_periods_of_the_released_head_are_powers_of_a_hundred():
    np.testing.assert_allclose(rotation_periods(64), 100 ** (np.arange(16) / 16))
    with pytest.raises(ValueError, match="divisible by 4, got head_dim=6"):
        centred_grid_angles(6, 2, 2)


def test_attention_with_biases_for_some_parts_is_that_with_zeros_for_the_others():
    partial = filled(lambda key: Attention(6, 2, head_dim=4, bias=(True, False, True), key=key))
    whole = filled(lambda key: Attention(6, 2, head_dim=4, key=key))
    assert partial.qkv.bias is None and partial.partial_bias.shape == (2, 8)
    rows = np.zeros((3, 8), np.float32)
    rows[[0, 2]] = partial.partial_bias
    whole = eqx.tree_at(
        lambda a: (a.qkv.weight, a.qkv.bias, a.out.weight, a.out.bias),
        whole,
        (partial.qkv.weight, jnp.asarray(rows.reshape(-1)), partial.out.weight, partial.out.bias),
    )
    x, rotate = normal(3, 5, 6), Rotary(centred_grid_angles(4, 2, 2), pairing="halves")
    run = jax.jit(lambda attention, x: attention(x, None, rotate))
    np.testing.assert_allclose(run(partial, x), run(whole, x), atol=1e-6)
    plain = jax.jit(lambda attention, x: attention(x))
    assert not np.allclose(run(partial, x), plain(partial, x), atol=1e-3)
