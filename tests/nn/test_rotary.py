"""Rotary positions against their formula."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.nn import Attention, Rotation, grid_rotation, rotate_halves, rotation_periods
from tests.oracles.arrays import filled, normal


def test_angles_are_rows_then_columns_twice_and_the_first_tokens_are_not_turned():
    cos, sin = grid_rotation(8, (3, 5), base=100.0, unturned=2)
    assert cos.shape == sin.shape == (2 + 15, 8) and cos.dtype == jnp.float32
    np.testing.assert_array_equal(cos[:2], 1)
    np.testing.assert_array_equal(sin[:2], 0)
    for i in range(3):
        for j in range(5):
            places = (2 * (i + 0.5) / 3 - 1, 2 * (j + 0.5) / 5 - 1)
            angles = [2 * math.pi * place / 100 ** (k / 2) for place in places for k in range(2)] * 2
            np.testing.assert_allclose(cos[2 + 5 * i + j], np.cos(angles), atol=1e-6)
            np.testing.assert_allclose(sin[2 + 5 * i + j], np.sin(angles), atol=1e-6)


def test_pairs_are_turned_like_complex_numbers():
    x, angles = normal(0, 2, 3, 8), np.asarray(normal(1, 3, 4))
    turn = np.concatenate([angles, angles], axis=1)
    rotation = Rotation(jnp.cos(jnp.asarray(turn)), jnp.sin(jnp.asarray(turn)))
    turned = np.asarray(jax.jit(rotate_halves)(x, rotation))
    wanted = (np.asarray(x[..., :4]) + 1j * np.asarray(x[..., 4:])) * np.exp(1j * angles)
    np.testing.assert_allclose(turned[..., :4] + 1j * turned[..., 4:], wanted, atol=1e-5)
    assert rotate_halves(x.astype(jnp.bfloat16), rotation).dtype == jnp.bfloat16


def test_periods_of_the_released_head_are_powers_of_a_hundred():
    np.testing.assert_allclose(rotation_periods(64), 100 ** (np.arange(16) / 16))
    with pytest.raises(ValueError, match="divisible by 4, got head_dim=6"):
        grid_rotation(6, (2, 2))


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
    x, rotation = normal(3, 5, 6), grid_rotation(4, (2, 2), unturned=1)
    run = jax.jit(lambda attention, x: attention(x, None, rotation))
    np.testing.assert_allclose(run(partial, x), run(whole, x), atol=1e-6)
    plain = jax.jit(lambda attention, x: attention(x))
    assert not np.allclose(run(partial, x), plain(partial, x), atol=1e-3)
