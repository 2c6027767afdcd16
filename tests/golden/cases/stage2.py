"""Networks of RAE's second stage and of LightningDiT, and the times that they are trained and sampled at."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from laminate.flow import logit_normal, shift_time, time_grid, uniform
from laminate.models import Ddt, Dit
from laminate.nn import SinusoidalFeatures
from laminate.pretrained.keymaps.stage2 import load_stage2

from ..options import Options
from ..reader import CannotRun, Golden
from .generator_model import channels_first, channels_last, torch_ddt, torch_dit

RAE_LAST = 0.999
"""Where RAE's time distributions and grids end, counted from the data."""


def produce(golden: Golden) -> dict[str, np.ndarray]:
    """The cases `08_rae_ddt`, `08_rae_lightningdit` and `09_lightningdit_model`."""
    rae = golden.case.startswith("08_rae")
    produced: dict[str, np.ndarray] = {}
    for tag, values in golden.config["models"].items():
        network = network_of(golden, values, rae=rae, under=f"{tag}/", name=f"models.{tag}")
        x, t, y = (jnp.asarray(golden.input(f"{tag}/{name}")) for name in ("x", "t", "y"))
        produced[f"{tag}/out"] = channels_first(in_its_time(network, channels_last(x), t, y))
        if f"{tag}/s" in golden.inputs:
            given = _given(network, channels_last(x), jnp.asarray(golden.input(f"{tag}/s")))
            produced[f"{tag}/out_given_s"] = channels_first(-given)
    if "timestep_embedding_256" in golden.outputs:
        times = np.linspace(0.0, 1.0, golden.outputs["timestep_embedding_256"].shape[0])
        features = jax.vmap(SinusoidalFeatures(256))(jnp.asarray(times, jnp.float32))
        produced["timestep_embedding_256"] = np.asarray(features)
    return produced


def time_tables(golden: Golden) -> dict[str, np.ndarray]:
    """The case `08_rae_time_tables`, in RAE's own time."""
    options = Options("config", golden.config)
    shift = options.take("shift")
    options.ignore("note", "tolerance")
    options.none_left()
    u = jnp.asarray(golden.input("uniform"))
    produced: dict[str, np.ndarray] = {}
    for name in golden.outputs:
        kind, *middle, shifted = name.split("/")
        time_shift = 1.0 if shifted == "shift1" else shift
        if kind == "ode_grid":
            points = int(middle[0].removeprefix("n"))
            grid = time_grid(points - 1, time_shift=time_shift, last=RAE_LAST)
            produced[name] = np.asarray(1.0 - grid.times[:points])
        else:
            # Both distributions and the shift keep their form when time is turned round.
            times = jax.vmap(_distribution(middle[0]))(u)
            produced[name] = np.asarray(jax.vmap(lambda t, s=time_shift: shift_time(t, 1.0 / s))(times))
    return produced


def network_of(
    golden: Golden,
    values: dict[str, Any],
    *,
    rae: bool,
    under: str = "",
    name: str = "model",
    velocity: bool = True,
) -> Dit | Ddt:
    """The network of a configuration, with the weights that lie `under` a prefix."""
    options = Options(name, values)
    headed = any(isinstance(values.get(field), list) for field in ("hidden_size", "depth", "num_heads"))
    network = torch_ddt(options) if headed else torch_dit(options, rae=rae)
    options.none_left()
    return load_stage2(network, dict(_under(under, golden.weights)), velocity=velocity)


def in_its_time(network: Dit | Ddt, x: Array, t: Array, y: Array) -> Array:
    """What the published network gives at its own time: RAE's runs from data, and so does its velocity."""
    if network.time.backwards:
        return -in_our_time(network, x, 1.0 - t, y)
    return in_our_time(network, x, t, y)


@eqx.filter_jit
def in_our_time(network: Dit | Ddt, x: Array, t: Array, y: Array) -> Array:
    return jax.vmap(network)(x, t, y)


def options_of(golden: Golden, *taken: str) -> list[Any]:
    """Fields of the configuration; any other but the model, a note and the tolerance is an error."""
    options = Options("config", golden.config)
    values = [options.take(field) for field in taken]
    options.ignore("model", "note", "tolerance", "reference_fp32_vs_fp64_max_abs")
    options.none_left()
    return values


@eqx.filter_jit
def _given(network: Ddt, x: Array, s: Array) -> Array:
    return jax.vmap(network.decode)(x, s)


def _distribution(name: str) -> Any:
    if name == "uniform":
        return uniform(last=RAE_LAST)
    kind, *numbers = name.split("_")
    if kind != "logit-normal" or len(numbers) != 2:
        raise CannotRun(f"time distribution {name!r} is neither uniform nor logit-normal_<mean>_<std>")
    return logit_normal(float(numbers[0]), float(numbers[1]), last=RAE_LAST)


def _under(prefix: str, weights: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    return ((name.removeprefix(prefix), a) for name, a in weights.items() if name.startswith(prefix))
