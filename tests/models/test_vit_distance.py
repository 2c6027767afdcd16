"""The distance of two images in a vision transformer."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.models.vit import Trunk, Vit
from laminate.models.vit_distance import VitDistance
from laminate.nn import PatchEmbed, resize
from tests.oracles.arrays import filled, normal

TRUNK = Trunk(dim=8, depth=3, heads=2, hidden=6)
SCALE = {"mean": (0.5, 0.4, 0.3), "std": (0.25, 0.5, 1.0)}
X, Y = (jax.nn.sigmoid(normal(seed, 12, 8, 3)) for seed in (0, 1))


def make(key: jax.Array) -> VitDistance:
    vit = Vit(TRUNK, patch=PatchEmbed(8, 2, 8, crop=True, key=key), cls_token=True, registers=2, key=key)
    return VitDistance(vit, 8, **SCALE)


DISTANCE = filled(make)
BY_LAYER = jax.jit(lambda distance, x, y: distance.by_layer(x, y))


def test_equal_images_have_no_distance_and_the_order_does_not_matter():
    np.testing.assert_array_equal(BY_LAYER(DISTANCE, X, X), 0)
    np.testing.assert_allclose(BY_LAYER(DISTANCE, X, Y), BY_LAYER(DISTANCE, Y, X), rtol=1e-5)


def test_a_layer_counts_the_angles_between_its_tokens():
    """Of all tokens: cls, registers and patches."""
    a, b = (np.asarray(jax.jit(lambda d, x: d.features(x))(DISTANCE, x)) for x in (X, Y))
    assert a.shape == (3, 1 + 2 + 4 * 2, 8)  # 12x8 pixels are shrunk to 8x5, of which 8x4 are whole patches
    cosine = (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    np.testing.assert_allclose(BY_LAYER(DISTANCE, X, Y), ((2 - 2 * cosine) / 8).mean(axis=1), rtol=1e-3)


def test_large_images_are_shrunk_and_small_ones_are_not():
    seen = resize(X, (8, 5), "bicubic")
    np.testing.assert_allclose(DISTANCE.seen(X), (np.asarray(seen) - SCALE["mean"]) / SCALE["std"], atol=1e-5)
    assert DISTANCE.seen(X[:6, :4]).shape == (6, 4, 3)


def test_the_gradient_is_finite_where_the_tokens_vanish():
    nothing = jax.tree.map(jnp.zeros_like, DISTANCE)
    run = jax.jit(jax.value_and_grad(lambda x, distance: distance(x, Y)))
    np.testing.assert_array_equal(run(X, nothing)[1], 0)
    value, gradient = run(X, DISTANCE)
    np.testing.assert_allclose(value, BY_LAYER(DISTANCE, X, Y).mean(), rtol=1e-5)
    assert np.isfinite(gradient).all() and np.any(np.asarray(gradient) != 0)


def test_a_network_of_tokens_is_refused():
    def of_tokens(key: jax.Array) -> VitDistance:
        return VitDistance(Vit(TRUNK, tokens=3, key=key), 8, **SCALE)

    with pytest.raises(ValueError, match="compares images"):
        eqx.filter_eval_shape(of_tokens, jax.random.key(0))


def test_images_that_are_filled_up_are_as_far_apart_as_they_are():
    """With a mask of their pixels, whatever stands beyond them."""

    def rotary(key: jax.Array) -> VitDistance:
        patch = PatchEmbed(8, 2, 8, crop=True, key=key)
        return VitDistance(Vit(TRUNK, patch=patch, registers=2, positions="none", key=key), 8, **SCALE)

    distance = filled(rotary)
    x, y = X[:6, :4], Y[:6, :4]
    wide = [jnp.pad(image, ((0, 2), (0, 4), (0, 0)), constant_values=c) for image, c in ((x, 0.3), (y, 0.9))]
    inside = jnp.zeros((8, 8), bool).at[:6, :4].set(True)
    masked = jax.jit(lambda d, x, y: d.by_layer(x, y, mask=inside))
    np.testing.assert_allclose(masked(distance, *wide), BY_LAYER(distance, x, y), rtol=1e-5)
    nothing = jax.jit(lambda d, x, y: d(x, y, mask=jnp.zeros_like(inside)))(distance, *wide)
    assert np.isfinite(nothing)
    with pytest.raises(ValueError, match="8 is the longest side"):
        distance(X, Y, mask=jnp.ones((12, 8), bool))
