"""Laws of the KL term and its weight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.losses.divergence import (
    anneal,
    kl_loss,
    kl_per_element,
    kl_variance_loss,
    kl_weight,
    posterior_metrics,
)

_SEEDS = st.integers(0, 2**16)
_SIZES = {"latents": st.sampled_from([1, 3, 6]), "features": st.sampled_from([1, 4])}


def _posterior(seed: int, latents: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=(latents, features)).astype(np.float32) for _ in range(2))


def _oracle(mean: np.ndarray, logvar: np.ndarray) -> np.ndarray:
    mean, logvar = mean.astype(np.float64), logvar.astype(np.float64)
    return 0.5 * (np.exp(logvar) + mean**2 - 1 - logvar)


def test_the_kl_is_zero_with_zero_gradient_exactly_at_the_prior() -> None:
    at_prior = jnp.zeros((3, 4))
    assert kl_loss(at_prior, at_prior) == 0
    for gradient in jax.grad(kl_loss, argnums=(0, 1))(at_prior, at_prior):
        np.testing.assert_array_equal(gradient, 0)


@given(seed=_SEEDS, free_bits=st.floats(0.0, 1.0), **_SIZES)
def test_every_term_agrees_with_float64(seed: int, latents: int, features: int, free_bits: float) -> None:
    mean, logvar = _posterior(seed, latents, features)
    clipped = np.maximum(_oracle(mean, logvar), free_bits)
    m, v = jnp.asarray(mean), jnp.asarray(logvar)
    np.testing.assert_allclose(kl_per_element(m, v), _oracle(mean, logvar), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(kl_loss(m, v, free_bits=free_bits), clipped.sum(), rtol=1e-5, atol=1e-5)
    variance = clipped.sum(axis=1).var()
    np.testing.assert_allclose(kl_variance_loss(m, v, free_bits=free_bits), variance, rtol=1e-4, atol=1e-5)


@given(seed=_SEEDS, **_SIZES)
def test_the_kl_is_never_negative_and_free_bits_only_raise_it(seed: int, latents: int, features: int) -> None:
    m, v = map(jnp.asarray, _posterior(seed, latents, features))
    plain, raised = kl_loss(m, v), kl_loss(m, v, free_bits=0.25)
    assert 0 <= plain <= raised
    assert raised >= 0.25 * latents * features * (1 - 1e-6)


def test_below_the_free_bits_there_is_no_gradient() -> None:
    gradient = jax.grad(lambda m: kl_loss(m, jnp.zeros((2, 3)), free_bits=10.0))(jnp.ones((2, 3)))
    np.testing.assert_array_equal(gradient, 0)


def test_tokens_with_equal_nats_have_no_kl_variance() -> None:
    row = jnp.asarray([[0.5, -1.0, 2.0]])
    tokens = jnp.concatenate([row, row, row, row])
    np.testing.assert_allclose(kl_variance_loss(tokens, 0.25 * tokens), 0.0, atol=1e-9)


def test_half_precision_posteriors_are_judged_in_float32() -> None:
    mean, logvar = (jnp.asarray(a).astype(jnp.bfloat16) for a in _posterior(0, 3, 5))
    assert kl_loss(mean, logvar).dtype == jnp.float32
    wide = kl_loss(mean.astype(jnp.float32), logvar.astype(jnp.float32))
    np.testing.assert_array_equal(kl_loss(mean, logvar), wide)


@pytest.mark.parametrize(
    ("latents", "features", "weight"),
    [(16, 16, 2e-6), (32, 16, 1e-6), (32, 64, 2.5e-7), (32, 128, 1.25e-7), (32, 768, 2.08e-8)],
)
def test_the_default_weight_is_that_of_table_4(latents: int, features: int, weight: float) -> None:
    assert kl_weight(latents, features) == pytest.approx(weight, rel=2e-3)


def test_a_size_that_is_not_positive_has_no_weight() -> None:
    with pytest.raises(ValueError, match="got latents=0, features=4"):
        kl_weight(0, 4)


def test_annealing_is_a_line_and_then_flat() -> None:
    ramp = [float(anneal(2.0, step, 4)) for step in range(7)]
    assert ramp == [0.0, 0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert float(anneal(2.0, jnp.asarray(0), None)) == 2.0


def test_metrics_of_a_batch_are_the_means_of_its_examples() -> None:
    mean, logvar = _posterior(3, 8, 5)
    halves = [posterior_metrics(jnp.asarray(mean[i : i + 4]), jnp.asarray(logvar[i : i + 4])) for i in (0, 4)]
    whole = posterior_metrics(jnp.asarray(mean), jnp.asarray(logvar))
    assert set(whole) == {"kl_nats", "logvar_mean", "std_mean", "mean_sq_mean"}
    for name, value in whole.items():
        np.testing.assert_allclose(value, (halves[0][name] + halves[1][name]) / 2, rtol=1e-5)
