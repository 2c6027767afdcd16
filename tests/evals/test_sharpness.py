"""Laws of the measure of fine detail."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from laminate.evals.sharpness import high_frequency_energy, sharpness
from laminate.losses.filters import gaussian_blur, low_half
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


def test_a_wave_is_all_detail_above_half_of_nyquist_and_none_below() -> None:
    """The cosine waves of the transform are orthogonal, so each is on one side."""
    size = 17
    for frequency in range(size):
        wave = np.cos(np.pi * frequency * (np.arange(size) + 0.5) / size)
        image = jnp.asarray(np.broadcast_to(wave[None, :, None], (6, size, 2)), jnp.float32)
        energy = float(high_frequency_energy(image) / jnp.sum(jnp.square(image)))
        np.testing.assert_allclose(energy, float(frequency >= (size + 1) // 2), atol=1e-5)


@settings(max_examples=10)
@given(height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 9))
def test_the_energies_of_both_parts_add_up(height: int, width: int, seed: int) -> None:
    image = normal(seed, height, width, 3)
    parts = jnp.sum(jnp.square(low_half(image))) + high_frequency_energy(image)
    np.testing.assert_allclose(parts, jnp.sum(jnp.square(image)), rtol=1e-5)
