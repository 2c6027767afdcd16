"""The samplers of RAE and LightningDiT: ordinary and stochastic equations, guidance, grids."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from laminate.flow import (
    EULER,
    HEUN2,
    HEUN3,
    MIDPOINT,
    RK4_38,
    EulerMaruyama,
    Interval,
    Solver,
    TimeGrid,
    autoguidance,
    classifier_free_guidance,
    diffusion,
    last_step,
    solve,
    time_grid,
)
from laminate.models import Ddt, Dit

from ..reader import CannotRun, Golden
from .generator_model import channels_first, channels_last
from .stage2 import RAE_LAST, in_our_time, network_of, options_of

_SOLVERS = {"euler": EULER, "midpoint": MIDPOINT, "heun2": HEUN2, "heun3": HEUN3, "rk4": RK4_38}
_FORMS = {
    "constant": "constant",
    "sigma": "noise",
    "linear": "noise",
    "decreasing": "decreasing",
    "inccreasing-decreasing": "increasing_decreasing",
}
_LAST_STEPS = {"Mean": "mean", "Euler": "euler", "Tweedie": "tweedie", "None": "none"}

Guided = Callable[[Any, Any, Array], Any]
"""`(networks, guidance, label) -> velocity`."""


def rae(golden: Golden) -> dict[str, np.ndarray]:
    """The case `08_rae_sampling`. RAE's time is one minus ours, and so are the bounds of its intervals."""
    of_cfg, of_auto, points, shift, weak = options_of(
        golden, "cfg", "autoguidance", "num_steps", "shift", "weak_model"
    )
    strong = network_of(golden, golden.config["model"], rae=True, under="model/")
    pair = (strong, network_of(golden, weak, rae=True, under="weak/", name="weak_model"))
    noise, labels = _noise(golden)
    grid = time_grid(points - 1, time_shift=shift, last=RAE_LAST)
    produced: dict[str, Array] = {}
    for name in golden.outputs:
        kind, method = name.split("/")
        if kind == "velocity":
            x, t = (
                jnp.asarray(channels_last(golden.input("velocity/x"))),
                jnp.asarray(golden.input("velocity/t")),
            )
            guided, settings = (_cfg, of_cfg) if method == "cfg" else (_auto, of_auto)
            produced[name] = -_velocities(pair, x, 1.0 - t, labels, _flipped(settings), guided)
        elif kind == "ode" and method == "euler":
            produced[name] = _all_points(pair, noise, labels, grid, _plain, None)
        else:
            guided, settings = {
                "ode": (_plain, None),
                "cfg": (_cfg, of_cfg),
                "autoguidance": (_auto, of_auto),
            }[kind]
            guidance = None if settings is None else _flipped(settings)
            produced[name] = _sampled(pair, noise, labels, grid, guidance, guided, _SOLVERS[method])
    return {name: channels_first(value) for name, value in produced.items()}


def stochastic(golden: Golden) -> dict[str, np.ndarray]:
    """The case `08_rae_sde`."""
    size, points, shift = options_of(golden, "last_step_size", "num_steps", "shift")
    network = network_of(golden, golden.config["model"], rae=True)
    noise, labels = _noise(golden)
    wiener = jnp.asarray(channels_last(golden.input("wiener")))
    produced: dict[str, np.ndarray] = {}
    for name in golden.outputs:
        form, method, last = name.split("/")
        if form not in _FORMS or last not in _LAST_STEPS or method not in ("euler", "heun"):
            raise CannotRun(f"outputs/{name}: unknown diffusion form, solver or last step")
        end = 1.0 if last == "None" else 1.0 - size
        grid = time_grid(points - 1, time_shift=shift, last=end)
        number = jnp.asarray(list(_FORMS).index(form))
        state = _stochastic(network, noise, wiener, labels, grid, number, method == "heun")
        state = _last_step(network, state, labels, size, form, _LAST_STEPS[last])
        produced[name] = channels_first(state)
    return produced


def lightningdit(golden: Golden) -> dict[str, np.ndarray]:
    """The case `09_lightningdit_sampling`."""
    start, scale, multiplier, points, shift = options_of(
        golden, "cfg_interval_start", "cfg_scale", "latent_multiplier", "num_steps", "timestep_shift"
    )
    networks = (network_of(golden, golden.config["model"], rae=False),)
    noise, labels = _noise(golden)
    grid = _shifted(points, shift)
    bounds = {"cfg_interval_on": start, "cfg_interval_off": 0.0}
    produced: dict[str, np.ndarray] = {}
    for name in golden.outputs:
        kind, *rest = name.split("/")
        if kind == "grid":
            count, of = int(rest[0].removeprefix("n")), float(rest[1].removeprefix("shift"))
            produced[name] = np.asarray(_shifted(count, of).times[:count])
        elif rest == ["plain"] and kind == "euler":
            produced[name] = channels_first(_all_points(networks, noise, labels, grid, _plain, None))
        elif rest:
            guided, guidance = _plain, None
            if rest != ["plain"]:
                guided = _first_three
                guidance = jnp.asarray(scale, jnp.float32), Interval(bounds[rest[0]], 1.0, closed=True)
            state = _sampled(networks, noise, labels, grid, guidance, guided, _SOLVERS[kind])
            produced[name] = channels_first(state)
    mean, std = golden.input("latent_mean"), golden.input("latent_std")
    raw = golden.input("raw_latent")
    return produced | {
        "normalised": (raw - mean) / std * multiplier,
        "denormalised": produced["euler/cfg_interval_on"] * std / multiplier + mean,
    }


def _shifted(points: int, shift: float) -> TimeGrid:
    """Its shift is the inverse of ours, and 0 is none."""
    return time_grid(points - 1, time_shift=1.0 / shift if shift else 1.0)


def _noise(golden: Golden) -> tuple[Array, Array]:
    return jnp.asarray(channels_last(golden.input("noise"))), jnp.asarray(golden.input("labels"))


def _flipped(settings: dict[str, Any]) -> tuple[Array, Interval]:
    low, high = settings["interval"]
    return jnp.asarray(settings["scale"], jnp.float32), Interval(1.0 - high, 1.0 - low, closed=True)


def _plain(networks: Any, guidance: Any, label: Array) -> Any:
    return lambda x, t: networks[0](x, t, label)


def _cfg(networks: Any, guidance: Any, label: Array) -> Any:
    network, (scale, interval) = networks[0], guidance
    return classifier_free_guidance(network, label, network.label.null, scale=scale, interval=interval)


def _first_three(networks: Any, guidance: Any, label: Array) -> Any:
    network, (scale, interval) = networks[0], guidance
    null = network.label.null
    return classifier_free_guidance(network, label, null, scale=scale, interval=interval, channels=3)


def _auto(networks: Any, guidance: Any, label: Array) -> Any:
    (strong, weak), (scale, interval) = networks, guidance
    of = lambda network: lambda x, t: network(x, t, label)
    return autoguidance(of(strong), of(weak), scale=scale, interval=interval)


@eqx.filter_jit
def _velocities(networks: Any, x: Array, t: Array, labels: Array, guidance: Any, guided: Guided) -> Array:
    return jax.vmap(lambda x, t, label: guided(networks, guidance, label)(x, t))(x, t, labels)


@eqx.filter_jit
def _sampled(
    networks: Any, noise: Array, labels: Array, grid: TimeGrid, guidance: Any, guided: Guided, solver: Solver
) -> Array:
    return jax.vmap(lambda x, label: solve(guided(networks, guidance, label), x, grid, solver).state)(
        noise, labels
    )


def _all_points(
    networks: Any, noise: Array, labels: Array, grid: TimeGrid, guided: Guided, guidance: Any
) -> Array:
    """The state at every time of the grid: the same compiled sampler, stopped earlier."""
    stopped = [TimeGrid(grid.times, jnp.asarray(n, jnp.int32)) for n in range(int(grid.intervals) + 1)]
    return jnp.stack([_sampled(networks, noise, labels, g, guidance, guided, EULER) for g in stopped])


def _last_step(network: Dit | Ddt, x: Array, labels: Array, size: float, form: str, kind: Any) -> Array:
    """The last step of a batch, from velocities that are evaluated beforehand."""
    at = jnp.full(labels.shape, 1.0 - size, jnp.float32)
    slopes = in_our_time(network, x, at, labels)
    w = diffusion(_FORMS[form])
    return jax.vmap(lambda x, v: last_step(kind, lambda x, t: v, x, size=size, w=w))(x, slopes)


@eqx.filter_jit
def _stochastic(
    network: Dit | Ddt,
    noise: Array,
    wiener: Array,
    labels: Array,
    grid: TimeGrid,
    form: Array,
    heun: bool,
) -> Array:
    """All forms of diffusion in one program; `form` counts them."""
    forms = [diffusion(form) for form in _FORMS.values()]

    def one(x: Array, draws: Array, label: Array) -> Array:
        solver = EulerMaruyama(lambda i: draws[i], lambda t: jax.lax.switch(form, forms, t), heun=heun)
        return solve(lambda x, t: network(x, t, label), x, grid, solver).state

    return jax.vmap(one, in_axes=(0, 1, 0))(noise, wiener, labels)
