"""AdamW: what decays, what the clip sees, and that shards change nothing."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array

from laminate.models.patchgan import PatchGan
from laminate.nn import Conv1d, Conv2d, Linear, SpectralNorm, Stack
from laminate.train.optim import adamw, decay_mask, evaluation_params, muon, schedule_free
from laminate.train.schedules import constant
from laminate.types import Buffer, Lazy, Scanned, split_buffers


class Affine(eqx.Module):
    weight: Array | Lazy
    bias: Array | None


class Layer(eqx.Module):
    norm: Affine
    linear: Affine


class Layers(Scanned):
    layer: Layer


class Nested(Scanned):
    inner: Layers


class Tree(eqx.Module):
    patch: Affine
    layers: Layers
    nested: Nested
    registers: Array
    norm: Affine
    head: Affine
    statistics: Buffer


class Whole(Lazy):
    value: Array

    def resolve(self) -> Array:
        return self.value


def layer(*stack: int) -> Layer:
    return Layer(
        Affine(jnp.ones((*stack, 5)), jnp.ones((*stack, 5))),
        Affine(jnp.ones((*stack, 7, 5)), jnp.ones((*stack, 7))),
    )


def tree() -> Tree:
    return Tree(
        patch=Affine(jnp.ones((5, 2, 2, 3)), jnp.ones(5)),
        layers=Layers(layer(3)),
        nested=Nested(Layers(layer(2, 3))),
        registers=jnp.ones((4, 5)),
        norm=Affine(jnp.ones(5), None),
        head=Affine(Whole(jnp.ones((7, 5))), jnp.ones(7)),
        statistics=Buffer(jnp.ones((4, 6))),
    )


def decaying(params) -> set[str]:
    flags = jax.tree_util.tree_leaves_with_path(decay_mask(params))
    return {jax.tree_util.keystr(path) for path, flag in flags if flag}


def test_only_the_weights_of_linear_maps_and_convolutions_decay():
    params, _ = split_buffers(tree())
    assert decaying(params) == {
        ".patch.weight",
        ".layers.layer.linear.weight",
        ".nested.inner.layer.linear.weight",
        ".head.weight.value",
    }


def test_the_mask_has_the_shape_of_the_parameters():
    params, _ = split_buffers(tree())
    assert jax.tree.structure(decay_mask(params)) == jax.tree.structure(params)


def test_a_scanned_root_has_its_depth_axis_discounted():
    assert decaying(Layers(layer(3))) == {".layer.linear.weight"}
    assert decaying(layer()) == {".linear.weight"}


@pytest.mark.parametrize(("steps", "decay"), [(1, 0.5), (5, 0.02)])
def test_without_gradients_weights_shrink_by_the_rate_and_nothing_else_moves(steps, decay):
    params, _ = split_buffers(tree())
    optimizer = adamw(constant(0.1), weight_decay=decay)

    @jax.jit
    def step(trained, state):
        updates, state = optimizer.update(jax.tree.map(jnp.zeros_like, params), state, trained)
        return optax.apply_updates(trained, updates), state

    trained, state = params, optimizer.init(params)
    for _ in range(steps):
        trained, state = step(trained, state)
    kept = (1 - 0.1 * decay) ** steps
    for (path, before), after, flag in zip(
        jax.tree_util.tree_leaves_with_path(params),
        jax.tree.leaves(trained),
        jax.tree.leaves(decay_mask(params)),
        strict=True,
    ):
        wanted = np.asarray(before) * (kept if flag else 1.0)
        np.testing.assert_allclose(after, wanted, rtol=2e-6, err_msg=jax.tree_util.keystr(path))


def oracle(params, gradients, *, rate, b1, b2, eps, decay, clip):
    """AdamW in NumPy float64 on a dict of arrays; `w*` names decay."""
    mean = {name: np.zeros(value.shape) for name, value in params.items()}
    square = {name: np.zeros(value.shape) for name, value in params.items()}
    params = {name: np.asarray(value, np.float64) for name, value in params.items()}
    for count, gradient in enumerate(gradients, start=1):
        norm = np.sqrt(sum(np.sum(np.square(np.asarray(g, np.float64))) for g in gradient.values()))
        scale = min(1.0, clip / norm)
        for name in params:
            g = np.asarray(gradient[name], np.float64) * scale
            mean[name] = b1 * mean[name] + (1 - b1) * g
            square[name] = b2 * square[name] + (1 - b2) * g * g
            step = (mean[name] / (1 - b1**count)) / (np.sqrt(square[name] / (1 - b2**count)) + eps)
            params[name] = params[name] - rate * (step + decay * params[name] * (name == "weight"))
    return params


@pytest.mark.parametrize("clip", [0.5, 1e6])
def test_update_equals_adamw_with_a_global_clip(clip):
    rng = np.random.default_rng(3)
    params = {"weight": rng.normal(size=(5, 3)), "bias": rng.normal(size=5)}
    gradients = [{name: rng.normal(size=value.shape) for name, value in params.items()} for _ in range(4)]
    wanted = oracle(params, gradients, rate=0.01, b1=0.8, b2=0.95, eps=1e-8, decay=0.3, clip=clip)

    def affine(values):
        return Affine(jnp.asarray(values["weight"], jnp.float32), jnp.asarray(values["bias"], jnp.float32))

    optimizer = adamw(constant(0.01), b1=0.8, b2=0.95, weight_decay=0.3, clip_norm=clip)

    @jax.jit
    def step(trained, state, gradient):
        updates, state = optimizer.update(gradient, state, trained)
        return optax.apply_updates(trained, updates), state

    trained, state = affine(params), optimizer.init(affine(params))
    for gradient in gradients:
        trained, state = step(trained, state, affine(gradient))
    np.testing.assert_allclose(trained.weight, wanted["weight"], rtol=2e-5)
    np.testing.assert_allclose(trained.bias, wanted["bias"], rtol=2e-5)


@pytest.mark.parametrize("clip", [0.5, 1e6, None])
def test_every_operation_and_the_state_are_those_of_optax_s_chain(clip):
    rule = optax.adamw(constant(0.01), b1=0.8, b2=0.95, weight_decay=0.3, mask=decay_mask)
    theirs = optax.chain(optax.identity() if clip is None else optax.clip_by_global_norm(clip), rule)
    ours = adamw(constant(0.01), b1=0.8, b2=0.95, weight_decay=0.3, clip_norm=clip)
    rng = np.random.default_rng(5)
    draw = lambda: Affine(
        jnp.asarray(rng.normal(size=(5, 3)), jnp.float32), jnp.asarray(rng.normal(size=5), jnp.float32)
    )
    params = draw()
    state, wanted_state = ours.init(params), theirs.init(params)
    for _ in range(3):
        gradient = draw()
        updates, state = ours.update(gradient, state, params)
        with jax.numpy_dtype_promotion("standard"):
            wanted, wanted_state = theirs.update(gradient, wanted_state, params)
        assert eqx.tree_equal((updates, state), (wanted, wanted_state))


def test_sharding_over_eight_devices_changes_nothing(getkey):
    mesh = jax.make_mesh((8,), ("shards",))
    weight, bias = jax.random.normal(getkey(), (16, 5)), jax.random.normal(getkey(), (16,))
    params, gradient = Affine(weight, bias), Affine(3.0 * weight + 1.0, 2.0 * bias)
    optimizer = adamw(constant(0.01), weight_decay=0.1, clip_norm=0.7)

    @jax.jit
    def train(params, gradient):
        state = optimizer.init(params)
        for _ in range(3):
            updates, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        clipped, _ = optax.clip_by_global_norm(0.7).update(gradient, optax.EmptyState())
        return params, optax.tree.norm(clipped)

    def shard(tree):
        return jax.device_put(tree, NamedSharding(mesh, PartitionSpec("shards")))

    whole, norm = train(params, gradient)
    sharded, sharded_norm = train(shard(params), shard(gradient))
    assert not sharded.weight.sharding.is_fully_replicated
    np.testing.assert_allclose(norm, 0.7, rtol=1e-6)
    np.testing.assert_allclose(sharded_norm, norm, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), whole, sharded)


@pytest.mark.parametrize(("name", "value"), [("weight_decay", -0.1), ("clip_norm", 0.0)])
def test_impossible_options_are_refused_with_their_value(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        adamw(constant(0.1), **{name: value})


def test_schedule_free_steps_from_its_average_and_keeps_it():
    """Defazio et al. 2024: y = (1 - b) z + b x; z moves by Adam without momentum at y; x averages z."""
    rate, b1, b2, eps = 0.05, 0.8, 0.9, 1e-8
    rule = schedule_free(constant(rate), b1=b1, b2=b2, weight_decay=0.0, clip_norm=None)
    y = {"scale": jnp.asarray([1.0, -2.0, 0.5])}
    state = rule.init(y)
    x = z = np.asarray([1.0, -2.0, 0.5])
    square = np.zeros(3)
    for step in range(1, 5):
        gradient = 2.0 * np.asarray(y["scale"]) + step
        updates, state = rule.update({"scale": jnp.asarray(gradient, jnp.float32)}, state, y)
        y = optax.apply_updates(y, updates)
        square = b2 * square + (1 - b2) * gradient**2
        z = z - rate * gradient / (np.sqrt(square / (1 - b2**step)) + eps)
        x = x + (z - x) / step
        np.testing.assert_allclose(y["scale"], (1 - b1) * z + b1 * x, rtol=1e-5)
        np.testing.assert_allclose(evaluation_params(state, y)["scale"], x, rtol=1e-5)
    assert evaluation_params(adamw(constant(rate)).init(y), y) is None


def condition(update, depth_axes=0):
    """The largest condition, over the stacked layers, of an update as matrices out x everything behind."""
    rows = update.shape[depth_axes]
    flat = np.asarray(update, np.float64).reshape(-1, rows, int(np.prod(update.shape[depth_axes + 1 :])))
    values = np.linalg.svd(flat, compute_uv=False)
    return float(np.max(values[:, 0] / values[:, -1]))


LAYERS = {
    "linear": lambda key: Linear(12, 5, key=key),
    "image": lambda key: Conv2d(3, 5, (4, 2), key=key),
    "sequence": lambda key: Conv1d(3, 4, 5, key=key),
    "spectral": lambda key: SpectralNorm(Conv2d(6, 5, 3, key=key), key=key),
    "stack": lambda key: Stack(lambda k: Conv2d(5, 5, 3, padding="same", key=k), 3, key=key),
    "stacked spectral": lambda key: Stack(
        lambda k: SpectralNorm(Conv2d(5, 5, 3, padding="same", key=k), key=k), 2, key=key
    ),
    "patchgan": lambda key: PatchGan(layers=2, width=4, norm="spectral", key=key),
}


@pytest.mark.parametrize("name", LAYERS)
def test_muon_s_matrix_of_a_kernel_is_out_by_in_times_kernel(name, getkey):
    """Its update is orthogonal as that matrix, but for the bounds of five Newton-Schulz iterations."""
    params, _ = split_buffers(LAYERS[name](getkey()))
    leaves, structure = jax.tree.flatten(params)
    gradient = jax.tree.unflatten(structure, [jax.random.normal(getkey(), leaf.shape) for leaf in leaves])
    rule = muon(constant(1.0), weight_decay=0.0, clip_norm=None)
    updates, _ = rule.update(gradient, rule.init(params), params)
    depth = 1 if name.startswith("stack") else 0
    seen = 0
    for (path, update), decays in zip(
        jax.tree_util.tree_leaves_with_path(updates), jax.tree.leaves(decay_mask(params)), strict=True
    ):
        assert decays == jax.tree_util.keystr(path).endswith(".weight")
        if not decays:
            continue
        seen += 1
        assert condition(update, depth) < 2.5
        rows, columns = update.shape[depth], int(np.prod(update.shape[depth + 1 :]))
        # As large as Adam's: a root mean square of 0.2 for full rank.
        flat = np.asarray(update).reshape(-1, rows * columns)
        wanted = 0.2 * np.sqrt(min(rows, columns) * max(rows, columns) / (rows * columns))
        np.testing.assert_allclose(np.sqrt(np.mean(np.square(flat), axis=1)), wanted, rtol=0.35)
    assert seen == (4 if name == "patchgan" else 1)


@pytest.mark.parametrize("name", ["linear", "image", "sequence"])
def test_every_layer_lays_its_weight_out_with_the_outputs_first(name, getkey):
    weight = LAYERS[name](getkey()).weight
    layer = LAYERS[name](getkey())
    assert weight.shape[0] == getattr(layer, "out_dim", None) or weight.shape[0] == layer.out_channels
