"""Laws of the structural similarity and of the filters under it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laminate.losses.filters import gaussian_blur, mirrored, uniform_blur
from laminate.losses.structural import CROPPED, UNIFORM, ms_ssim, ssim, ssim_loss
from tests.oracles.arrays import normal

X, Y = (jax.nn.sigmoid(normal(seed, 12, 17, 3)) for seed in (0, 1))
SSIM = jax.jit(ssim, static_argnames="data_range")
_SHAPES = st.sampled_from([(1, 1, 1), (2, 5, 1), (9, 8, 3)])


def windowed(image: np.ndarray, *, sigma: float, radius: int) -> np.ndarray:
    """The blur tap by tap, in float64."""
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    weights /= weights.sum()
    padded = np.pad(image.astype(np.float64), ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    total = np.zeros(image.shape)
    for i, high in enumerate(weights):
        for j, wide in enumerate(weights):
            total += high * wide * padded[i : i + image.shape[0], j : j + image.shape[1]]
    return total


def by_hand(x: np.ndarray, y: np.ndarray, data_range: float) -> float:
    mean = lambda a: windowed(a, sigma=1.5, radius=5)
    x, y = x.astype(np.float64), y.astype(np.float64)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mx, my = mean(x), mean(y)
    vx, vy, cxy = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    return float(np.mean((2 * mx * my + c1) * (2 * cxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))))


@settings(max_examples=12)
@given(shape=_SHAPES, seed=st.integers(0, 2**16), data_range=st.sampled_from([1.0, 2.0]))
def test_it_is_the_formula_under_a_window_of_eleven_mirrored_at_the_border(
    shape: tuple[int, ...], seed: int, data_range: float
) -> None:
    x, y = (np.random.default_rng([seed, i]).random(shape).astype(np.float32) for i in (0, 1))
    ours = SSIM(jnp.asarray(x), jnp.asarray(y), data_range=data_range)
    np.testing.assert_allclose(ours, by_hand(x, y, data_range), rtol=1e-3, atol=1e-4)


@settings(max_examples=12)
@given(shape=_SHAPES, seed=st.integers(0, 2**16))
def test_it_is_one_for_equal_images_symmetric_and_never_above_one(shape: tuple[int, ...], seed: int) -> None:
    x, y = (jnp.asarray(np.random.default_rng([seed, i]).random(shape), jnp.float32) for i in (0, 1))
    np.testing.assert_allclose(SSIM(x, x), 1, atol=1e-5)
    np.testing.assert_allclose(SSIM(x, y), SSIM(y, x), atol=1e-5)
    assert SSIM(x, y) <= 1 + 1e-5


def test_blur_costs_and_the_gradient_leads_back() -> None:
    blurred = gaussian_blur(X, sigma=1.0)
    assert SSIM(Y, X) < SSIM(blurred, X) < 1
    loss, gradient = jax.jit(jax.value_and_grad(ssim_loss))(blurred, X)
    np.testing.assert_allclose(loss, 1 - SSIM(blurred, X), atol=1e-6)
    assert ssim_loss(blurred - 0.5 * gradient / jnp.max(jnp.abs(gradient)) * 0.1, X) < loss


def test_a_flat_image_has_a_finite_gradient() -> None:
    flat = jnp.full((8, 7, 1), 0.5)
    assert np.isfinite(jax.jit(jax.grad(ssim_loss))(flat, X[:8, :7, :1])).all()


@given(size=st.integers(1, 9), radius=st.integers(0, 20))
def test_a_line_goes_on_as_its_mirror_image(size: int, radius: int) -> None:
    line = np.arange(size)
    np.testing.assert_array_equal(
        mirrored(np.arange(-radius, size + radius), size), np.pad(line, radius, mode="reflect")
    )


def test_a_blur_keeps_a_constant_and_is_separable_and_refuses_no_width() -> None:
    np.testing.assert_allclose(gaussian_blur(jnp.full((5, 4, 2), 0.7), sigma=2.0), 0.7, rtol=1e-6)
    ours = gaussian_blur(X, sigma=0.8, radius=2)
    np.testing.assert_allclose(ours, windowed(np.asarray(X), sigma=0.8, radius=2), atol=1e-5)
    with pytest.raises(ValueError, match="must be positive"):
        gaussian_blur(X, sigma=0.0)


def test_only_pixels_of_the_mask_count_and_none_at_all_is_alike() -> None:
    whole, none = jnp.ones((12, 17), bool), jnp.zeros((12, 17), bool)
    left = whole.at[:, 8:].set(False)
    masked = jax.jit(lambda x, y, mask: ssim(x, y, mask=mask))
    np.testing.assert_allclose(masked(X, Y, whole), SSIM(X, Y), atol=1e-6)
    assert masked(X, Y, none) == 1
    halves = masked(X, Y, left) * 8 + masked(X, Y, ~left) * 9
    np.testing.assert_allclose(halves / 17, SSIM(X, Y), atol=1e-6)
    # What lies beyond the reach of the window, outside the mask, changes nothing.
    np.testing.assert_allclose(masked(X.at[:, 13:].set(9.0), Y, left), masked(X, Y, left), atol=1e-6)


def test_a_convention_without_the_border_is_the_mean_of_the_map_inside() -> None:
    """Of scikit-image's kind: the border, where the window reaches beyond the image, does not count."""
    blank = jnp.zeros((17, 17, 3))
    x, y = (blank.at[:12].set(image) for image in (X, Y))
    inside = jnp.zeros((17, 17), bool).at[5:12, 5:12].set(True)
    run = jax.jit(lambda x, y: (ssim(x, y, convention=CROPPED), ssim(x, y, mask=inside)))
    np.testing.assert_allclose(*run(x, y), atol=1e-6)
    np.testing.assert_allclose(ssim(X, X, convention=UNIFORM), 1, atol=1e-6)
    with pytest.raises(ValueError, match="more than 10, got 9x17"):
        ssim(X[:9], Y[:9], convention=CROPPED)


def test_one_scale_is_the_similarity_itself_and_all_of_equal_images_are_one() -> None:
    np.testing.assert_allclose(ms_ssim(X, Y, betas=(1.0,)), jnp.maximum(SSIM(X, Y), 0.0), atol=1e-6)
    large = jax.nn.sigmoid(normal(3, 24, 26, 2))
    np.testing.assert_allclose(ms_ssim(large, large, betas=(0.3, 0.7)), 1, atol=1e-5)
    blurred = gaussian_blur(large, sigma=2.0)
    # Detail that is gone is missed less where it was averaged away first.
    assert ms_ssim(blurred, large, betas=(0.0, 1.0)) > ms_ssim(blurred, large, betas=(1.0,))
    with pytest.raises(ValueError, match="5 scales need sides of at least 88 pixels, got 24x26"):
        ms_ssim(large, large)


def test_a_uniform_window_is_the_mean_of_its_pixels() -> None:
    ours = uniform_blur(X, size=3)
    by_hand = np.mean([np.asarray(X)[4 + i, 6 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)
    np.testing.assert_allclose(ours[4, 6], by_hand, rtol=1e-5)
    with pytest.raises(ValueError, match="an odd size, got size=4"):
        uniform_blur(X, size=4)
