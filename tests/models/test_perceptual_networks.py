"""LPIPS is a distance, and the Inception network is prepared for as stated."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from laminate.models.inception import inception_input
from laminate.models.vgg import Lpips
from laminate.nn import resize
from tests.oracles.arrays import filled, normal

LPIPS = filled(lambda key: Lpips((3, 4, 5, 4, 3), key=key))
DISTANCE = jax.jit(lambda lpips, x, y: lpips.by_stage(x, y))
X, Y = (jax.nn.sigmoid(normal(seed, 16, 32, 3)) for seed in (0, 1))


def test_equal_images_have_no_distance_and_the_order_does_not_matter():
    np.testing.assert_array_equal(DISTANCE(LPIPS, X, X), 0)
    np.testing.assert_allclose(DISTANCE(LPIPS, X, Y), DISTANCE(LPIPS, Y, X), rtol=1e-5)


def test_the_gradient_is_finite_where_all_features_of_a_pixel_are_off():
    off = eqx.tree_at(
        lambda m: [c.bias for stage in m.network.stages for c in stage],
        LPIPS,
        replace_fn=lambda bias: -jnp.abs(bias) - 9,
    )
    gradient = jax.jit(jax.grad(lambda x, lpips: lpips(x, Y)))
    assert np.any(np.asarray(gradient(X, LPIPS)) != 0)
    np.testing.assert_array_equal(gradient(X, off), 0)


def test_every_stage_is_half_as_large_as_the_one_before():
    shapes = [a.shape for a in jax.eval_shape(LPIPS.features, X)]
    assert shapes == [(16, 32, 3), (8, 16, 4), (4, 8, 5), (2, 4, 4), (1, 2, 3)]


def test_the_two_ways_of_preparing_an_image_differ_in_the_place_they_read():
    image = jax.nn.sigmoid(normal(2, 5, 7, 3))
    corner = np.asarray(resize(image, (299, 299), "bilinear-corner"))
    np.testing.assert_allclose(inception_input(image, "tensorflow"), corner * 255 / 128 - 1, atol=1e-5)
    centred = np.asarray(resize(image, (299, 299), "bilinear"))
    np.testing.assert_allclose(inception_input(image, "half-pixel"), 2 * centred - 1, atol=1e-6)
    np.testing.assert_allclose(
        inception_input(image, "tensorflow")[0, 0], image[0, 0] * 255 / 128 - 1, atol=1e-5
    )
