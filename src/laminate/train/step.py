"""One update of the parameters, the same function on one device and on a pod.

The order of things is the law of this file: the loss is averaged over the mesh, and that average is differentiated.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, PyTree

from laminate.parallel.collectives import mesh_mean, mesh_sum, rows_of_this_device
from laminate.parallel.feeding import whole
from laminate.parallel.mesh import AXES, compiler_options
from laminate.parallel.sharding import (
    layout,
    per_device,
    replicated,
    resolve_outside_scans,
    specs,
    wrap_shards,
)
from laminate.train.moments import Moments
from laminate.train.optim import evaluation_params
from laminate.train.state import TrainState
from laminate.types import Metrics, RandomKey, Scalar, join_buffers

GlobalBatch = dict[str, Array]


@runtime_checkable
class Objective(Protocol):
    """The loss of one example: the weighted sum of the paper, and every term of it as a metric."""

    def __call__(
        self, model: Any, frozen: Any, example: dict[str, Array], *, step: Array, key: RandomKey
    ) -> tuple[Scalar, Metrics]: ...


@runtime_checkable
class Measure(Protocol):
    """What validation measures on one example: sums over the validation set are taken outside."""

    def __call__(self, model: Any, frozen: Any, example: dict[str, Array], /) -> dict[str, Any]: ...


def make_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    frozen: PyTree,
    *,
    mesh: Mesh,
    micro_batches: int = 1,
    ema_decay: float | None = None,
    compute_dtype: jnp.dtype = jnp.dtype(jnp.float32),
) -> Callable[[TrainState, PyTree, GlobalBatch], tuple[TrainState, Metrics]]:
    """`step(state, frozen, batch) -> (state, metrics)`, compiled for the mesh; `state` is donated.

    `state` and `frozen` here are examples (arrays or their shapes). A batch is a dictionary of global arrays, cut
    over all devices along their first axis; each device goes through its share in `micro_batches` equal parts.
    Example `i` of the global batch gets the key `fold_in(fold_in(state.key, state.step), i)`, whatever the mesh and
    the number of parts. The metrics are float32 scalars, means over the global batch.
    """

    def gradients(
        state: TrainState, frozen: PyTree, batch: GlobalBatch, like: tuple[TrainState, PyTree]
    ) -> tuple[PyTree, Metrics]:
        share = next(iter(batch.values())).shape[0]
        rows = rows_of_this_device(share)
        step_key = jax.random.fold_in(state.key, state.step)
        frozen = resolve_outside_scans(wrap_shards(frozen, like[1], mesh, None))
        local, sum_over_devices = jax.vjp(lambda p: per_device(p, like[0].params, mesh), state.params)

        def mean_loss(params: PyTree, batch: GlobalBatch, rows: Array) -> tuple[Scalar, Metrics]:
            shards = wrap_shards(params, like[0].params, mesh, compute_dtype)
            # What is not trained may be cut as well.
            buffers = wrap_shards(state.buffers, like[0].buffers, mesh, compute_dtype)
            model = resolve_outside_scans(join_buffers(shards, buffers))

            def one(example: dict[str, Array], row: Array) -> tuple[Scalar, Metrics]:
                key = jax.random.fold_in(step_key, row)
                return objective(model, frozen, example, step=state.step, key=key)

            loss, metrics = jax.vmap(one)(batch, rows)
            means = jax.tree.map(jnp.mean, {**metrics, "loss": loss})
            return mesh_mean(means["loss"]), means

        grads, metrics = accumulate(mean_loss, local, (batch, rows), micro_batches)
        # Once, after the last part: between slices even a scalar is slow.
        return sum_over_devices(grads)[0], mesh_mean(metrics)

    def step(state: TrainState, frozen: PyTree, batch: GlobalBatch) -> tuple[TrainState, Metrics]:
        like = (state, frozen)
        sharded = jax.shard_map(
            lambda s, f, b: gradients(s, f, b, like),
            mesh=mesh,
            in_specs=(specs(state, mesh), specs(frozen, mesh), P(AXES)),
            out_specs=(specs(state.params, mesh), P()),
        )
        grads, metrics = sharded(state, frozen, batch)
        metrics = {**metrics, "grad_norm": optax.tree.norm(grads)}
        return update(state, grads, optimizer, ema_decay), metrics

    return jax.jit(
        step,
        donate_argnums=0,
        out_shardings=(layout(state, mesh), replicated(mesh)),
        compiler_options=compiler_options(mesh),
    )


def update(
    state: TrainState, grads: PyTree, optimizer: optax.GradientTransformation, ema_decay: float | None
) -> TrainState:
    """`state` after one step of `optimizer` along the global gradients `grads`; its buffers stay as they are."""
    # Optax raises float constants to integer counts, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
    ema = state.ema
    own = None if ema is None else evaluation_params(opt_state, params)
    if own is not None:
        ema = own
    elif ema is not None and ema_decay is not None:
        ema = jax.tree.map(lambda old, new: ema_decay * old + (1.0 - ema_decay) * new, ema, params)
    return TrainState(params, state.buffers, opt_state, ema, state.step + 1, state.key)


def accumulate(
    mean_loss: Callable[..., tuple[Scalar, PyTree]], params: PyTree, inputs: PyTree, parts: int
) -> tuple[PyTree, PyTree]:
    """The mean over `parts` equal parts of `inputs` of the gradient and of what else there is, one part at a time."""
    differentiate = jax.grad(mean_loss, has_aux=True)
    if parts == 1:
        return differentiate(params, *inputs)

    def body(total: PyTree, part: PyTree) -> tuple[PyTree, PyTree]:
        grads, aux = differentiate(params, *part)
        return jax.tree.map(jnp.add, total, grads), aux

    zeros = jax.tree.map(jnp.zeros_like, params)
    total, aux = jax.lax.scan(body, zeros, in_parts(inputs, parts))
    mean = lambda x: jnp.mean(x, axis=0)
    return jax.tree.map(lambda g: g / parts, total), jax.tree.map(mean, aux)


def in_parts(tree: PyTree, parts: int) -> PyTree:
    """Every array in `parts` equal parts along its first axis, which a new one in front counts."""
    return jax.tree.map(lambda x: x.reshape(parts, x.shape[0] // parts, *x.shape[1:]), tree)


def make_evaluation(
    measure: Measure,
    model: Any,
    frozen: PyTree,
    *,
    mesh: Mesh,
    compute_dtype: jnp.dtype = jnp.dtype(jnp.float32),
) -> Callable[[Any, PyTree, GlobalBatch], dict[str, Any]]:
    """`evaluate(model, frozen, batch) -> sums`, compiled for the mesh.

    A batch has a boolean `valid` that is False in rows of padding. Measures are float32 arrays of any shape, or
    `Moments`; returns the sum of each over the valid rows of the global batch (of moments, those of all its vectors),
    and the number of these rows as `count`.
    """

    def sums(model: Any, frozen: PyTree, batch: GlobalBatch) -> dict[str, Any]:
        measured = jax.vmap(lambda example: measure(model, frozen, example))(batch)
        valid = batch["valid"].astype(jnp.float32)
        # Not a product with `valid`: what padding measures may not be finite.
        total = lambda x: jnp.sum(jnp.where(_along(valid, x) > 0.0, x, jnp.zeros_like(x)), axis=0)
        moments = {name: value for name, value in measured.items() if isinstance(value, Moments)}
        plain = {name: total(value) for name, value in measured.items() if name not in moments}
        pooled = {name: value.pooled(batch["valid"]) for name, value in moments.items()}
        return {**mesh_sum({**plain, "count": jnp.sum(valid)}), **pooled}

    return _over_mesh(sums, model, frozen, mesh, compute_dtype, P())


def make_map(
    function: Measure,
    model: Any,
    frozen: PyTree,
    *,
    mesh: Mesh,
    compute_dtype: jnp.dtype = jnp.dtype(jnp.float32),
) -> Callable[[Any, PyTree, GlobalBatch], dict[str, Any]]:
    """`apply(model, frozen, batch) -> arrays`: `function` of every example of a batch, cut over the mesh as it is."""

    def each(model: Any, frozen: PyTree, batch: GlobalBatch) -> dict[str, Array]:
        return jax.vmap(lambda example: function(model, frozen, example))(batch)

    return _over_mesh(each, model, frozen, mesh, compute_dtype, P(AXES))


def map_batches(
    apply: Callable[[Any, PyTree, GlobalBatch], dict[str, Array]],
    model: Any,
    frozen: PyTree,
    batches: Iterable[GlobalBatch],
) -> Iterator[dict[str, np.ndarray]]:
    """What `apply`, of `make_map`, gives of each batch, on every host, without its rows of padding.

    All hosts go through it together. A batch has a boolean `valid` that is False in rows of padding.
    """
    for batch in batches:
        found, valid = whole((apply(model, frozen, batch), batch["valid"]))
        yield {name: rows[valid] for name, rows in found.items()}


def joined(parts: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays of all parts one after the other, under each name. Raises ValueError if there is no part."""
    each = list(parts)
    if not each:
        raise ValueError("There is no batch to join.")
    return {name: np.concatenate([part[name] for part in each]) for name in each[0]}


def _over_mesh(
    body: Callable[[Any, PyTree, GlobalBatch], dict[str, Any]],
    model: Any,
    frozen: PyTree,
    mesh: Mesh,
    compute_dtype: jnp.dtype,
    out: P,
) -> Callable[[Any, PyTree, GlobalBatch], dict[str, Any]]:
    def resolved(tree: PyTree, like: PyTree, dtype: jnp.dtype | None) -> PyTree:
        return resolve_outside_scans(wrap_shards(tree, like, mesh, dtype))

    def call(m: Any, f: PyTree, batch: GlobalBatch) -> dict[str, Any]:
        return jax.shard_map(
            lambda m, f, b: body(resolved(m, model, compute_dtype), resolved(f, frozen, None), b),
            mesh=mesh,
            in_specs=(specs(model, mesh), specs(frozen, mesh), P(AXES)),
            out_specs=out,
        )(m, f, batch)

    return jax.jit(call)


def _along(valid: Array, x: Array) -> Array:
    return jnp.broadcast_to(valid.reshape(-1, *(1,) * (x.ndim - 1)), x.shape)
