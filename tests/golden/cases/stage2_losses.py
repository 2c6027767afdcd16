"""Training losses of RAE's transport and of LightningDiT, at given times and noise, with gradients."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array

from laminate.flow import (
    STRAIGHT,
    AffinePath,
    Trigonometric,
    VariancePreserving,
    cosine_distance,
    flow_matching_loss,
    likelihood_weight,
    logit_normal,
    noise_matching_loss,
    score_matching_loss,
    velocity_weight,
)
from laminate.models import Ddt, Dit
from laminate.pretrained.keymaps.stage2 import export_stage2

from ..reader import CannotRun, Golden
from .generator_model import channels_first, channels_last
from .stage2 import in_our_time, network_of, options_of

_PATHS: dict[str, AffinePath] = {"Linear": STRAIGHT, "GVP": Trigonometric(), "VP": VariancePreserving()}
_LOSSES = {"velocity": flow_matching_loss, "noise": noise_matching_loss, "score": score_matching_loss}


def transport(golden: Golden) -> dict[str, np.ndarray]:
    """The case `08_rae_transport_loss`. RAE's time is one minus ours."""
    options_of(golden)
    z, noise = (jnp.asarray(channels_last(golden.input(name))) for name in ("x1", "noise"))
    t, y = 1.0 - jnp.asarray(golden.input("t")), jnp.asarray(golden.input("y"))
    networks = {
        velocity: network_of(golden, golden.config["model"], rae=True, velocity=velocity)
        for velocity in (True, False)
    }
    outputs = {
        (velocity, name): in_our_time(network, jax.vmap(path.point)(z, noise, t), t, y)
        for velocity, network in networks.items()
        for name, path in _PATHS.items()
    }
    produced: dict[str, np.ndarray] = {}
    for name in golden.outputs:
        path_name, what, *rest = name.split("/")
        path = _PATHS[path_name]
        if what == "x_t":
            produced[name] = channels_first(jax.vmap(path.point)(z, noise, t))
        elif what == "target_velocity":
            produced[name] = channels_first(-jax.vmap(path.velocity)(z, noise, t))
        elif rest[1:] == ["loss"]:
            losses = _losses(outputs[what == "velocity", path_name], z, noise, t, what, path)
            produced[name] = np.asarray(losses * _weights(rest[0], path_name, t))
    network = networks[True]
    mean, gradients = eqx.filter_jit(eqx.filter_value_and_grad(_mean_loss))(network, z, noise, t, y)
    produced["Linear/velocity/None/mean_loss"] = np.asarray(mean)
    return produced | {
        f"Linear/velocity/None/grad/{key}": value
        for key, value in export_stage2(network, of=gradients).items()
    }


def lightningdit(golden: Golden) -> dict[str, np.ndarray]:
    """The case `09_lightningdit_loss`."""
    options_of(golden)
    network = network_of(golden, golden.config["model"], rae=False)
    z, noise = (jnp.asarray(channels_last(golden.input(name))) for name in ("x1", "noise"))
    y, uniforms = jnp.asarray(golden.input("y")), ndtr(jnp.asarray(golden.input("normal_draw")))
    produced: dict[str, Any] = {}
    for name in golden.outputs:
        if name == "t" or name.startswith("t_shifted_mu_"):
            mean = 0.0 if name == "t" else float(name.removeprefix("t_shifted_mu_"))
            produced[name] = jax.vmap(logit_normal(mean, 1.0))(uniforms)
    t = produced["t"]
    produced["x_t"] = channels_first(jax.vmap(STRAIGHT.point)(z, noise, t))
    produced["target"] = channels_first(jax.vmap(STRAIGHT.velocity)(z, noise, t))
    square, cosine = _terms(network, z, noise, t, y)
    for name, weight in (("mse", 0.0), ("mse_cos", 1.0)):
        total, gradients = _total(network, z, noise, t, y, jnp.asarray(weight))
        produced |= {f"{name}/total": total, f"{name}/per_sample_mse": square}
        produced |= {f"{name}/grad/{k}": v for k, v in export_stage2(network, of=gradients).items()}
    produced["mse_cos/per_sample_cos"] = cosine
    return {name: np.asarray(value) for name, value in produced.items()}


def _losses(output: Array, z: Array, noise: Array, t: Array, predicted: str, path: AffinePath) -> Array:
    loss = _LOSSES[predicted]
    return jax.vmap(lambda y, z, e, t: loss(lambda x, t: y, z, t=t, noise=e, path=path))(output, z, noise, t)


def _weights(kind: str, path: str, t: Array) -> Array:
    if kind == "None":
        return jnp.ones_like(t)
    if kind == "velocity":
        return jax.vmap(lambda t: velocity_weight(_PATHS[path], t))(t)
    if kind != "likelihood":
        raise CannotRun(f"loss weight {kind!r} is none of None, velocity, likelihood")
    weight = jax.vmap(lambda t: likelihood_weight(_PATHS[path], t))(t)
    # The reference takes the drift variance of the first two paths along its own time, where it is negative.
    return weight if path == "VP" else -weight


def _mean_loss(network: Dit | Ddt, z: Array, noise: Array, t: Array, y: Array) -> Array:
    one = lambda z, e, t, y: flow_matching_loss(lambda x, t: network(x, t, y), z, t=t, noise=e)
    return jnp.mean(jax.vmap(one)(z, noise, t, y))


def _terms(network: Dit, z: Array, noise: Array, t: Array, y: Array) -> tuple[Array, Array]:
    predicted = in_our_time(network, jax.vmap(STRAIGHT.point)(z, noise, t), t, y)
    square = _losses(predicted, z, noise, t, "velocity", STRAIGHT)
    return square, jax.vmap(cosine_distance)(predicted, jax.vmap(STRAIGHT.velocity)(z, noise, t))


@eqx.filter_jit
def _total(network: Dit, z: Array, noise: Array, t: Array, y: Array, weight: Array) -> Any:
    def total(network: Dit) -> Array:
        def one(z: Array, e: Array, t: Array, y: Array) -> Array:
            return flow_matching_loss(lambda x, t: network(x, t, y), z, t=t, noise=e, cosine_weight=weight)

        return jnp.mean(jax.vmap(one)(z, noise, t, y))

    return eqx.filter_value_and_grad(total)(network)
