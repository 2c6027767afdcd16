"""ViTok's generator: one modulation for all layers, places, padding, windows, and the released code's numbers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.models import GridLatent, SharedDit
from laminate.models.naflex import Places, Window, naflex_trunk, whole_grid
from laminate.nn import trunc_normal
from laminate.pretrained.keymaps.base import export, load
from laminate.pretrained.keymaps.vitok import dit_slots
from laminate.recipes.vitok_names import parse_generator
from tests.models.test_naflex import ruled
from tests.oracles.arrays import filled, normal

INIT = trunc_normal(0.3)


def network(window: Window | None = None, *, registers: int = 0) -> SharedDit:
    trunk = naflex_trunk(16, 4, 2, layer_scale=0.7, init=INIT)
    make = lambda key: SharedDit(
        trunk, GridLatent(3, 4, 5), classes=6, cls_token=True, registers=registers, window=window, key=key
    )
    return filled(make)


@eqx.filter_jit
def velocity(
    model: SharedDit, x: jax.Array, places: Places | None = None, label: int | None = 2
) -> jax.Array:
    return model(x, jnp.asarray(0.3), None if label is None else jnp.asarray(label), places=places)


def test_the_released_code_gives_the_same_numbers():
    model = SharedDit(naflex_trunk(64, 2, 4), GridLatent(2, 2, 8), classes=3, key=jax.random.key(0))
    names = export(model, dit_slots(model))
    scaled = ("norm_q.weight", "norm_k.weight", "gamma")
    weights = {
        name: ruled(name if name.endswith(scaled) else "", t, names[name])
        for t, name in enumerate(sorted(names))
    }
    model = load(model, dit_slots(model), weights)
    z = jnp.asarray(np.sin(0.3 * np.arange(64)).reshape(2, 4, 8), jnp.float32)
    at = jax.jit(lambda z, t, label: -model.at(z, t, label))
    first, second = at(z[0], jnp.asarray(500.0), jnp.asarray(1)), at(z[1], jnp.asarray(10.0), jnp.asarray(3))
    expected = [
        [0.0910449, 0.377333, 0.437237, 0.236905, -0.100608, -0.371441, -0.415334, -0.211792],
        [0.191147, 0.254972, 0.16977, -0.00657562, -0.166173, -0.21764, -0.139401, 0.0118277],
    ]
    np.testing.assert_allclose(np.stack([first[0], second[3]]), expected, atol=1e-5)


@pytest.mark.parametrize(("name", "parameters"), [("L/256", 311_269_440), ("G/256", 1_170_197_632)])
def test_parameters_are_those_of_the_released_code(name, parameters):
    variant = parse_generator(name)
    make = lambda key: SharedDit(naflex_trunk(*variant.sizes), GridLatent(16, 16, 64), key=key)
    shapes = eqx.filter_eval_shape(make, jax.random.key(0))
    frequencies = shapes.time.features.frequencies.value.size
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) - frequencies == parameters
    slots = dit_slots(shapes)
    assert name != "L/256" or sum(len(slot.keys) for slot in slots) == 202


def test_our_time_is_the_weights_time_backwards_and_the_null_class_is_no_label():
    model, x = network(), normal(0, 12, 5)
    at = jax.jit(lambda own: model.at(x, own, jnp.asarray(2)))(jnp.asarray(700.0))
    np.testing.assert_allclose(velocity(model, x), at, atol=1e-5)
    np.testing.assert_array_equal(velocity(model, x, None, None), velocity(model, x, None, 6))


@pytest.mark.parametrize("window", [None, Window(1), Window(2, "raster")])
def test_padding_changes_no_velocity_and_gets_none(window):
    model, x = network(window, registers=2), normal(0, 12, 5)
    bare = whole_grid(3, 4)
    padded = Places(jnp.pad(bare.row, (0, 5)), jnp.pad(bare.col, (0, 5)), jnp.arange(17) < 12)
    alone = velocity(model, x, bare)
    np.testing.assert_allclose(velocity(model, x), alone, atol=1e-6)
    among = velocity(model, jnp.concatenate([x, 100 * normal(1, 5, 5)]), padded)
    np.testing.assert_allclose(among[:12], alone, atol=2e-5)
    assert not np.asarray(among[12:]).any()


def test_a_window_holds_in_every_second_layer():
    """Of two layers the first sees everything, so a far token matters; of the second alone it would not."""
    x, far = normal(0, 12, 5), whole_grid(1, 12)
    windowed = network(Window(1))
    assert not np.allclose(velocity(windowed, x, far), velocity(network(), x, far), atol=1e-4)
    one = lambda model: eqx.tree_at(
        lambda m: m.stack.layers.layer_scale,
        model,
        model.stack.layers.layer_scale.at[jnp.asarray([0, 2, 3])].set(0),
    )
    silent = eqx.tree_at(lambda m: m.cls, one(windowed), jnp.zeros((1, 16)))
    changed = velocity(silent, x.at[11].add(1.0), far)
    np.testing.assert_allclose(changed[:10], velocity(silent, x, far)[:10], atol=1e-5)
    assert not np.allclose(changed[10], velocity(silent, x, far)[10], atol=1e-4)


def test_a_grid_of_another_size_needs_its_places():
    with pytest.raises(ValueError, match="stands on a grid of 3 x 4 and was given 7 tokens"):
        network()(normal(0, 7, 5), jnp.asarray(0.5))
    assert velocity(network(), normal(0, 7, 5), whole_grid(7, 1)).shape == (7, 5)


def test_loading_what_was_exported_gives_the_same_network():
    model = network(registers=2)
    weights = export(model, dit_slots(model))
    again = load(model, dit_slots(model), weights)
    for one, other in zip(jax.tree.leaves(model), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(weights["final_layer.linear.bias"], -np.asarray(model.output.linear.bias))
