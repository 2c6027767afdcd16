"""Features in false colours."""

import numpy as np
import pytest

from laminate.analysis.false_colours import false_colours

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(5, 9, 7)) * np.array([0.1, 8.0, 0.1, 4.0, 0.1, 2.0, 0.1]) + 3.0


def test_red_green_and_blue_are_the_directions_of_most_variance():
    picture, same = false_colours(FEATURES, FEATURES)
    assert picture.shape == (5, 3, 3, 3) and picture.min() >= 0.0 and picture.max() <= 1.0
    np.testing.assert_array_equal(picture, same)
    for colour, feature in enumerate((1, 3, 5)):
        pairs = np.corrcoef(picture[..., colour].ravel(), FEATURES[..., feature].ravel())
        assert pairs[0, 1] > 0.97


def test_a_reconstruction_has_the_colours_of_its_original():
    shift = np.zeros(7)
    shift[1] = 4.0
    picture, moved = false_colours(FEATURES, FEATURES + shift)
    inside = (picture[..., 0] > 0.05) & (moved[..., 0] < 0.95)
    assert (moved[..., 0] > picture[..., 0])[inside].all()
    np.testing.assert_allclose(moved[..., 1:], picture[..., 1:], atol=0.05)


def test_few_features_and_none_that_vary_are_drawn_too():
    flat = np.ones((2, 4, 2))
    np.testing.assert_allclose(false_colours(flat, flat)[0], 0.5)
    with pytest.raises(ValueError, match="5 tokens do not form a square"):
        false_colours(np.ones((2, 5, 3)), np.ones((2, 5, 3)))


def test_a_grid_says_how_tokens_stand():
    square, _ = false_colours(FEATURES, FEATURES)
    count, rows, columns, _ = square.shape
    row, _ = false_colours(FEATURES, FEATURES, grid=(1, rows * columns))
    np.testing.assert_array_equal(row.reshape(square.shape), square)
    with pytest.raises(ValueError, match=f"{rows * columns} tokens do not form 2 rows of 7"):
        false_colours(FEATURES, FEATURES, grid=(2, 7))
    assert count == len(FEATURES)
