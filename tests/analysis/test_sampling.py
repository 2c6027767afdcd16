"""Samples: functions of seed and number alone, on whatever path and mesh."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from laminate.analysis.generation import FlowConfig, flow_loss
from laminate.analysis.sampling import NotFiniteError, Sampler, SamplerConfig, SamplerParams
from laminate.flow import EULER, STRAIGHT, time_grid
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.tokenizers.latent_decoders import LatentDecoder
from laminate.tokenizers.normalization import Normalization
from tests.flow.circle import Circle, Turn
from tests.oracles.arrays import normal

TOKENS, CLASSES = 5, 3
LABELS = np.array([0, 2, 1, -1, 0, 1, 2], np.int64)
NORMALIZATION = Normalization(TOKENS, 2).measured(normal(2, TOKENS, 2), jnp.full((TOKENS, 2), 4.0))


class Targets(eqx.Module):
    """Predicts the data: the same for all samples of a class."""

    of_class: Array

    def __call__(self, x, t, label):
        return self.of_class[label].astype(x.dtype)


class Plain(LatentDecoder):
    """Pixels are the numbers of a latent."""

    def __call__(self, latents, *, dtype):
        return jnp.broadcast_to(latents[:, :1, None], (TOKENS, 1, 3))


NETWORK = Targets(normal(0, CLASSES + 1, TOKENS, 2))


def flow_on(path):
    return FlowConfig(TOKENS, 2, CLASSES, "data", 1e-3, True, False, jnp.dtype(jnp.float32), path)


def sampler(path, solver, *, mesh=(1, 1), size=4):
    return Sampler(
        flow_on(path),
        NETWORK,
        Plain(),
        NORMALIZATION,
        mesh=build_mesh(MeshShape(*mesh)),
        config=SamplerConfig(solver),
        device_batch_size=size,
    )


def drawn(sampler, labels=LABELS, *, last=0.5, **options):
    parts = list(sampler.draw(labels, SamplerParams(3, time_grid(4, last=last)), **options))
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


@pytest.mark.parametrize(("mesh", "size"), [((1, 1), 4), ((1, 1), 7), ((2, 2), 1), ((2, 4), 1)])
def test_samples_come_in_order_whatever_the_batch_and_without_its_padding(mesh, size):
    numbers, latents, images = drawn(sampler(STRAIGHT, EULER, mesh=mesh, size=size))
    assert numbers.tolist() == list(range(7))
    noise = [jax.random.normal(jax.random.fold_in(jax.random.key(3), i), (TOKENS, 2)) for i in numbers]
    data = NETWORK.of_class[np.where(LABELS < 0, CLASSES, LABELS)]
    np.testing.assert_allclose(latents, (jnp.stack(noise) + data) / 2.0, atol=1e-5)
    np.testing.assert_allclose(
        images[:, :, 0, 0], 2.0 * latents[..., 0] + np.asarray(NORMALIZATION.mean.value)[:, 0], atol=1e-5
    )


def test_samples_have_the_numbers_that_are_asked_for():
    numbers, latents, _ = drawn(sampler(STRAIGHT, EULER))
    later, same, _ = drawn(sampler(STRAIGHT, EULER), LABELS[2:], first=2)
    np.testing.assert_array_equal(later, numbers[2:])
    np.testing.assert_allclose(same, latents[2:], atol=1e-6)


@pytest.mark.parametrize(("mesh", "count"), [((1, 1), 3), ((1, 1), 9), ((2, 2), 5)])
def test_other_latents_are_decoded_in_their_order(mesh, count):
    latents = np.asarray(normal(1, count, TOKENS, 2))
    images = sampler(STRAIGHT, EULER, mesh=mesh, size=1).decode(latents)
    wanted = 2.0 * latents[..., 0] + np.asarray(NORMALIZATION.mean.value)[:, 0]
    np.testing.assert_allclose(images[:, :, 0, 0], wanted, atol=1e-5)


def test_on_a_curved_path_noise_and_samples_lie_in_its_space():
    _, latents, _ = drawn(sampler(Circle(), Turn()), last=1.0)
    np.testing.assert_allclose(np.linalg.norm(latents, axis=-1), 1.0, rtol=1e-5)
    wanted = Circle().project(NETWORK.of_class)[np.where(LABELS < 0, CLASSES, LABELS)]
    np.testing.assert_allclose(latents, wanted, atol=1e-4)


@pytest.mark.parametrize("path", [STRAIGHT, Circle()], ids=["straight", "circle"])
def test_the_loss_of_a_network_that_knows_the_data_is_zero_on_its_path(path):
    z = path.project(NETWORK.of_class[1])
    loss = flow_loss(
        flow_on(path),
        eqx.tree_at(lambda n: n.of_class, NETWORK, jnp.broadcast_to(z, NETWORK.of_class.shape)),
        z,
        jnp.asarray(1),
        times="uniform",
        time_shift=3.0,
        class_dropout=0.1,
        key=SamplerParams(5, time_grid(1)).key,
    )
    assert float(loss) < 1e-6


def test_a_sample_that_breaks_is_named():
    broken = eqx.tree_at(lambda n: n.of_class, NETWORK, NETWORK.of_class.at[2].set(jnp.nan))
    with pytest.raises(NotFiniteError, match="image 1 is not finite at step 1 of 4 steps"):
        drawn(sampler(STRAIGHT, EULER), network=broken)
