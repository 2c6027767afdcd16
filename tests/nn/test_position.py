"""Position tables against their formulas."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.nn import resize_grid, sincos_1d, sincos_2d
from laminate.nn.position import as_table, square


@given(half=st.integers(1, 9), count=st.integers(1, 8))
def test_one_dimensional_sincos_is_its_formula(half, count):
    table = sincos_1d(2 * half, np.arange(count, dtype=np.float64))
    assert table.dtype == np.float64 and table.shape == (count, 2 * half)
    for p in range(count):
        for j in range(half):
            angle = p * 10000.0 ** (-j / half)
            assert table[p, j] == pytest.approx(math.sin(angle), abs=1e-12)
            assert table[p, half + j] == pytest.approx(math.cos(angle), abs=1e-12)


@given(quarter=st.integers(1, 5), rows=st.integers(1, 5), columns=st.integers(1, 6))
def test_two_dimensional_sincos_has_the_columns_in_its_first_half(quarter, rows, columns):
    dim = 4 * quarter
    table = sincos_2d(dim, rows, columns).reshape(rows, columns, dim)
    by_column = sincos_1d(dim // 2, np.arange(columns, dtype=np.float64))
    by_row = sincos_1d(dim // 2, np.arange(rows, dtype=np.float64))
    np.testing.assert_allclose(table[..., : dim // 2], np.broadcast_to(by_column, (rows, columns, dim // 2)))
    np.testing.assert_allclose(
        table[..., dim // 2 :].swapaxes(0, 1), np.broadcast_to(by_row, (columns, rows, dim // 2))
    )


def test_positions_are_told_apart_and_have_one_length():
    table = sincos_2d(16, 6, 7)
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), np.sqrt(8))
    distances = np.linalg.norm(table[:, None] - table[None], axis=-1)
    assert distances[~np.eye(42, dtype=bool)].min() > 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sincos_1d(5, np.arange(3.0)), "even dim, got dim=5"),
        (lambda: sincos_2d(6, 2, 2), "divisible by 4, got dim=6"),
        (lambda: square(12), "12 patches do not form a square grid; the nearest squares are 4, 9 and 16"),
    ],
)
def test_impossible_tables_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(side=st.integers(1, 2000))
def test_the_square_of_a_square_number_is_its_root(side):
    assert square(side * side) == (side, side)


@given(grid=st.sampled_from([(2, 3), (3, 5), (4, 4)]), to=st.sampled_from([(2, 3), (4, 4), (6, 5), (1, 1)]))
def test_a_resized_constant_table_stays_constant(grid, to):
    table = jnp.broadcast_to(jnp.asarray([[1.5, -2.0]]), (grid[0] * grid[1], 2))
    resized = resize_grid(table, grid, to)
    assert resized.shape == (to[0] * to[1], 2)
    np.testing.assert_allclose(resized, np.broadcast_to([[1.5, -2.0]], resized.shape), rtol=1e-6)


def test_the_same_grid_is_left_alone():
    table = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)
    assert resize_grid(table, (2, 3), (2, 3)) is table


def test_doubling_a_row_interpolates_between_the_centres_of_its_cells():
    table = jnp.asarray([[0.0], [4.0]])
    np.testing.assert_allclose(resize_grid(table, (1, 2), (1, 4))[:, 0], [0.0, 1.0, 3.0, 4.0], atol=1e-6)
    # Halving averages (antialiasing), so a transposed table gives the transposed answer.
    grid = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6, 1)), jnp.float32)
    wide = resize_grid(grid.reshape(24, 1), (4, 6), (2, 3)).reshape(2, 3)
    tall = resize_grid(grid.swapaxes(0, 1).reshape(24, 1), (6, 4), (3, 2)).reshape(3, 2)
    np.testing.assert_allclose(wide, tall.T, atol=1e-6)


def test_a_table_becomes_a_float32_array():
    assert as_table(np.zeros((2, 4))).dtype == jnp.float32
