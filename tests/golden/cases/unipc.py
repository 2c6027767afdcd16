"""ViTok's sampler with its generator: grids, trajectories, guidance, and the noise of its training."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from laminate.flow import STRAIGHT, TimeGrid, UniPc, classifier_free_guidance, solve, unipc_grid, unipc_sigmas
from laminate.models.shared_dit import SharedDit

from ..options import Options
from ..reader import Golden
from .vitok import generator_of

_KINDS = {"bh1": "bh1"} | dict.fromkeys(("bh2", "midpoint", "heun", "logrho"), "bh2")


class _Released(UniPc):
    """Its prediction of the noise has a wrong sign: `x - (1 - sigma) v`, with `v` from data to noise."""

    def _prediction(self, x: Any, velocity: Any, t: Array) -> Any:
        if self.predicts == "data":
            return super()._prediction(x, velocity, t)
        return jax.tree.map(lambda a, v: a + t * v, x, velocity)


def produce(golden: Golden) -> dict[str, np.ndarray]:
    """The case `14_vitok_unipc`."""
    options = Options("config", golden.config)
    network = generator_of(Options("model", options.take("model")), golden.weights)
    runs, scale = options.take("runs"), options.take("cfg_scale", 1.0)
    options.ignore("finite_steps_only", "note", "scheduler_defaults", "tolerance")
    options.none_left()
    noise, labels = (jnp.asarray(golden.input(name)) for name in ("noise", "labels"))
    produced: dict[str, np.ndarray] = _training(golden)
    for run in runs:
        tag = run["tag"]
        grid, sigmas, solver = _setting(run)
        stamps = jnp.asarray(np.trunc(1000.0 * sigmas[:-1].astype(np.float64)), jnp.float32)
        produced |= {f"{tag}/sigmas": sigmas, f"{tag}/timesteps": np.asarray(stamps, np.int64)}
        kept = golden.outputs.get(f"{tag}/trajectory_finite_part")
        steps = int(run["steps"]) if kept is None else len(kept)
        if f"{tag}/sample" in golden.outputs:
            produced[f"{tag}/sample"] = np.asarray(_sampled(network, noise, labels, grid, stamps, solver))
        else:
            name = "trajectory" if kept is None else "trajectory_finite_part"
            states = _trajectory(network, noise, labels, grid, stamps, solver, steps)
            produced[f"{tag}/{name}"] = np.asarray(states)
    if "cfg/sample" in golden.outputs:
        grid, sigmas, solver = _setting(runs[0])
        stamps = jnp.asarray(np.trunc(1000.0 * sigmas[:-1].astype(np.float64)), jnp.float32)
        guided = _sampled(network, noise, labels, grid, stamps, solver, jnp.asarray(scale, jnp.float32))
        produced["cfg/sample"] = np.asarray(guided)
    return produced


def _setting(run: dict[str, Any]) -> tuple[TimeGrid, np.ndarray, UniPc]:
    made, later = Options(f"{run['tag']}.init", run.get("init", {})), Options("set", run.get("set", {}))
    steps = int(run["steps"])
    dynamic = later.take("mu") if made.take("use_dynamic_shifting", False) else None
    shift, again = made.take("shift", 1.0), later.take("shift")
    solver = _Released(
        order=int(made.take("solver_order", 2)),
        kind=made.choose("solver_type", _KINDS, "bh2"),
        predicts="data" if made.take("predict_x0", True) else "noise",
        lower_order_final=made.take("lower_order_final", True),
        uncorrected=tuple(made.take("disable_corrector", [])),
    )
    made.none_left()
    later.none_left()
    schedule = {"shift": shift, "again": again, "dynamic": dynamic}
    return unipc_grid(steps, **schedule), unipc_sigmas(steps, **schedule), solver


def _training(golden: Golden) -> dict[str, np.ndarray]:
    if "train/index" not in golden.inputs:
        return {}
    table = (1.0 - np.linspace(1.0, 1.0 / 1000, 1000)[::-1]).astype(np.float32)
    sigma = table[golden.input("train/index")]
    data, noise = (jnp.asarray(golden.input(f"train/{name}")) for name in ("x0", "noise"))
    t = jnp.asarray(1.0 - sigma, jnp.float32)
    return {
        "train/sigma_table": table,
        "train/timestep": sigma * np.float32(1000),
        "train/noised": np.asarray(jax.vmap(STRAIGHT.point)(data, noise, t)),
        "train/velocity_target": -np.asarray(jax.vmap(STRAIGHT.velocity)(data, noise, t)),
    }


def _velocity(network: SharedDit, grid: TimeGrid, stamps: Array, label: Array, scale: Array | None) -> Any:
    """At the whole number that the released scheduler gives the network for a time."""

    def at(x: Array, t: Array, label: Array) -> Array:
        number = jnp.argmin(jnp.abs(grid.times[: stamps.shape[0]] - t))
        return network.at(x, stamps[number], label)

    if scale is None:
        return lambda x, t: at(x, t, label)
    return classifier_free_guidance(at, label, network.label.null, scale=scale, everywhere=True)


@eqx.filter_jit
def _sampled(
    network: SharedDit,
    noise: Array,
    labels: Array,
    grid: TimeGrid,
    stamps: Array,
    solver: UniPc,
    scale: Array | None = None,
) -> Array:
    one = lambda x, label: solve(_velocity(network, grid, stamps, label, scale), x, grid, solver).state
    return jax.vmap(one)(noise, labels)


@eqx.filter_jit
def _trajectory(
    network: SharedDit, noise: Array, labels: Array, grid: TimeGrid, stamps: Array, solver: UniPc, steps: int
) -> Array:
    def one(x: Array, label: Array) -> Array:
        def advance(carry: Any, i: Array) -> tuple[Any, Array]:
            x, kept = carry
            x, kept = solver.step(velocity, x, grid.times[i], grid.times[i + 1], kept)
            return (x, kept), x

        velocity = _velocity(network, grid, stamps, label, None)
        return jax.lax.scan(advance, (x, solver.init(x, grid)), jnp.arange(steps))[1]

    return jax.vmap(one, out_axes=1)(noise, labels)
