"""Laws of the distance that takes fine detail by its direction and its strength as well."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.losses.detail import detail_loss
from laminate.losses.filters import low_half

SHAPES = st.sampled_from([(7, 12, 3), (16, 10, 1), (11, 9, 2)])
EPS = 1e-3


def bands(seed: int, shape: tuple[int, int, int], *, amount: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """A coarse image around a half, and fine detail; their sum lies within [0, 1]."""
    coarse, fine = np.random.default_rng(seed).uniform(-1.0, 1.0, size=(2, *shape)).astype(np.float32)
    coarse = 0.5 + 0.02 * np.asarray(low_half(jnp.asarray(coarse)))
    return coarse, amount * (fine - np.asarray(low_half(jnp.asarray(fine))))


def strength(fine: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(fine.astype(np.float64))) + EPS**2))


@given(seed=st.integers(0, 2**16), shape=SHAPES, dtype=st.sampled_from([jnp.float32, jnp.bfloat16]))
def test_equal_images_have_none_and_others_more(seed, shape, dtype):
    image = jnp.asarray(np.random.default_rng(seed).uniform(size=shape), dtype)
    assert detail_loss(image, image).dtype == jnp.float32
    np.testing.assert_allclose(detail_loss(image, image), 0.0, atol=1e-6)
    assert detail_loss(image, 1 - image) > 1e-3


@given(seed=st.integers(0, 2**16), shape=SHAPES, shift=st.floats(-0.2, 0.2))
def test_coarse_structure_counts_by_its_values_alone(seed, shape, shift):
    coarse, fine = bands(seed, shape)
    loss = detail_loss(jnp.asarray(coarse + fine + np.float32(shift)), jnp.asarray(coarse + fine))
    np.testing.assert_allclose(loss, abs(shift), rtol=1e-4, atol=2e-6)


@given(
    seed=st.integers(0, 2**16),
    shape=SHAPES,
    gain=st.floats(0.0, 3.0),
    direction=st.floats(0.0, 8.0),
    weight=st.floats(0.0, 8.0),
)
def test_detail_of_another_strength_counts_by_its_strength(seed, shape, gain, direction, weight):
    coarse, fine = bands(seed, shape)
    own, wanted = strength(gain * fine), strength(fine)
    turned = wanted - (gain * np.mean(np.square(fine.astype(np.float64))) + EPS**2) / own
    values = abs(gain - 1) * np.mean(np.abs(fine))
    loss = detail_loss(
        jnp.asarray(coarse + np.float32(gain) * fine),
        jnp.asarray(coarse + fine),
        direction=direction,
        strength=weight,
    )
    np.testing.assert_allclose(
        loss, values + direction * turned + weight * abs(own - wanted), rtol=2e-3, atol=5e-6
    )


@pytest.mark.parametrize(("unknown", "sharpest"), [(0.0, 1.0), (0.75, 1.25), (4 / 3, 5 / 3)])
def test_what_is_known_is_best_shown_with_the_strength_of_known_and_unknown_together(unknown, sharpest):
    """Where images have detail of which half is random, an error of values is least without that half: at gain one."""
    shape = (24, 20, 3)
    coarse, known = bands(0, shape, amount=0.05)
    chance = np.stack([bands(seed, shape, amount=0.05)[1] for seed in range(1, 25)])
    power = lambda x: np.mean(np.square(x))
    chance -= known * (np.mean(chance * known, axis=(1, 2, 3)) / power(known))[:, None, None, None]
    chance *= (
        unknown * np.sqrt(power(known) / np.mean(np.square(chance), axis=(1, 2, 3)))[:, None, None, None]
    )
    targets = jnp.asarray(coarse + known + chance, jnp.float32)
    gains = np.arange(0.5, 2.5, 1 / 24, dtype=np.float32)
    images = jnp.asarray(coarse + gains[:, None, None, None] * known, jnp.float32)
    risk = lambda loss: jax.vmap(lambda x: jnp.mean(jax.vmap(lambda y: loss(x, y))(targets)))(images)
    assert abs(gains[np.argmin(risk(detail_loss))] - sharpest) < 1 / 20
    assert abs(gains[np.argmin(risk(lambda x, y: jnp.mean(jnp.square(x - y))))] - 1.0) < 1 / 20


def test_detail_beyond_white_and_black_is_none_and_equal_images_have_a_slope():
    coarse, fine = bands(3, (16, 16, 3))
    target = jnp.asarray(coarse + fine)
    white, more = jnp.ones((16, 16, 3)), 50 * jnp.abs(jnp.asarray(fine))
    np.testing.assert_allclose(detail_loss(white + more, white), jnp.mean(more), rtol=1e-5)
    for image in (target, jnp.zeros((16, 16, 3)), white):
        assert bool(jnp.all(jnp.isfinite(jax.grad(detail_loss)(image, target))))
        assert bool(jnp.all(jnp.isfinite(jax.grad(detail_loss)(image, image))))
