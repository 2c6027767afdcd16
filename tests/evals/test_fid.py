"""Laws of the Fréchet distance and of the moments under it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laminate.evals.fid import FeatureMoments, fid, fid_features, frechet_distance
from laminate.models.inception import InceptionV3


def moments(features: np.ndarray) -> FeatureMoments:
    made = FeatureMoments(features.shape[1])
    made.update(features)
    return made


@given(
    seed=st.integers(0, 2**16),
    dim=st.integers(1, 6),
    cuts=st.lists(st.integers(0, 30), max_size=4),
    offset=st.sampled_from([0.0, 1e4]),
)
def test_moments_are_those_of_numpy_for_any_split(
    seed: int, dim: int, cuts: list[int], offset: float
) -> None:
    features = np.random.default_rng(seed).normal(size=(30, dim)) + offset
    streamed, merged = FeatureMoments(dim), FeatureMoments(dim)
    for part in np.split(features, sorted(cuts)):
        streamed.update(part)
        merged.merge(moments(part))
    scale = max(1.0, offset)
    for ours in (streamed, merged):
        assert ours.count == 30
        np.testing.assert_allclose(ours.mean, features.mean(axis=0), rtol=1e-12, atol=1e-12)
        covariance = np.cov(features, rowvar=False).reshape(dim, dim)
        np.testing.assert_allclose(ours.covariance, covariance, rtol=1e-12, atol=1e-12 * scale)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**16), dim=st.integers(1, 7))
def test_gaussians_with_common_axes_are_apart_by_their_means_and_deviations(seed: int, dim: int) -> None:
    """`|m1 - m2|^2 + |s1 - s2|^2`, whatever the axes are."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    (m1, m2), (s1, s2) = rng.normal(size=(2, dim)), rng.uniform(0, 3, size=(2, dim))
    c1, c2 = (axes * s**2 @ axes.T for s in (s1, s2))
    expected = np.square(m1 - m2).sum() + np.square(s1 - s2).sum()
    np.testing.assert_allclose(frechet_distance(m1, c1, m2, c2), expected, rtol=1e-9)
    np.testing.assert_allclose(frechet_distance(m2, c2, m1, c1), expected, rtol=1e-9)
    assert abs(frechet_distance(m1, c1, m1, c1)) < 1e-10


def test_without_common_axes_the_root_is_that_of_the_product() -> None:
    rng = np.random.default_rng(0)
    first, second = (a @ a.T for a in rng.normal(size=(2, 5, 5)))
    root = np.sqrt(np.linalg.eigvals(first @ second).real).sum()
    zero = np.zeros(5)
    expected = np.trace(first) + np.trace(second) - 2 * root
    np.testing.assert_allclose(frechet_distance(zero, first, zero, second), expected, rtol=1e-9)


def test_fewer_features_than_dimensions_are_no_difficulty() -> None:
    """A rotation of the space, and directions in which nothing varies, change nothing."""
    rng = np.random.default_rng(1)
    few, others = rng.normal(size=(4, 3)), rng.normal(size=(5, 3)) + 1
    axes = np.linalg.qr(rng.normal(size=(9, 9)))[0][:3]
    within = fid(moments(few), moments(others))
    np.testing.assert_allclose(fid(moments(few @ axes), moments(others @ axes)), within, rtol=1e-6)
    assert abs(fid(moments(few @ axes), moments(few @ axes))) < 1e-6


def test_what_cannot_be_measured_is_refused() -> None:
    gathered = FeatureMoments(3)
    with pytest.raises(ValueError, match="0 features have been seen and 1 are needed"):
        _ = gathered.mean
    gathered.update(np.ones((1, 3), np.float32))
    with pytest.raises(ValueError, match="1 features have been seen and 2 are needed"):
        _ = gathered.covariance
    with pytest.raises(ValueError, match=r"expected features of shape \(any, 3\), got \(2, 4\)"):
        gathered.update(np.ones((2, 4)))
    with pytest.raises(ValueError, match="nothing was added"):
        gathered.update(np.full((2, 3), np.nan))
    with pytest.raises(ValueError, match="cannot merge"):
        gathered.merge(FeatureMoments(2))
    with pytest.raises(ValueError, match="at least 1"):
        FeatureMoments(0)
    assert gathered.count == 1


def test_images_have_the_features_of_what_can_be_shown_of_them() -> None:
    """Clipped; the network itself is asked for shapes only, it is large."""
    image = jax.ShapeDtypeStruct((8, 9, 3), jnp.float32)
    made = jax.eval_shape(lambda x: fid_features(InceptionV3(key=jax.random.key(0)), x), image)
    assert made.shape == (2048,)
