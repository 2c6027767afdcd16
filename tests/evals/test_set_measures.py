"""Laws of the measures of sets: Inception score, kernel distance, precision and recall."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.evals.inception_score import inception_score
from laminate.evals.kid import kid
from laminate.evals.neighbours import nearest
from laminate.evals.precision_recall import precision_recall


@given(seed=st.integers(0, 2**16), dim=st.integers(1, 4), offset=st.sampled_from([0.0, 1e5]))
def test_distances_are_those_of_the_differences_even_far_from_the_origin(
    seed: int, dim: int, offset: float
) -> None:
    x, y = (np.random.default_rng([seed, n]).normal(size=(n, dim)) + offset for n in (4, 7))
    expected = np.sort(np.square(x[:, None] - y[None]).sum(axis=-1), axis=1)
    np.testing.assert_allclose(nearest(x, y, 7).values, expected, rtol=1e-12)


@given(classes=st.integers(1, 6), repeats=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_the_score_is_one_for_images_alike_and_the_number_of_classes_for_sure_and_balanced_ones(
    classes: int, repeats: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    alike = np.tile(rng.normal(size=classes), (4, 1))
    np.testing.assert_allclose(inception_score(alike, splits=2), (1, 0), atol=1e-12)
    sure = 1e3 * np.tile(np.eye(classes), (repeats, 1))
    np.testing.assert_allclose(inception_score(sure, splits=repeats), (classes, 0), atol=1e-9)
    drawn = inception_score(rng.normal(size=(20, classes)).astype(np.float32), splits=1)
    assert 1 - 1e-9 <= drawn.mean <= classes + 1e-9


def test_the_score_of_two_images_by_hand() -> None:
    p = np.asarray([[0.9, 0.1], [0.3, 0.7]])
    divergence = (p * np.log(p / p.mean(axis=0))).sum(axis=1).mean()
    np.testing.assert_allclose(inception_score(np.log(p) + 5, splits=1).mean, np.exp(divergence), rtol=1e-12)
    with pytest.raises(ValueError, match="splits=3 must be between 1 and the 2 images"):
        inception_score(p, splits=3)


@pytest.mark.parametrize("kernel", ["polynomial", "gaussian"])
def test_the_kernel_distance_is_the_mean_over_pairs(kernel: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(4, 3)) + 1
    if kernel == "polynomial":
        k = lambda a, b: (a @ b / 3 + 1) ** 3
    else:
        k = lambda a, b: np.exp(-np.square(a - b).sum() / (2 * 1.5**2))
    within = [np.mean([k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]) for z in (x, y)]
    expected = sum(within) - 2 * np.mean([k(a, b) for a in x for b in y])
    np.testing.assert_allclose(kid(x, y, kernel=kernel, sigma=1.5), expected, rtol=1e-10)
    np.testing.assert_allclose(kid(y, x, kernel=kernel, sigma=1.5), expected, rtol=1e-10)
    with pytest.raises(ValueError, match="need two features, got 5 and 1"):
        kid(x, y[:1])


def test_the_kernel_distance_of_one_distribution_is_zero_on_average() -> None:
    rng = np.random.default_rng(1)
    same = [kid(rng.normal(size=(20, 4)), rng.normal(size=(30, 4))) for _ in range(300)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same))
    assert min(same) < 0


@given(seed=st.integers(0, 2**16), k=st.integers(1, 3))
def test_a_set_is_near_itself_and_far_from_one_elsewhere_and_the_roles_can_be_swapped(
    seed: int, k: int
) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(7, 3))
    assert precision_recall(x, x, k=k) == (1, 1)
    assert precision_recall(x, y + 1e3, k=k) == (0, 0)
    one, other = precision_recall(x, y, k=k), precision_recall(y, x, k=k)
    assert (one.precision, one.recall) == (other.recall, other.precision)


def test_modes_that_are_left_out_cost_recall_and_strangers_cost_precision() -> None:
    line = lambda start, count: np.stack([start + 0.1 * np.arange(count), np.zeros(count)], axis=1)
    real = np.concatenate([line(0, 5), line(100, 5)])
    assert precision_recall(line(0.05, 5), real) == (1, 0.5)
    assert precision_recall(np.concatenate([line(0.05, 6), line(50, 6), line(100.05, 6)]), real) == (2 / 3, 1)
    with pytest.raises(ValueError, match="k=5 must be at least 1 and below the 5 and 10 features"):
        precision_recall(line(0, 5), real, k=5)
