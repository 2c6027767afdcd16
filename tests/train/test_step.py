"""The step on every mesh is the plain gradient step on one device.

Parameters are compared after SGD, in which a gradient that is off by a factor shows. After Adam they are not:
where a gradient is nearly zero, its normalisation turns round-off into a full step. Its losses agree all the same.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from laminate.bottlenecks.gaussian import Gaussian
from laminate.losses.divergence import kl_loss
from laminate.losses.reconstruction import mse_loss
from laminate.models.vit import Trunk, Vit
from laminate.nn import Linear
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.parallel.sharding import batch_sharding, layout, place
from laminate.tokenizers import FlatDino, Normalization
from laminate.train.state import TrainState, init_state
from laminate.train.step import joined, make_evaluation, make_map, make_step, map_batches
from laminate.types import join_buffers
from tests.oracles.arrays import filled, normal

STEPS, ROWS, PATCHES, WIDTH = 3, 8, 4, 6
RATE, DECAY = 0.5, 0.75
MESHES = [(1, 1), (4, 1), (1, 4), (2, 2)]


def flatdino(key: Any) -> FlatDino:
    trunk = Trunk(dim=8, depth=2, heads=2, hidden=12)
    encoder = Vit(trunk, tokens=PATCHES, in_dim=WIDTH, out_dim=6, registers=3, positions="sincos", key=key)
    decoder = Vit(trunk, tokens=2, in_dim=3, out_dim=WIDTH, registers=5, key=key)
    return FlatDino(encoder, Gaussian(3), decoder, encoder_disposable=1, decoder_disposable=1)


def model() -> FlatDino:
    made = filled(flatdino)
    return eqx.tree_at(lambda m: m.normalization, made, Normalization(2, 3))


def objective(model: Any, frozen: Any, example: dict[str, Any], *, step: Any, key: Any) -> tuple[Any, Any]:
    """A beta-VAE on masked features: two uses of the key, and a frozen network."""
    k_mask, k_sample = jax.random.split(key)
    clean = frozen(example["image"])
    kept = jax.random.bernoulli(k_mask, 0.7, clean.shape)
    z, posterior = model.encode_raw(jnp.where(kept, clean, jnp.zeros_like(clean)), key=k_sample)
    reconstruction = mse_loss(model.decode_raw(z, dtype=clean.dtype).final, clean)
    kl = kl_loss(posterior.mean, posterior.logvar)
    return reconstruction + 0.01 * kl, {"reconstruction": reconstruction, "kl": kl}


FROZEN = filled(lambda key: Linear(WIDTH, WIDTH, key=key), scale=0.5)
BATCHES = [{"image": normal(seed, ROWS, PATCHES, WIDTH)} for seed in range(STEPS)]


class Trained(NamedTuple):
    state: TrainState
    losses: list[float]
    metrics: list[dict[str, float]]
    path: list[Any]
    first: TrainState


def start(optimizer: optax.GradientTransformation, *, averaged: bool = False) -> TrainState:
    return init_state(model(), optimizer, averaged=averaged, key=jax.random.key(9))


def train(
    shape: tuple[int, int],
    optimizer: optax.GradientTransformation,
    *,
    micro: int = 1,
    dtype: Any = jnp.float32,
) -> Trained:
    mesh = build_mesh(MeshShape(*shape))
    state = place(start(optimizer, averaged=True), mesh)
    frozen, first = place(FROZEN, mesh), state
    step = make_step(
        objective,
        optimizer,
        state,
        frozen,
        mesh=mesh,
        micro_batches=micro,
        ema_decay=DECAY,
        compute_dtype=jnp.dtype(dtype),
    )
    metrics, path = [], []
    for batch in BATCHES:
        state, values = step(state, frozen, jax.device_put(batch, batch_sharding(mesh)))
        metrics.append({name: float(value) for name, value in values.items()})
        path.append(jax.device_get(state.params))
    return Trained(state, [values["loss"] for values in metrics], metrics, path, first)


class Plain(NamedTuple):
    path: list[Any]
    metrics: list[dict[str, float]]


@pytest.fixture(scope="module")
def plain() -> Plain:
    """The same training written down without mesh, step or optimiser."""
    state = start(optax.sgd(RATE))

    @jax.jit
    def gradient(params: Any, number: Any, batch: Any) -> Any:
        def mean_loss(params: Any) -> Any:
            def one(row: Any, image: Any) -> Any:
                key = jax.random.fold_in(jax.random.fold_in(state.key, number), row)
                whole = join_buffers(params, state.buffers)
                return objective(whole, FROZEN, {"image": image}, step=number, key=key)

            losses, metrics = jax.vmap(one)(jnp.arange(ROWS), batch["image"])
            return jnp.mean(losses), {**jax.tree.map(jnp.mean, metrics), "loss": jnp.mean(losses)}

        return jax.grad(mean_loss, has_aux=True)(params)

    params, path, seen = state.params, [], []
    for number, batch in enumerate(BATCHES):
        grads, metrics = gradient(params, jnp.int32(number), batch)
        squares = sum(float(np.square(np.asarray(leaf, np.float64)).sum()) for leaf in jax.tree.leaves(grads))
        params = jax.tree.map(lambda p, g: np.asarray(p) - np.float32(RATE) * np.asarray(g), params, grads)
        seen.append({name: float(value) for name, value in metrics.items()} | {"grad_norm": squares**0.5})
        path.append(params)
    return Plain(path, seen)


@pytest.fixture(scope="module", params=[*[(shape, 1) for shape in MESHES], ((2, 2), 2)], ids=str)
def trained(request: pytest.FixtureRequest) -> Trained:
    shape, micro = request.param
    return train(shape, optax.sgd(RATE), micro=micro)


def test_parameters_after_sgd_are_those_of_the_plain_gradient(trained: Trained, plain: Plain) -> None:
    largest = 0.0
    before = start(optax.sgd(RATE)).params
    for got, wanted, old in zip(
        *(jax.tree.leaves(tree) for tree in (trained.path[-1], plain.path[-1], before)), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=2e-6)
        largest = max(largest, float(np.abs(wanted - np.asarray(old)).max()))
    assert largest > 0.05  # a wrong factor would be thousands of tolerances away


def test_metrics_are_means_over_the_global_batch(trained: Trained, plain: Plain) -> None:
    for got, wanted in zip(trained.metrics, plain.metrics, strict=True):
        assert got.keys() == wanted.keys()
        assert got == pytest.approx(wanted, rel=1e-5)


def test_the_average_follows_its_formula(trained: Trained) -> None:
    average = jax.device_get(start(optax.sgd(RATE)).params)
    for params in trained.path:
        average = jax.tree.map(lambda old, new: DECAY * old + (1 - DECAY) * new, average, params)
    for got, wanted in zip(jax.tree.leaves(trained.state.ema), jax.tree.leaves(average), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_the_state_is_donated_keeps_its_layout_and_its_buffers(trained: Trained) -> None:
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(trained.first.params))
    assert int(trained.state.step) == STEPS
    mesh = jax.tree.leaves(trained.state.params)[0].sharding.mesh
    for leaf, place_ in zip(
        jax.tree.leaves(trained.state), jax.tree.leaves(layout(trained.state, mesh)), strict=True
    ):
        assert leaf.sharding.is_equivalent_to(place_, leaf.ndim)
    for got, wanted in zip(
        jax.tree.leaves(trained.state.buffers), jax.tree.leaves(start(optax.sgd(RATE)).buffers), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)


def test_adam_sees_the_same_losses_on_a_sharded_mesh_with_accumulation() -> None:
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(1e-2))
    one, other = train((1, 1), optimizer), train((2, 2), optimizer, micro=2)
    assert one.losses == pytest.approx(other.losses, rel=1e-5)
    assert one.losses[2] != one.losses[0]


def test_half_precision_compute_stays_close_and_its_parameters_float32(plain: Plain) -> None:
    half = train((2, 2), optax.sgd(RATE), dtype=jnp.bfloat16)
    assert half.losses == pytest.approx([values["loss"] for values in plain.metrics], rel=0.05)
    floats = [leaf for leaf in jax.tree.leaves(half.state.params) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert floats and {leaf.dtype for leaf in floats} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(("shape", "micro"), [((1, 1), 1), ((1, 1), 4), ((2, 4), 1), ((2, 2), 2)])
def test_the_key_of_an_example_is_a_function_of_seed_step_and_global_row(
    shape: tuple[int, int], micro: int
) -> None:
    mesh = build_mesh(MeshShape(*shape))

    def draw(model: Any, frozen: Any, example: dict[str, Any], *, step: Any, key: Any) -> tuple[Any, Any]:
        # The gradient of w[i] is the draw of row i over the number of rows.
        return jnp.sum(model["w"] * example["pick"]) * jax.random.uniform(key), {}

    optimizer = optax.sgd(1.0)
    state = init_state({"w": jnp.zeros(ROWS)}, optimizer, averaged=False, key=jax.random.key(4))
    state = place(state, mesh)
    step = make_step(draw, optimizer, state, None, mesh=mesh, micro_batches=micro)
    batch = jax.device_put({"pick": jnp.eye(ROWS)}, batch_sharding(mesh))
    wanted = np.zeros(ROWS)
    for number in range(2):
        state, _ = step(state, None, batch)
        step_key = jax.random.fold_in(jax.random.key(4), number)
        wanted -= [float(jax.random.uniform(jax.random.fold_in(step_key, row))) / ROWS for row in range(ROWS)]
        np.testing.assert_allclose(state.params["w"], wanted, rtol=1e-6)


LINEAR = filled(lambda key: Linear(8, 4, key=key))


@pytest.mark.parametrize("shape", [(1, 1), (2, 4)])
def test_validation_sums_over_valid_rows_whatever_padding_measures(shape: tuple[int, int]) -> None:
    mesh = build_mesh(MeshShape(*shape))

    def measure(model: Any, frozen: Any, example: dict[str, Any]) -> dict[str, Any]:
        y = model(example["x"])
        return {"y": y, "norm": jnp.log(jnp.sum(jnp.square(example["x"])))}

    x = np.array(normal(0, ROWS, 8))
    x[5:] = np.nan
    batch = {"x": jnp.asarray(x), "valid": jnp.arange(ROWS) < 5}
    placed = place(LINEAR, mesh)
    evaluate = make_evaluation(measure, placed, None, mesh=mesh)
    sums = evaluate(placed, None, jax.device_put(batch, batch_sharding(mesh)))
    y = x[:5] @ np.asarray(LINEAR.weight).T + np.asarray(LINEAR.bias)
    assert float(sums["count"]) == 5
    np.testing.assert_allclose(sums["y"], y.sum(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(sums["norm"], np.log(np.square(x[:5]).sum(1)).sum(), rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (2, 4)])
def test_a_map_keeps_the_order_of_the_rows(shape: tuple[int, int]) -> None:
    mesh = build_mesh(MeshShape(*shape))
    placed, x = place(LINEAR, mesh), normal(0, ROWS, 8)
    apply = make_map(lambda model, frozen, example: {"y": model(example["x"])}, placed, None, mesh=mesh)
    y = apply(placed, None, jax.device_put({"x": x}, batch_sharding(mesh)))["y"]
    wanted = np.asarray(x) @ np.asarray(LINEAR.weight).T + np.asarray(LINEAR.bias)
    np.testing.assert_allclose(y, wanted, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (2, 4)])
def test_a_map_over_batches_leaves_out_their_padding(shape: tuple[int, int]) -> None:
    mesh = build_mesh(MeshShape(*shape))
    sizes, x = (ROWS, 3), np.asarray(normal(0, 2, ROWS, 2))
    apply = make_map(lambda model, frozen, example: {"y": 2.0 * example["x"]}, (), (), mesh=mesh)
    batches = [
        jax.device_put({"x": part, "valid": np.arange(ROWS) < size}, batch_sharding(mesh))
        for part, size in zip(x, sizes, strict=True)
    ]
    parts = list(map_batches(apply, (), (), batches))
    for part, rows, size in zip(parts, x, sizes, strict=True):
        np.testing.assert_array_equal(part["y"], 2.0 * rows[:size])
    np.testing.assert_array_equal(joined(parts)["y"], np.concatenate([part["y"] for part in parts]))
    with pytest.raises(ValueError, match="no batch"):
        joined([])


@pytest.mark.parametrize("shape", [(1, 1), (1, 4)], ids=str)
def test_what_is_not_trained_stays_bit_for_bit(shape: tuple[int, int], plain: Plain) -> None:
    """On a mesh that cuts it too; the losses of the first step are those of the training of everything."""
    mesh, optimizer = build_mesh(MeshShape(*shape)), optax.adamw(RATE, weight_decay=0.1)
    state = init_state(
        model(), optimizer, averaged=True, key=jax.random.key(9), trained=lambda m: (m.encoder, m.nested)
    )
    before = jax.device_get(state.model)
    state, frozen = place(state, mesh), place(FROZEN, mesh)
    step = make_step(objective, optimizer, state, frozen, mesh=mesh, ema_decay=DECAY)
    state, metrics = step(state, frozen, jax.device_put(BATCHES[0], batch_sharding(mesh)))
    assert float(metrics["loss"]) == pytest.approx(plain.metrics[0]["loss"], rel=2e-5)
    after = jax.device_get(state.model)
    for one, other in ((before.decoder, after.decoder), (before.normalization, after.normalization)):
        for old, new in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(old, new)
    moved = zip(jax.tree.leaves(before.encoder), jax.tree.leaves(after.encoder), strict=True)
    assert sum(not np.array_equal(old, new) for old, new in moved) > 10
    assert not jax.tree.leaves(state.params.decoder) and not jax.tree.leaves(state.ema.decoder)
