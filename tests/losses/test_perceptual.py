"""Laws of the perceptual terms: the Laplacian pyramid and its distance, and LPIPS as a loss."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laminate.losses.perceptual import PerceptualDistance, lpips_loss
from laminate.losses.pyramid import doubled, halved, laplacian_pyramid, pyramid_distance
from laminate.models.vgg import Lpips
from tests.oracles.arrays import filled, normal

X, Y = (jax.nn.sigmoid(normal(seed, 16, 13, 3)) for seed in (0, 1))
DISTANCE = jax.jit(pyramid_distance)
_SHAPES = st.sampled_from([(1, 1, 1), (1, 6, 2), (9, 4, 3)])


def uniform(seed: int, shape: tuple[int, ...]) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).random(shape), jnp.float32)


@settings(max_examples=20)
@given(shape=_SHAPES, seed=st.integers(0, 2**16), levels=st.sampled_from([None, 0, 1, 2]))
def test_a_pyramid_gives_its_image_back(shape: tuple[int, ...], seed: int, levels: int | None) -> None:
    image = uniform(seed, shape)
    levels = levels if levels is None or max(shape[:2]) >= 2**levels else 0
    pyramid = laplacian_pyramid(image, levels=levels)
    *bands, whole = pyramid
    for band in reversed(bands):
        whole = band + doubled(whole, (band.shape[0], band.shape[1]))
    np.testing.assert_allclose(whole, image, atol=1e-5)
    assert levels is None or len(pyramid) == levels + 1
    for band, coarser in pairwise(pyramid):
        assert coarser.shape == ((band.shape[0] + 1) // 2, (band.shape[1] + 1) // 2, shape[2])


@settings(max_examples=15)
@given(shape=_SHAPES, value=st.floats(-2.0, 2.0))
def test_a_flat_image_has_no_detail(shape: tuple[int, ...], value: float) -> None:
    *bands, rest = laplacian_pyramid(jnp.full(shape, value, jnp.float32))
    for band in bands:
        np.testing.assert_allclose(band, 0, atol=1e-6)
    np.testing.assert_allclose(rest, value, rtol=1e-5, atol=1e-6)


def test_halving_is_the_binomial_window_and_doubling_its_transpose_where_no_border_is() -> None:
    line = jnp.zeros((1, 9, 1)).at[0, 4, 0].set(1.0)
    np.testing.assert_allclose(halved(line)[0, :, 0], [0, 1 / 16, 6 / 16, 1 / 16, 0], atol=1e-7)
    short = jnp.zeros((1, 5, 1)).at[0, 2, 0].set(1.0)
    np.testing.assert_allclose(
        doubled(short, (1, 9))[0, 2:7, 0], [1 / 8, 4 / 8, 6 / 8, 4 / 8, 1 / 8], atol=1e-7
    )


@settings(max_examples=10)
@given(shape=_SHAPES, seed=st.integers(0, 2**16))
def test_the_distance_is_symmetric_and_zero_for_the_same_image(shape: tuple[int, ...], seed: int) -> None:
    x, y = (uniform(seed + i, shape) for i in range(2))
    assert DISTANCE(x, x) == 0
    assert DISTANCE(x, y) > 0
    np.testing.assert_allclose(DISTANCE(x, y), DISTANCE(y, x), rtol=1e-5)
    gradient = jax.grad(DISTANCE)(jnp.zeros(shape), x)
    assert np.all(np.isfinite(gradient))


def test_another_colour_costs_its_l1_at_every_size() -> None:
    for shape in ((16, 13, 3), (2, 3, 3)):
        x = uniform(0, shape)
        np.testing.assert_allclose(DISTANCE(x + 0.25, x), 0.25, rtol=1e-4)


def test_it_is_the_sum_over_levels_that_is_written() -> None:
    x, y = uniform(0, (32, 16, 3)), uniform(1, (32, 16, 3))
    (fine_x, *coarse_x), (fine_y, *coarse_y) = laplacian_pyramid(x), laplacian_pyramid(y)
    values = sum(np.abs(np.asarray(a - b)).mean() for a, b in zip(coarse_x, coarse_y, strict=True))
    strength = lambda band: np.sqrt(np.asarray(halved(halved(halved(halved(band**2))))) + 1e-6)
    expected = values + 2.0 * np.abs(strength(fine_x) - strength(fine_y)).mean()
    np.testing.assert_allclose(pyramid_distance(x, y, contrast=2.0), expected, rtol=1e-5)


@given(strength=st.floats(0.05, 0.4))
def test_detail_in_other_places_costs_little_and_missing_detail_its_strength(strength: float) -> None:
    """Stripes as fine as pixels, moved by one, against none: an L1 would have it the other way round."""
    smooth = jnp.broadcast_to(jnp.linspace(0.2, 0.8, 64)[:, None, None], (64, 64, 3))
    stripes = strength * jnp.where(jnp.arange(64)[:, None, None] % 2, 1.0, -1.0)
    moved, missing = DISTANCE(smooth - stripes, smooth + stripes), DISTANCE(smooth, smooth + stripes)
    assert moved < 0.2 * missing
    # All that pixels' stripes are lies in the finest level, but for what the border lets through.
    np.testing.assert_allclose(missing, 5.0 * strength, rtol=0.1)


def test_levels_that_an_image_does_not_have_are_refused() -> None:
    assert len(laplacian_pyramid(X, levels=4)) == 5
    with pytest.raises(ValueError, match="must be between 0 and 4"):
        laplacian_pyramid(X, levels=5)


def test_lpips_is_one_more_perceptual_term_that_sees_clipped_images_and_spares_the_target() -> None:
    network = filled(lambda key: Lpips((3, 4, 5, 4, 3), key=key))
    # Gradients of the loss at pixels inside and outside, and with respect to the target.
    image, target = 3 * X - 1, 3 * Y - 1

    @jax.jit
    def run(network: Lpips) -> tuple[jax.Array, ...]:
        clipped, of_both = jax.value_and_grad(partial(lpips_loss, network=network), argnums=(0, 1))(
            image, target
        )
        free = lpips_loss(image, target, network=network, clip=False)
        return (
            clipped,
            *of_both,
            network(jnp.clip(image, 0, 1), jnp.clip(target, 0, 1)),
            free,
            network(image, target),
        )

    clipped, of_image, of_target, expected, free, unclipped = run(network)
    np.testing.assert_allclose(clipped, expected, rtol=1e-6)
    np.testing.assert_allclose(free, unclipped, rtol=1e-6)
    outside = np.asarray((image < 0) | (image > 1))
    np.testing.assert_array_equal(np.asarray(of_image)[outside], 0)
    assert np.any(np.asarray(of_image)[~outside] != 0)
    np.testing.assert_array_equal(of_target, 0)
    assert isinstance(partial(lpips_loss, network=network), PerceptualDistance)
