"""Laws of the measure of fine detail."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from laminate.evals.sharpness import high_frequency_energy, sharpness
from laminate.losses.filters import gaussian_blur
from tests.oracles.arrays import normal

X = jax.nn.sigmoid(normal(0, 12, 17, 3))


def test_it_is_one_for_the_original_and_falls_with_every_blur() -> None:
    values = [float(sharpness(gaussian_blur(X, sigma=sigma), X)) for sigma in (0.5, 1.0, 2.0)]
    np.testing.assert_allclose(sharpness(X, X), 1, rtol=1e-6)
    assert 1 > values[0] > values[1] > values[2] > 0
    assert sharpness(X + 0.1 * normal(1, 12, 17, 3), X) > 1


@settings(max_examples=10)
@given(contrast=st.floats(0.125, 4.0), brightness=st.floats(-1.0, 1.0))
def test_contrast_counts_squared_and_brightness_not_at_all(contrast: float, brightness: float) -> None:
    np.testing.assert_allclose(sharpness(contrast * X + brightness, X), contrast**2, rtol=1e-3)


def test_a_wave_keeps_what_the_blur_takes_of_it() -> None:
    """Away from the border a blur multiplies a wave by `exp(-sigma^2 w^2 / 2)`."""
    w, sigma = np.pi / 2, 1.0
    wave = jnp.asarray(np.broadcast_to(np.cos(w * np.arange(33))[None, :, None], (1, 33, 1)), jnp.float32)
    kept = (1 - np.exp(-(sigma**2) * w**2 / 2)) ** 2
    energy = high_frequency_energy(wave, sigma=sigma) / jnp.sum(jnp.square(wave))
    np.testing.assert_allclose(energy, kept, rtol=1e-2)
    assert high_frequency_energy(jnp.ones((5, 6, 1))) < 1e-10
