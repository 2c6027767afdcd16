"""An image is found from what is said of it; the network that makes it is a U-Net of any size of image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.analysis.inversion import InversionConfig, invert
from laminate.models.image_prior import ImagePrior, ImagePriorConfig, prior_for

SMALL = ImagePriorConfig((4, 6), (3, 3), skip=2, noise=3)


def test_an_image_is_found_from_all_its_pixels():
    image = jnp.asarray(np.random.default_rng(0).random((3, 3, 3)), jnp.float32)
    target = jnp.repeat(jnp.repeat(image, 4, axis=0), 4, axis=1)
    loss = lambda found: jnp.mean(jnp.square(found - target))
    config = InversionConfig(iterations=60, looks=3, noise=(0.1, 0.05, 0.0), learning_rate=0.02)
    found = jax.jit(lambda key: invert(loss, 12, SMALL, config, key=key))(jax.random.key(0))
    assert found.images.shape == (3, 12, 12, 3) and found.losses.shape == (60,)
    assert float(found.losses[-5:].mean()) < 0.2 * float(found.losses[:2].mean())
    # The images are those that the network makes at the time, without noise.
    np.testing.assert_allclose(loss(found.images[-1]), found.losses[-1], rtol=0.5)


@pytest.mark.parametrize("size", [(9, 14), (4, 4)])
def test_a_prior_makes_images_of_any_size(size):
    made = jax.eval_shape(
        lambda key: ImagePrior(SMALL, key=key)(jax.random.normal(key, (*size, 3))), jax.random.key(0)
    )
    assert made.shape == (*size, 3) and made.dtype == jnp.float32


def test_a_prior_is_as_deep_as_the_image_allows_and_flatdinos_at_its_size():
    assert prior_for(256) == prior_for(224) == ImagePriorConfig()
    assert len(prior_for(64).channels) == 4 and len(prior_for(16).channels) == 2
    with pytest.raises(ValueError, match="2 levels have 1 kernels"):
        ImagePriorConfig((4, 6), (3,))
    with pytest.raises(ValueError, match="no whole multiple"):
        InversionConfig(iterations=7, looks=2)
