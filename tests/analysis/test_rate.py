"""Bits of an image and use of a codebook, each against a count."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from laminate.analysis.figures import level_map
from laminate.analysis.rate import codebook_use, image_bits
from laminate.bottlenecks.fsq import Fsq
from laminate.bottlenecks.gaussian import Gaussian


def test_a_code_costs_the_logarithm_of_its_codebook():
    bottleneck = Fsq((8, 4, 2))
    _, aux = bottleneck(jnp.zeros((7, 3)))
    assert image_bits(bottleneck, aux) == pytest.approx(7 * 6.0)
    bottleneck = Fsq((8, 4, 2), codebooks=5)
    _, aux = bottleneck(jnp.zeros((7, 15)))
    assert image_bits(bottleneck, aux) == pytest.approx(7 * 5 * 6.0)


def test_a_posterior_costs_its_divergence_from_the_prior_in_bits():
    bottleneck = Gaussian(2)
    mean, logvar = jnp.full((3, 2), 2.0), jnp.full((3, 2), np.log(0.25, dtype=np.float32))
    _, aux = bottleneck(jnp.concatenate([mean, logvar], axis=-1))
    nats = 6 * 0.5 * (0.25 + 4.0 - 1.0 - np.log(0.25))
    assert image_bits(bottleneck, aux) == pytest.approx(nats / np.log(2.0), rel=1e-5)
    _, at_prior = bottleneck(jnp.zeros((3, 4)))
    assert image_bits(bottleneck, at_prior) == 0.0


def test_a_latent_without_a_precision_has_no_bits():
    bottleneck = Gaussian(2, deterministic=True)
    assert image_bits(bottleneck, bottleneck(jnp.ones((3, 2)))[1]) is None


def test_use_counts_codes_and_the_levels_of_every_channel():
    bottleneck = Fsq((4, 2))
    indices = np.array([[0, 0, 5], [5, 3, 0]], np.int32)
    use = codebook_use(bottleneck.levels, indices)
    assert (use.tokens, use.used) == (6, 3)
    share = np.array([3, 2, 1]) / 6
    assert use.perplexity == pytest.approx(np.exp(-np.sum(share * np.log(share))))
    digits = np.round(
        (np.asarray(bottleneck.codes_from_indices(jnp.asarray(indices))) + 1) * bottleneck.half_width
    )
    for channel, levels in enumerate(bottleneck.levels):
        counted = np.bincount(digits[..., channel].astype(int).ravel(), minlength=levels) / 6
        np.testing.assert_allclose(use.levels[channel, :levels], counted)
    assert np.isnan(use.levels[1, 2:]).all()


def test_use_of_several_codebooks_is_that_of_each():
    levels, indices = (4, 2), np.array([[[0, 7], [5, 7]], [[5, 1], [5, 7]]], np.int32)
    whole = codebook_use(levels, indices, codebooks=2)
    each = [codebook_use(levels, indices[..., book]) for book in range(2)]
    assert (whole.tokens, whole.used) == (4, 2 + 2)
    assert whole.perplexity == pytest.approx(np.mean([use.perplexity for use in each]))
    np.testing.assert_array_equal(whole.levels, np.concatenate([use.levels for use in each]))


def test_a_map_of_many_codebooks_is_not_longer_than_one_of_their_channels_would_be(tmp_path):
    levels = np.full((128, 8), 1 / 8)
    level_map(levels, tmp_path / "one.png")
    level_map(levels, tmp_path / "many.png", codebooks=16)
    sizes = []
    for name in ("one", "many"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            sizes.append(picture.size)
    assert sizes[1][0] == sizes[0][0] and sizes[1][1] < sizes[0][1] / 4
