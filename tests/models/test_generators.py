"""LightningDiT and DiT^DH: sizes, start, conditions, and what stands beside the latent."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.models import Ddt, Dit, FlatLatent, ImageLatent, Trunk
from laminate.nn import RMSNorm
from tests.oracles.arrays import filled, normal

TRUNK = Trunk(dim=8, depth=3, heads=2, hidden=5, norm=RMSNorm, qk_norm=False)
HEAD = Trunk(dim=12, depth=2, heads=3, hidden=7, norm=RMSNorm, qk_norm=False)
FLAT, IMAGE = FlatLatent(5, 3), ImageLatent(4, 3, patch=2)
dit, ddt = partial(Dit, TRUNK), partial(Ddt, TRUNK, HEAD)
NETWORKS = {
    "dit of tokens": (partial(dit, FLAT, classes=6), (5, 3)),
    "dit of images": (partial(dit, IMAGE, classes=6, learn_sigma=True), (4, 4, 3)),
    "dit without shift": (
        partial(dit, FLAT, classes=6, shift=False, rotary=False, positions="learned"),
        (5, 3),
    ),
    "ddt of tokens": (partial(ddt, FLAT, classes=6), (5, 3)),
    "ddt of images": (partial(ddt, IMAGE, classes=6, positions="sincos"), (4, 4, 3)),
}
every_network = pytest.mark.parametrize("name", NETWORKS)
T = jnp.asarray(0.3)


@jax.jit
def run(network, x, t, label):
    return network(x, t, label)


@every_network
def test_a_fresh_network_returns_zeros_in_the_shape_of_the_latent(name):
    make, shape = NETWORKS[name]
    # This generator compiles many times faster than the default one.
    network = make(key=jax.random.key(0, impl="unsafe_rbg"))
    np.testing.assert_array_equal(run(network, normal(0, *shape), T, jnp.asarray(1)), np.zeros(shape))


@every_network
def test_the_velocity_depends_on_state_time_and_label(name):
    make, shape = NETWORKS[name]
    network = filled(lambda key: make(key=key))
    x, label = normal(0, *shape), jnp.asarray(1)
    y = run(network, x, T, label)
    for other in (
        run(network, x + 0.1, T, label),
        run(network, x, T + 0.1, label),
        run(network, x, T, label + 1),
    ):
        assert float(jnp.max(jnp.abs(other - y))) > 1e-4
    np.testing.assert_allclose(run(network, x, T, None), run(network, x, T, jnp.asarray(6)), atol=1e-6)


@every_network
def test_places_differ(name):
    """Equal tokens at different places get different velocities: positions or rotation tell them apart."""
    make, shape = NETWORKS[name]
    network = filled(lambda key: make(key=key))
    x = jnp.broadcast_to(normal(1, shape[-1]), shape)
    assert float(jnp.max(jnp.std(run(network, x, T, None).reshape(-1, shape[-1]), axis=0))) > 1e-4


@pytest.mark.parametrize("make", [dit, ddt], ids=["dit", "ddt"])
def test_a_class_token_is_denoised_beside_the_latent(make):
    network = filled(lambda key: make(FLAT, classes=6, cls_dim=4, key=key))
    joint = jax.jit(lambda network, x, cls: network.joint(x, cls, T, jnp.asarray(1)))
    x, cls = normal(0, 5, 3), normal(1, 4)
    velocity, of_cls = joint(network, x, cls)
    assert velocity.shape == (5, 3) and of_cls.shape == (4,)
    other, of_other = joint(network, x, cls + 1.0)
    assert float(jnp.max(jnp.abs(other - velocity))) > 1e-5
    assert float(jnp.max(jnp.abs(of_other - of_cls))) > 1e-5


def test_a_head_decodes_what_its_encoder_encoded():
    network = filled(lambda key: ddt(FLAT, classes=6, key=key))
    x = normal(0, 5, 3)
    encoded = network.encode(x, T, jnp.asarray(1))
    assert encoded.shape == (5, TRUNK.dim)
    np.testing.assert_allclose(network.decode(x, encoded), run(network, x, T, jnp.asarray(1)), atol=1e-5)


def test_wrong_inputs_are_refused():
    network = dit(FLAT, classes=6, key=jax.random.key(0))
    with pytest.raises(ValueError, match="positions for 5 tokens"):
        network(normal(0, 4, 3), T)
    with pytest.raises(ValueError, match="cls_dim"):
        network.joint(normal(0, 5, 3), normal(1, 4), T)
    # In the tests the annotation refuses it first.
    with pytest.raises(Exception, match="positions"):
        dit(FLAT, positions="sincoss", key=jax.random.key(0))
    with pytest.raises(Exception, match="time_features"):
        dit(FLAT, time_features="fourrier", key=jax.random.key(0))
