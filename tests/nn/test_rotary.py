"""Rotation of pairs: relative positions, lengths, tokens in front, and the tables' formulas."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.nn import Attention, Rotary, grid_angles, sequence_angles
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
