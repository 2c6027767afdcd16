"""Neighbours and balls, found by products in float32, are those of differences in float64."""

import numpy as np
import pytest

from laminate.evals import neighbours
from laminate.evals.neighbours import in_balls, nearest


def squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack([np.square(row - y.astype(np.float64)).sum(axis=1) for row in x.astype(np.float64)])


@pytest.fixture
def small_tiles(monkeypatch) -> None:
    monkeypatch.setattr(neighbours, "ROWS", 32)
    monkeypatch.setattr(neighbours, "COLUMNS", 64)


@pytest.mark.parametrize("spread", [1.0, 1e-6])
def test_in_tiles_and_in_clusters_denser_than_float32_resolves_they_are_the_nearest(
    small_tiles, spread: float
) -> None:
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(3, 7)), 50, axis=0)
    points = centres + spread * rng.normal(size=(150, 7))
    gaps = squares(points, points)
    np.fill_diagonal(gaps, np.inf)
    found = nearest(points, points, 4, itself=True)
    np.testing.assert_allclose(found.values, np.sort(gaps, axis=1)[:, :4], rtol=1e-9)
    alike = nearest(points, points[:90], 4, by="product")
    np.testing.assert_allclose(alike.values, -np.sort(-(points @ points[:90].T), axis=1)[:, :4], rtol=1e-9)
    directions = points / np.linalg.norm(points, axis=1, keepdims=True)
    likeness = directions @ directions.T
    np.fill_diagonal(likeness, -np.inf)
    turned = nearest(points, points, 4, by="cosine", itself=True)
    np.testing.assert_allclose(turned.values, -np.sort(-likeness, axis=1)[:, :4], rtol=1e-12)


def test_a_feature_of_length_zero_is_like_no_other_and_of_equals_the_first_is_taken() -> None:
    others = np.asarray([[0.0, -2.0], [0.0, 0.0], [3.0, 0.0], [1.0, 0.0]])
    found = nearest(np.asarray([[5.0, 0.0], [0.0, 0.0]]), others, 3, by="cosine")
    assert found.places.tolist() == [[2, 3, 0], [0, 1, 2]]
    np.testing.assert_array_equal(found.values, [[1, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize("spread", [1.0, 1e-6])
def test_a_feature_is_in_a_ball_if_the_difference_says_so(small_tiles, spread: float) -> None:
    rng = np.random.default_rng(1)
    points = 1.0 + spread * rng.normal(size=(120, 5))
    x, y = points[:70], points[50:]  # some are in both, at distance zero
    radii, other_radii = (nearest(each, each, 3, itself=True).values[:, -1] for each in (x, y))
    found, other_found = in_balls(x, y, radii, other_radii)
    gaps = squares(x, y)
    np.testing.assert_array_equal(found, (gaps <= other_radii[None, :]).any(axis=1))
    np.testing.assert_array_equal(other_found, (gaps <= radii[:, None]).any(axis=0))


def test_what_has_fewer_neighbours_is_refused() -> None:
    with pytest.raises(ValueError, match="k=3 must be between 1 and the 2 others"):
        nearest(np.ones((3, 2)), np.ones((3, 2)), 3, itself=True)
