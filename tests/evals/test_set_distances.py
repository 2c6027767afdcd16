"""Laws of distances of sets: CMMD, MIND, CKA, KID of subsets, and what a Fréchet distance says of its covariances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laminate.evals.cka import linear_cka, unbiased_cka
from laminate.evals.cmmd import cmmd
from laminate.evals.fid import FeatureMoments, fid, fid_of_few, frechet_check
from laminate.evals.inception_score import inception_scores
from laminate.evals.kid import draw_subsets, kid, kid_of_subsets
from laminate.evals.mind import draw_directions, mind


def moments(features: np.ndarray) -> FeatureMoments:
    made = FeatureMoments(features.shape[1])
    made.update(features)
    return made


@settings(max_examples=15)
@given(seed=st.integers(0, 2**16), dim=st.integers(1, 9), shift=st.floats(-3, 3))
def test_a_shifted_set_is_as_far_as_it_was_moved(seed: int, dim: int, shift: float) -> None:
    """Whatever its covariance is, singular ones included: the Fréchet distance is the square of the shift."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(5, dim)) @ rng.normal(size=(dim, dim))
    moved = features + shift
    expected = dim * shift**2
    np.testing.assert_allclose(fid_of_few(features, moved), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(fid(moments(features), moments(moved)), expected, rtol=1e-6, atol=1e-6)


def test_the_frechet_distance_of_shifted_gaussians_is_the_shift_as_the_sets_grow() -> None:
    rng = np.random.default_rng(0)
    draw = lambda count, mean: rng.normal(size=(count, 3)) + mean
    few, many = (fid_of_few(draw(count, 0.0), draw(count, 2.0)) for count in (10, 20_000))
    np.testing.assert_allclose(many, 12.0, rtol=0.02)
    # Without a shift it is above zero, and the less so the more features there are.
    bias = [np.mean([fid_of_few(draw(n, 0.0), draw(n, 0.0)) for _ in range(30)]) for n in (10, 40, 160)]
    assert bias[0] > 2 * bias[1] > 4 * bias[2] > 0
    assert few > 0


@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), dim=st.integers(2, 8), first=st.integers(2, 12), second=st.integers(2, 12))
def test_few_features_have_the_distance_of_their_moments(
    seed: int, dim: int, first: int, second: int
) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(first, dim)), rng.normal(size=(second, dim)) + 1
    expected = fid(moments(x), moments(y))
    np.testing.assert_allclose(fid_of_few(x, y), expected, rtol=1e-6, atol=1e-6)


def test_what_a_covariance_lacks_is_said() -> None:
    rng = np.random.default_rng(2)
    root = rng.normal(size=(6, 4))
    whole, flat = rng.normal(size=(6, 6)), root @ root.T
    whole = whole @ whole.T
    zero = np.zeros(6)
    found = frechet_check(zero, whole, zero, flat)
    assert (found.rank, found.other_rank, found.clipped_mass > 1e-9) == (6, 4, False)
    np.testing.assert_allclose(found.distance, frechet_check(zero, flat, zero, whole).distance, rtol=1e-6)
    bad = flat - 0.5 * np.eye(6)  # two directions of negative variance
    clipped = frechet_check(zero, np.eye(6), zero, bad)
    np.testing.assert_allclose(clipped.clipped_mass, -np.minimum(np.linalg.eigvalsh(bad), 0).sum(), rtol=1e-9)
    with pytest.raises(ValueError, match="need two features, got 1 and 3"):
        fid_of_few(np.ones((1, 2)), np.ones((3, 2)))


def test_scores_of_parts_are_taken_in_file_order_and_the_last_part_may_be_short() -> None:
    sure = 50.0 * np.eye(3)
    together = np.repeat(sure, 4, axis=0)  # sorted by class: every part of four shows one
    np.testing.assert_allclose(inception_scores(together, size=4), 1, atol=1e-9)
    np.testing.assert_allclose(inception_scores(np.tile(sure, (4, 1)), size=6), 3, rtol=1e-9)
    assert inception_scores(together, size=5).shape == (3,)
    with pytest.raises(ValueError, match="size=0"):
        inception_scores(together, size=0)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**16))
def test_cmmd_is_the_mean_over_all_pairs_of_directions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(4, 3)) + 1
    a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
    k = lambda p, q: np.exp(-np.square(p[:, None] - q[None]).sum(-1) / (2 * 0.7**2)).mean()
    expected = 50 * (k(a, a) + k(b, b) - 2 * k(a, b))
    np.testing.assert_allclose(cmmd(x, y, sigma=0.7, scale=50.0), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(cmmd(3 * x, y, sigma=0.7, scale=50.0), expected, rtol=1e-9, atol=1e-9)
    assert abs(cmmd(x, x)) < 1e-9
    with pytest.raises(ValueError, match="no direction"):
        cmmd(np.zeros((2, 3)), y)


def test_mind_of_gaussians_is_three_times_their_squared_shift_and_difference_of_deviations() -> None:
    """Projections are Gaussian again: `E_u (u.s)^2 = |s|^2 / dim`, and the squared distance of deviations."""
    rng = np.random.default_rng(0)
    dim, count = 4, 20_000
    x, y = rng.normal(size=(count, dim)), 1.5 * rng.normal(size=(count, dim)) + 2.0
    expected = 3 * dim * (4 * dim / dim + 0.5**2)
    found = mind(x, y, draw_directions(dim, directions=200, seed=1))
    np.testing.assert_allclose(found, expected, rtol=0.1)
    assert mind(x, x[::-1], draw_directions(dim, directions=3, seed=0)) == 0
    with pytest.raises(ValueError, match="equally many features, got 3 and 4"):
        mind(x[:3], y[:4], np.ones((1, dim)))


@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), scale=st.floats(0.1, 10))
def test_alignment_sees_neither_a_rotation_nor_a_scale_nor_a_shift(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(12, 5))
    turned = scale * x @ np.linalg.qr(rng.normal(size=(5, 5)))[0] + 3.0
    np.testing.assert_allclose(linear_cka(x, turned), 1, rtol=1e-9)
    np.testing.assert_allclose(unbiased_cka(x, turned - 3.0), 1, rtol=1e-9)


def test_of_independent_features_the_biased_alignment_is_large_and_the_unbiased_one_zero() -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(12, 40)), rng.normal(size=(12, 30))) for _ in range(60)]
    assert min(linear_cka(x, y) for x, y in pairs) > 0.5
    unbiased = [unbiased_cka(x, y) for x, y in pairs]
    assert abs(np.mean(unbiased)) < 3 * np.std(unbiased) / np.sqrt(len(pairs))
    assert np.isnan(linear_cka(np.ones((5, 2)), rng.normal(size=(5, 2))))
    with pytest.raises(ValueError, match="four images, got 3"):
        unbiased_cka(np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="two features of each image, got 3 and 4"):
        linear_cka(np.ones((3, 2)), np.ones((4, 2)))


def test_subsets_have_the_kernel_distance_of_the_whole_on_average() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(30, 3)) + 0.5
    rows = draw_subsets(40, 30, subsets=400, size=10)
    assert all(len(set(each.tolist())) == 10 for each in rows[0])
    found = kid_of_subsets(x, y, *rows)
    assert abs(found.mean - kid(x, y)) < 4 * found.std / np.sqrt(400)
    whole = np.arange(30)[None]
    np.testing.assert_allclose(kid_of_subsets(x, y, whole, whole), (kid(x[:30], y), 0), rtol=1e-12)
    with pytest.raises(ValueError, match="size=31 must be at least 2"):
        draw_subsets(40, 30, subsets=1, size=31)
    with pytest.raises(ValueError, match="got 0 and 0 subsets"):
        kid_of_subsets(x, y, np.zeros((0, 3), int), np.zeros((0, 3), int))
