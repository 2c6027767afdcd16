"""Flow on spheres, written with the data at time 0 and the noise at 1: our times and velocities turned round."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from laminate.flow import (
    EulerProject,
    ExpMap,
    Solver,
    Sphere,
    TimeGrid,
    classifier_free_guidance,
    expected_norm,
    flow_matching_loss,
    time_grid,
)

from ..options import Options
from ..reader import CannotRun, Golden

_NULL = -1


def produce(golden: Golden) -> dict[str, np.ndarray]:
    """The case `13_sphere_flow`. Its loss is a sum over the numbers of a token, ours their mean."""
    options = Options("config", golden.config)
    path, dim, steps = Sphere(float(options.take("R"))), int(options.take("C")), int(options.take("steps"))
    grid = time_grid(steps, time_shift=float(options.take("alpha")), capacity=1)
    decode_scale, weight = float(options.take("decode_scale")), float(options.take("lam"))
    scale = float(options.take("w"))
    tokens = int(options.take("N"))
    options.ignore("dtype", "note", "tolerance")
    options.none_left()
    z0 = _float32(golden, "z0")
    if z0.shape[1:] != (tokens, dim):
        raise CannotRun(f"{golden.path}: config says {tokens} tokens of {dim}, inputs/z0 is {z0.shape}")
    produced = _geometry(golden, path) | _losses(golden, path, weight)
    solvers = {"expmap": ExpMap(path), "euler_project": EulerProject(path)}
    for name, solver in solvers.items():
        produced[f"trajectory_{name}"] = _trajectory(golden, path, solver, grid, scale)
    produced["decoder_input"] = produced["trajectory_expmap"][-1] * np.float32(decode_scale / path.radius)
    produced["grid"] = 1.0 - np.asarray(grid.times)
    produced["R_expected_1024"] = np.asarray(expected_norm(1024))
    return produced


def _geometry(golden: Golden, path: Sphere) -> dict[str, np.ndarray]:
    """In float64, as the reference: of two nearly opposite points float32 does not hold the arc to its tolerance."""
    with jax.enable_x64(True):
        z0, z1, v, t = (jnp.asarray(golden.input(name), jnp.float64) for name in ("z0", "z1", "v", "t"))
        z_t = jax.vmap(lambda t: path.point(z0, z1, 1.0 - t))(t)
        along = path.tangent(z_t, v)
        half = np.flatnonzero(golden.input("t") == 0.5)
        middle = int(half[0]) if len(half) else len(t) // 2
        found: dict[str, Array] = {
            "omega": path.angle(z0, z1),
            "log_map_z0_to_z1": path.log(z0, z1),
            "z_t": z_t,
            "u_t": -jax.vmap(lambda t: path.velocity(z0, z1, 1.0 - t))(t),
            "v_tangential": along,
            "v_radial": v - along,
            "exp_map_at_zt_half": path.exp(z_t[middle], along[middle]),
        }
        return {name: np.asarray(array) for name, array in found.items()}


def _losses(golden: Golden, path: Sphere, weight: float) -> dict[str, np.ndarray]:
    z0, z1, v, t = (_float32(golden, name) for name in ("z0", "z1", "v", "t"))

    def mean(velocity: Callable[[Array, Array, Array], Array], normal_weight: float) -> np.ndarray:
        one = lambda t, v: flow_matching_loss(
            lambda x, t: velocity(x, t, v), z0, t=1.0 - t, noise=z1, path=path, normal_weight=normal_weight
        )
        return np.asarray(z0.shape[-1] * jnp.mean(jax.vmap(one)(t, v)))

    exact_but_away = lambda x, t, v: path.velocity(z0, z1, t) - (v - path.tangent(x, v))
    return {
        "loss": mean(lambda x, t, v: -v, weight),
        "loss_tangential": mean(lambda x, t, v: -v, 0.0),
        "loss_radial": mean(exact_but_away, 1.0),
    }


def _trajectory(golden: Golden, path: Sphere, solver: Solver, grid: TimeGrid, scale: float) -> np.ndarray:
    """All states from the noise on, of the guided field `-R tanh(3 x W / R + own time + bias of the label)`."""
    w, bias, start = (_float32(golden, name) for name in ("W", "bias", "start"))
    labels = jnp.asarray(golden.input("labels"))

    def field(x: Array, t: Array, label: Array) -> Array:
        of_label = jnp.where(label == _NULL, jnp.zeros_like(bias[0]), bias[label])
        inside = 3.0 * (x @ w) / path.radius + (1.0 - t) + jnp.broadcast_to(of_label, x.shape)
        return -path.radius * jnp.tanh(inside)

    def one(x: Array, label: Array) -> Array:
        velocity = classifier_free_guidance(field, label, _NULL, scale=scale, everywhere=True)

        def advance(x: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            x = solver.step(velocity, x, *ends, solver.init(x, grid))[0]
            return x, x

        return jax.lax.scan(advance, x, (grid.times[:-1], grid.times[1:]))[1]

    moved = jax.jit(jax.vmap(one, out_axes=1))(start, labels)
    return np.concatenate([np.asarray(start)[None], np.asarray(moved)])


def _float32(golden: Golden, name: str) -> Array:
    return jnp.asarray(golden.input(name), jnp.float32)
