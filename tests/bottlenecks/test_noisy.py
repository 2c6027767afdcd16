"""Noise of a random level on the latents."""

import jax
import numpy as np
import pytest

from laminate.bottlenecks.noisy import Noisy
from tests.oracles.arrays import normal

Z = normal(0, 400, 300)


def test_without_a_key_nothing_changes():
    z, level = Noisy(300)(Z)
    np.testing.assert_array_equal(z, Z)
    assert level == 0


def test_the_level_is_uniform_and_is_the_standard_deviation_of_what_is_added():
    noisy = Noisy(300, strength=0.5)
    run = jax.jit(lambda key: (lambda z, level: (level, (z - Z).std(), (z - Z).mean()))(*noisy(Z, key=key)))
    levels, stds, means = np.asarray([run(jax.random.key(i)) for i in range(30)]).T
    assert levels.min() > 0 and levels.max() < 0.5 and levels.std() > 0.1
    np.testing.assert_allclose(stds, levels, rtol=0.02)
    np.testing.assert_allclose(means, 0, atol=0.01)


def test_the_half_normal_level_has_the_mean_and_mean_square_of_one():
    """`|N(0, strength^2)|`: it goes beyond the strength, which the uniform one never does."""
    run = jax.jit(jax.vmap(lambda key: Noisy(3, strength=0.5, level="half-normal")(Z[:2, :3], key=key)[1]))
    levels = np.asarray(run(jax.random.split(jax.random.key(0), 4000)))
    assert levels.min() > 0 and levels.max() > 0.5
    np.testing.assert_allclose(levels.mean(), 0.5 * np.sqrt(2 / np.pi), rtol=0.04)
    np.testing.assert_allclose(np.square(levels).mean(), 0.25, rtol=0.08)


def test_a_negative_strength_is_refused():
    with pytest.raises(ValueError, match="is a standard deviation"):
        Noisy(4, strength=-1.0)
