"""Doubling against its closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.nn import duplicate_up, nearest_double, pixel_shuffle, repeat_channels
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


def test_channels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="and 6 are given"):
        pixel_shuffle(normal(0, 1, 1, 6))
    with pytest.raises(ValueError, match="4 channels cannot be repeated to 6"):
        repeat_channels(normal(0, 1, 1, 4), 6)
