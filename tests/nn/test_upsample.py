"""Doubling against its closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laminate.nn import (
    average_channels,
    average_down,
    duplicate_up,
    nearest_double,
    pixel_shuffle,
    pixel_unshuffle,
    repeat_channels,
)
from tests.oracles.arrays import normal


@given(rows=st.integers(1, 4), columns=st.integers(1, 5), ratio=st.sampled_from([1, 2, 4, 8]))
def test_the_shortcut_of_an_up_sampling_is_its_closed_form(rows, columns, ratio):
    channels = 8
    out = ratio * channels // 4
    x = normal(ratio, rows, columns, channels)
    wanted = np.zeros((2 * rows, 2 * columns, out), np.float32)
    for i, j, c in np.ndindex(wanted.shape):
        wanted[i, j, c] = np.asarray(x)[i // 2, j // 2, (4 * c + 2 * (i % 2) + j % 2) // ratio]
    np.testing.assert_array_equal(duplicate_up(x, out), wanted)


def test_without_a_change_of_channels_it_repeats_places():
    x = normal(0, 3, 5, 2)
    np.testing.assert_array_equal(duplicate_up(x, 2), nearest_double(x))
    np.testing.assert_array_equal(nearest_double(x)[1::2, ::2], x)


def test_shuffling_keeps_every_number():
    x = normal(0, 3, 5, 12)
    y = pixel_shuffle(x)
    assert y.shape == (6, 10, 3)
    np.testing.assert_array_equal(np.sort(y, axis=None), np.sort(x, axis=None))


@settings(max_examples=8)  # each shape is compiled
@given(rows=st.integers(1, 3), columns=st.integers(1, 2), channels=st.integers(1, 3))
def test_unshuffling_is_the_inverse_of_shuffling_and_takes_a_channel_s_square_together(
    rows, columns, channels
):
    x = normal(channels, 2 * rows, 2 * columns, channels)
    y = pixel_unshuffle(x)
    np.testing.assert_array_equal(pixel_shuffle(y), x)
    np.testing.assert_array_equal(pixel_unshuffle(pixel_shuffle(y)), y)
    cut, pixels = np.asarray(y), np.asarray(x)
    for c, a, b in np.ndindex(channels, 2, 2):
        np.testing.assert_array_equal(cut[:, :, 4 * c + 2 * a + b], pixels[a::2, b::2, c])


@settings(max_examples=8)
@given(rows=st.integers(1, 3), columns=st.integers(1, 2), group=st.sampled_from([1, 2, 4, 8]))
def test_the_shortcut_of_a_down_sampling_is_its_closed_form(rows, columns, group):
    channels = 4
    out = 4 * channels // group
    x = normal(group, 2 * rows, 2 * columns, channels)
    wanted, pixels = np.zeros((rows, columns, out), np.float64), np.asarray(x)
    for i, j, n in np.ndindex(rows, columns, 4 * channels):
        wanted[i, j, n // group] += pixels[2 * i + n % 4 // 2, 2 * j + n % 2, n // 4] / group
    np.testing.assert_allclose(average_down(x, out), wanted, atol=1e-6)


@settings(max_examples=8)
@given(rows=st.integers(1, 3), columns=st.integers(1, 2), ratio=st.sampled_from([1, 2, 4, 8]))
def test_the_shortcuts_undo_each_other_one_way(rows, columns, ratio):
    x = normal(ratio, rows, columns, 8)
    np.testing.assert_allclose(average_down(duplicate_up(x, 2 * ratio), 8), x, atol=1e-6)
    np.testing.assert_allclose(average_channels(repeat_channels(x, 8 * ratio), 8), x, atol=1e-6)
    # The mean of all is kept the other way too: no brightness is lost on the way down.
    np.testing.assert_allclose(np.mean(average_channels(x, 8 // ratio)), np.mean(x), atol=1e-6)


def test_channels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="and 6 are given"):
        pixel_shuffle(normal(0, 1, 1, 6))
    with pytest.raises(ValueError, match="4 channels cannot be repeated to 6"):
        repeat_channels(normal(0, 1, 1, 4), 6)
    with pytest.raises(ValueError, match="6 channels cannot be averaged to 4"):
        average_channels(normal(0, 1, 1, 6), 4)
