"""Estimates of information meet what is known of Gaussians."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laminate.analysis.information import (
    gaussian_information,
    ksg_information,
    scalar_correlation,
    token_correlation,
    token_mean_correlation,
    within_correlation,
)


def gaussians(covariance: np.ndarray, count: int, tokens: int, seed: int = 0) -> np.ndarray:
    """A set whose sample covariance is exactly this one."""
    rows = np.random.default_rng(seed).normal(size=(count, len(covariance)))
    rows -= rows.mean(axis=0)
    rows = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows, rowvar=False))).T
    return (rows @ np.linalg.cholesky(covariance).T).reshape(count, tokens, -1)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**16))
def test_of_a_known_covariance_they_are_its_determinants(seed: int) -> None:
    root = np.random.default_rng(seed).normal(size=(6, 9))
    covariance = root @ root.T
    latents = gaussians(covariance, 40, tokens=3, seed=seed)
    logdet = lambda c: np.linalg.slogdet(c)[1]
    blocks = [covariance[2 * t : 2 * t + 2, 2 * t : 2 * t + 2] for t in range(3)]
    expected = (sum(map(logdet, blocks)) - logdet(covariance)) / 2
    found = token_correlation(latents)
    np.testing.assert_allclose(found.total, expected, rtol=1e-3, atol=1e-3)
    inside = np.asarray([(np.log(np.diag(b)).sum() - logdet(b)) / 2 for b in blocks])
    np.testing.assert_allclose(within_correlation(latents).per_token, inside, rtol=1e-3, atol=1e-3)
    # What all numbers share is what tokens share, and what is shared within each.
    np.testing.assert_allclose(scalar_correlation(latents), expected + inside.sum(), rtol=1e-3, atol=1e-3)
    pairs = gaussian_information(latents)
    both = np.ix_([0, 1, 4, 5], [0, 1, 4, 5])
    known = (logdet(blocks[0]) + logdet(blocks[2]) - logdet(covariance[both])) / 2
    np.testing.assert_allclose((pairs[0, 2], pairs[2, 0]), known, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(pairs[1, 1], (2 * np.log(2 * np.pi * np.e) + logdet(blocks[1])) / 2, rtol=1e-3)


def test_independent_tokens_share_nothing_but_the_bias_of_few_images() -> None:
    """The excess falls as one over the images: `(D^2 - sum d^2) / (4 images)`."""
    rng = np.random.default_rng(0)
    for count in (200, 800):
        found = np.mean([token_correlation(rng.normal(size=(count, 3, 2))).total for _ in range(30)])
        np.testing.assert_allclose(found, (36 - 12) / (4 * count), rtol=0.15)


def test_neighbours_find_the_information_of_gaussians_and_of_curves() -> None:
    """`-log(1 - r^2) / 2` for a correlation r, whatever strictly rising map either side goes through."""
    rng = np.random.default_rng(1)
    x, noise = rng.normal(size=(2, 3000, 1))
    y = 0.8 * x + 0.6 * noise
    expected = -np.log(1 - 0.8**2) / 2
    for seen in (y, y**3):
        np.testing.assert_allclose(ksg_information(x, seen, k=5), expected, atol=0.04)
    assert abs(ksg_information(x, noise, k=5)) < 0.04
    # Counting the neighbour at the very distance itself costs up to two terms of 1/n.
    assert ksg_information(x, y, k=5, neighbours="flatdino") < ksg_information(x, y, k=5)
    assert ksg_information(x, noise, k=3, neighbours="flatdino") >= 0
    with pytest.raises(ValueError, match="more than k=5 points"):
        ksg_information(x[:5], y[:5], k=5)


def test_tokens_of_one_mean_go_together_and_a_constant_one_says_nothing() -> None:
    rng = np.random.default_rng(2)
    latents = rng.normal(size=(50, 3, 4))
    latents[:, 1] = -2 * latents[:, 0] + 1
    latents[:, 2] = 5.0
    found = token_mean_correlation(latents)
    np.testing.assert_allclose(found[0, :2], (1, -1), atol=1e-9)
    assert np.isnan(found[2]).all()
    with pytest.raises(ValueError, match="needs two images, got 1"):
        token_correlation(latents[:1])
