"""Laws of the Gaussian bottleneck."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.bottlenecks.gaussian import Gaussian, Posterior


def _tokens(width: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(width).normal(size=(5, width)), jnp.float32)


def test_without_a_key_the_latents_are_the_mean_and_the_halves_are_mean_then_logvar() -> None:
    tokens = _tokens(6)
    z, posterior = Gaussian(3)(tokens)
    np.testing.assert_array_equal(z, tokens[:, :3])
    np.testing.assert_array_equal(posterior.mean, tokens[:, :3])
    np.testing.assert_array_equal(posterior.logvar, tokens[:, 3:])


def test_samples_have_the_mean_and_the_variance_of_the_posterior() -> None:
    posterior = Posterior(jnp.asarray([[1.0, -2.0]]), jnp.log(jnp.asarray([[0.25, 4.0]])))
    draws = jax.vmap(posterior.sample)(jax.random.split(jax.random.key(0), 4096))
    np.testing.assert_allclose(draws.mean(axis=0), posterior.mean, atol=0.12)
    np.testing.assert_allclose(draws.var(axis=0), [[0.25, 4.0]], rtol=0.1)


def test_zero_noise_gives_the_mean_and_unit_noise_one_standard_deviation() -> None:
    posterior = Posterior(_tokens(3), 2 * _tokens(3))
    np.testing.assert_array_equal(posterior.reparameterise(jnp.zeros((5, 3))), posterior.mean)
    moved = posterior.reparameterise(jnp.ones((5, 3))) - posterior.mean
    np.testing.assert_allclose(moved, np.exp(0.5 * posterior.logvar), rtol=1e-4)


def test_a_scaled_sample_deviates_from_the_mean_by_a_part_of_a_sample() -> None:
    posterior, key = Posterior(_tokens(3), 2 * _tokens(3)), jax.random.key(1)
    whole, part = posterior.sample(key), posterior.sample(key, scale=0.2)
    np.testing.assert_allclose(part - posterior.mean, 0.2 * (whole - posterior.mean), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(posterior.sample(key, scale=0.0), posterior.mean)


def test_tanh_squashes_the_latents_and_leaves_the_posterior() -> None:
    tokens, key = _tokens(8), jax.random.key(3)
    plain, _ = Gaussian(4)(tokens, key=key)
    squashed, posterior = Gaussian(4, tanh=True)(tokens, key=key)
    np.testing.assert_allclose(squashed, np.tanh(plain), rtol=1e-6)
    np.testing.assert_array_equal(posterior.mean, tokens[:, :4])


def test_a_deterministic_bottleneck_passes_its_tokens_whatever_the_key() -> None:
    bottleneck = Gaussian(4, deterministic=True)
    assert (bottleneck.in_features, bottleneck.out_features) == (4, 4)
    z, posterior = bottleneck(_tokens(4), key=jax.random.key(0))
    np.testing.assert_array_equal(z, _tokens(4))
    np.testing.assert_array_equal(posterior.logvar, 0)


def test_the_posterior_of_half_precision_tokens_is_float32() -> None:
    z, posterior = Gaussian(2)(_tokens(4).astype(jnp.bfloat16), key=jax.random.key(0))
    assert {z.dtype, posterior.mean.dtype, posterior.logvar.dtype} == {jnp.dtype(jnp.float32)}


def test_features_must_be_positive() -> None:
    with pytest.raises(ValueError, match="features must be at least 1, got 0"):
        Gaussian(0)
