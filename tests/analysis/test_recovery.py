"""A generator that knows the image recovers it from any time, and begins where the noise left off."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from laminate.analysis.generation import FlowConfig
from laminate.analysis.recovery import Recovery, guess_error
from laminate.flow import EULER, time_grid
from laminate.parallel.mesh import MeshShape, build_mesh

TOKENS, DIM, CLASSES = 3, 5, 2
RNG = np.random.default_rng(0)
KNOWN = RNG.normal(size=(CLASSES, TOKENS, DIM)).astype(np.float32)


class Knowing(eqx.Module):
    """Predicts the one latent of each class."""

    latents: Array

    def __call__(self, x: Array, t: Array, label: Array, *, key: Array | None = None) -> Array:
        return self.latents[label]


class Shown(eqx.Module):
    """A picture whose rows are the tokens."""

    def __call__(self, latents: Array, *, dtype: jnp.dtype) -> Array:
        return jnp.broadcast_to(latents[..., None], (*latents.shape, 3))


FLOW = FlowConfig(
    TOKENS,
    DIM,
    CLASSES,
    predicts="data",
    min_one_minus_t=1e-6,
    normalize=False,
    posterior=False,
    dtype=jnp.dtype(jnp.float32),
)


@pytest.fixture(scope="module")
def recovery() -> Recovery:
    network = Knowing(jnp.asarray(KNOWN))
    mesh = build_mesh(MeshShape(2))
    return Recovery(FLOW, network, (Shown(), None), EULER, mesh=mesh, device_batch_size=2)


@pytest.mark.parametrize("first", [0, 3, 6])
def test_what_the_generator_knows_is_recovered_from_any_time(recovery, first):
    labels = np.asarray([0, 1, 1, 0, 1], np.int32)
    grid = time_grid(7, time_shift=2.0).begun(first)
    found = recovery(KNOWN[labels], labels, grid, seed=1)
    assert found.error.max() < 1e-8
    np.testing.assert_allclose(found.images[..., 0], KNOWN[labels], atol=1e-4)
    # The noisy latent is where the straight path has it: (1 - t) (noise - z) away.
    noise = np.stack([FLOW.noise(jax.random.fold_in(jax.random.key(1), i)) for i in range(5)])
    apart = (1.0 - float(grid.times[0])) * (noise - KNOWN[labels])
    np.testing.assert_allclose(found.noisy, np.square(apart).mean(-1), rtol=1e-4)


def test_the_rest_of_a_grid_is_its_later_times_and_not_less_than_one_step():
    grid = time_grid(5, time_shift=3.0, capacity=8)
    rest = grid.begun(2)
    assert rest.times.shape == grid.times.shape and int(rest.intervals) == 3
    np.testing.assert_array_equal(rest.times[:4], grid.times[2:6])
    assert float(rest.times[-1]) == 1.0
    with pytest.raises(ValueError, match="none left at point 5"):
        grid.begun(5)


def test_the_best_guess_of_gaussian_latents_is_the_posterior_mean():
    t, draws = 0.3, RNG.normal(size=(2, 200_000))
    data, noise = draws
    seen = t * data + (1 - t) * noise
    weight = np.dot(seen, data) / np.dot(seen, seen)
    np.testing.assert_allclose(
        np.square(weight * seen - data).mean(), guess_error(np.asarray([t]))[0], rtol=0.01
    )
    np.testing.assert_array_equal(guess_error(np.asarray([0.0, 1.0])), [1.0, 0.0])
