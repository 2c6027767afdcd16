"""Estimates of dimension meet that of sheets, flat and curved; patches of an image, by how far apart they lie."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laminate.analysis.dimension import neighbour_dimension, neighbour_distances, spectrum, two_nn
from laminate.analysis.redundancy import bin_edges, decay, exact_redundancy, redundancy
from laminate.analysis.spectra import normalised, radial_spectrum, token_spectrum


def sheet(dim: int, within: int, *, curved: bool, count: int = 1500) -> np.ndarray:
    """Uniform points of a cube of `dim` sides, laid into more dimensions, flat or rolled up."""
    rng = np.random.default_rng(dim)
    flat = rng.uniform(size=(count, dim))
    if curved:
        angle = 1 + 3 * flat[:, :1]
        flat = np.concatenate([angle * np.cos(angle), angle * np.sin(angle), flat[:, 1:]], axis=1)
    return flat @ np.linalg.qr(rng.normal(size=(within, within)))[0][: flat.shape[1]]


@pytest.mark.parametrize("curved", [False, True])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_neighbours_find_the_dimension_of_sheets(dim: int, curved: bool) -> None:
    points = sheet(dim, 7, curved=curved)
    found = two_nn(points)
    assert found.points == len(points)
    for estimate in (found.mle, found.fit, *neighbour_dimension(points, k=10)):
        np.testing.assert_allclose(estimate, dim, rtol=0.16)


@settings(max_examples=10)
@given(dim=st.integers(1, 6), seed=st.integers(0, 2**16))
def test_of_a_flat_spectrum_all_dimensions_count_and_of_a_line_one(dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(30, dim))
    rows -= rows.mean(axis=0)
    white = np.linalg.svd(rows, full_matrices=False)[0]
    found = spectrum(white @ np.linalg.qr(rng.normal(size=(8, 8)))[0][:dim])
    np.testing.assert_allclose((found.participation_ratio, found.effective_rank), dim, rtol=1e-9)
    assert found.components(0.95) == found.components(0.99) == dim
    line = spectrum(rng.normal(size=(9, 1)) * rng.normal(size=(1, 4)))
    np.testing.assert_allclose((line.participation_ratio, line.effective_rank), 1, rtol=1e-6)


def test_duplicates_are_left_out_where_their_distance_has_no_logarithm() -> None:
    points = sheet(2, 4, curved=False, count=400)
    twice = np.concatenate([points, points[:50]])
    assert two_nn(twice).points == 350
    with pytest.raises(ValueError, match="duplicates"):
        neighbour_dimension(twice, k=5)
    with pytest.raises(ValueError, match="all points are the same"):
        spectrum(np.ones((5, 3)))
    with pytest.raises(ValueError, match="needs 3 points, got 2"):
        two_nn(points[:2])
    with pytest.raises(ValueError, match="NaN"):
        spectrum(np.full((5, 3), np.nan))


@given(offset=st.sampled_from([0.0, 1e4]), k=st.integers(1, 5))
def test_distances_of_neighbours_are_those_of_the_differences(offset: float, k: int) -> None:
    points = np.random.default_rng(0).normal(size=(20, 3)) + offset
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(gaps, np.inf)
    np.testing.assert_allclose(neighbour_distances(points, k), np.sort(gaps, axis=1)[:, :k], rtol=1e-7)


def test_patches_that_are_alike_only_near_each_other_decay_with_distance() -> None:
    """A wave along the columns: the cosine of two patches is the cosine of their distance along it."""
    grid = (3, 8)
    column = np.tile(np.arange(8), 3)
    features = np.stack([np.cos(column / 3), np.sin(column / 3)], axis=1)[None]
    exact = exact_redundancy(features, grid)
    assert exact.squared_distance[0] == 1
    np.testing.assert_allclose(exact.mean[exact.squared_distance == 49], np.cos(7 / 3), atol=1e-7)
    found = redundancy(features, grid, bin_edges(grid, bins=20, max_distance=None))
    # The farthest pairs lie on the last edge, which belongs to no bin.
    assert found.pairs.sum() == 24 * 24 - exact.pairs[-1]
    assert found.mean[0] == 1 and found.std[0] == 0
    lost = decay(found, 7.0)
    assert lost.drop > 1 and 0 < lost.half_distance < 7
    with pytest.raises(ValueError, match="no grid of 2 x 8"):
        redundancy(features, (2, 8), np.linspace(0, 3, 4))


def test_a_wave_has_its_frequency_and_a_constant_none_but_zero() -> None:
    token = np.cos(2 * np.pi * 3 * np.arange(16) / 16)
    along = token_spectrum(np.tile(token[None, :, None], (2, 1, 5)))
    assert along.argmax() == 3 and along.shape == (8,)
    flat = radial_spectrum(np.ones((2, 9, 11, 3)))
    assert flat.shape == (4,) and flat[0] > 0
    np.testing.assert_allclose(flat[2:], 0, atol=1e-12)
    np.testing.assert_allclose(normalised(flat).max(), 1)
    assert not normalised(np.zeros(3)).any()
