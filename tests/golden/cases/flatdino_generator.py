"""FlatDINO's generators: networks, normalisation, flow-matching losses with gradients, and Euler sampling."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from laminate.flow import (
    EULER,
    STRAIGHT,
    Interval,
    Velocity,
    classifier_free_guidance,
    dimension_shift,
    flow_matching_loss,
    shift_time,
    solve,
    time_grid,
)
from laminate.models import Ddt, Dit
from laminate.pretrained.keymaps.base import Slot, export, load
from laminate.pretrained.keymaps.generator import IGNORED, ddt_slots, dit_slots, latent_statistics
from laminate.tokenizers import Normalization
from laminate.types import Buffer

from ..options import Options
from ..reader import Golden
from .generator_model import flatdino_ddt, flatdino_dit

_NOT_OF_THE_NETWORK = ("kappa", "note", "rng_leaves_in_checkpoint", "tolerance", "xpred_steps", "runs")


def produce(golden: Golden) -> dict[str, np.ndarray]:
    """The cases `03_flatdino_dit*`."""
    options = Options("config", golden.config)
    network, slots = _network(golden, options)
    least = 1.0 / (golden.config["xpred_steps"] * (golden.config.get("kappa") or 1.0))
    batch = {name: jnp.asarray(golden.inputs[name]) for name in golden.inputs}
    produced = {"out": _forward(network, batch["x"], batch["t"], batch["y"])}
    if "bf16/out" in golden.outputs:
        half = _forward(network, batch["x"].astype(jnp.bfloat16), batch["t"], batch["y"])
        produced["bf16/out"] = half.astype(jnp.float32)
    if "cls" in batch:
        both = _joint(network, batch["x"], batch["cls"], batch["t"], batch["y"])
        produced |= dict(zip(("with_cls/x", "with_cls/cls"), both, strict=True))
    for prediction in ("v", "x"):
        name = f"flow_loss_{prediction}"
        of_data = jnp.asarray(prediction == "x"), jnp.asarray(least, jnp.float32)
        value, (of_network, of_x) = _loss(network, batch, of_data)
        gradients = export(of_network, slots)
        produced |= {
            f"{name}/value": value,
            f"{name}/grad_latents": of_x,
            f"{name}/grad_block0_adaLN_kernel": gradients[_first_modulation(gradients)],
            f"{name}/grad_y_embedding": gradients["y_embedder/embedding_table/embedding"],
        }
        if "cls" in batch:
            produced[f"{name}/value_joint_cls"] = _joint_loss(network, batch, of_data)
    return {name: np.asarray(value) for name, value in (produced | _normalised(golden)).items()}


def sample(golden: Golden) -> dict[str, np.ndarray]:
    """The case `04_flatdino_sampling`."""
    network, _ = _network(golden, Options("config", golden.config))
    noise, labels = jnp.asarray(golden.input("noise")), jnp.asarray(golden.input("labels"))
    produced: dict[str, np.ndarray] = {}
    for run in golden.config["runs"]:
        options = Options(f"runs.{run.get('tag')}", run)
        tag, steps = options.take("tag"), int(options.take("steps"))
        kappa, scale = options.take("time_dist_shift"), options.take("cfg_scale")
        of_data = options.choose("pred_type", {"v": False, "x": True}, "v")
        interval = (options.take("cfg_interval_min", 0.0), options.take("cfg_interval_max", 1.0))
        options.none_left()
        least = jnp.asarray(1.0 / (steps * (kappa or 1.0)), jnp.float32) if of_data else None
        guidance = None if scale is None else (jnp.asarray(scale, jnp.float32), Interval(*interval))
        # The released sampler passes over a shift that does not exceed 1.
        grid = time_grid(steps, time_shift=kappa if kappa and kappa > 1 else 1.0)
        produced[f"{tag}/sample"] = np.asarray(_sampled(network, noise, labels, grid, guidance, least))
    return produced


def time_shift(golden: Golden) -> dict[str, np.ndarray]:
    """The case `04_flatdino_time_shift`."""
    options = Options("config", golden.config)
    kappas, steps, base = options.take("kappas"), int(options.take("steps")), int(options.take("base"))
    options.ignore("dims", "note", "tolerance")
    options.none_left()
    t = jnp.asarray(golden.input("t"))
    sizes = [int(tokens) * int(features) for tokens, features in golden.input("tokens_features")]
    shifts = [dimension_shift(size, base=base) for size in sizes]
    produced = {
        "kappa_train": np.asarray(shifts),
        "shift_inferred_at_sampling": np.maximum(1.0, np.asarray(shifts)),
    }
    zero, one = jnp.zeros((), t.dtype), jnp.ones((), t.dtype)
    for kappa in kappas:
        name, grid = f"kappa{kappa}", time_grid(steps, time_shift=max(1.0, kappa))
        # What data of 1 predicted at 0 is divided by.
        divided = lambda t, k=kappa: STRAIGHT.data_to_velocity(
            zero, one, t, min_one_minus_t=1.0 / (steps * k)
        )
        produced |= {
            f"{name}/warped_t": np.asarray(jax.vmap(lambda t, k=kappa: shift_time(t, k))(t)),
            f"{name}/sampling_grid": np.asarray(grid.times[: steps + 1]),
            f"{name}/xpred_one_minus_t": np.asarray(1.0 / jax.vmap(divided)(t)),
        }
    return produced


def _network(golden: Golden, options: Options) -> tuple[Any, list[Slot]]:
    head = "decoder_dim" in golden.config
    network = flatdino_ddt(options) if head else flatdino_dit(options)
    options.ignore(*_NOT_OF_THE_NETWORK)
    options.none_left()
    slots = ddt_slots(network) if isinstance(network, Ddt) else dit_slots(network)
    return load(network, slots, golden.weights, ignored=IGNORED), slots


def _first_modulation(names: dict[str, np.ndarray]) -> str:
    block = "encoder_blocks/0" if any(name.startswith("encoder_blocks/") for name in names) else "blocks/0"
    return f"{block}/adaLN_modulation/layers/1/kernel"


def _normalised(golden: Golden) -> dict[str, Array]:
    statistics = latent_statistics(golden.weights)
    if statistics is None or "normalized" not in golden.outputs:
        return {}
    mean, std = (Buffer(jnp.asarray(a)) for a in statistics)
    normalization = eqx.tree_at(lambda n: (n.mean, n.std), Normalization(*mean.value.shape), (mean, std))
    x = jnp.asarray(golden.input("x"))
    return {"normalized": jax.vmap(normalization)(x), "denormalized": jax.vmap(normalization.inverse)(x)}


@eqx.filter_jit
def _forward(network: Dit | Ddt, x: Array, t: Array, y: Array) -> Array:
    return jax.vmap(network)(x, t, y)


@eqx.filter_jit
def _joint(network: Dit | Ddt, x: Array, cls: Array, t: Array, y: Array) -> tuple[Array, Array]:
    return jax.vmap(network.joint)(x, cls, t, y)


@eqx.filter_jit
def _loss(network: Dit | Ddt, batch: dict[str, Array], of_data: tuple[Array, Array]) -> Any:
    def total(moving: tuple[Dit | Ddt, Array]) -> Array:
        network, data = moving

        def one(z: Array, noise: Array, t: Array, y: Array) -> Array:
            return flow_matching_loss(_velocity(lambda x, t: network(x, t, y), *of_data), z, t=t, noise=noise)

        return jnp.mean(jax.vmap(one)(data, batch["noise"], batch["t"], batch["y"]))

    return eqx.filter_value_and_grad(total)((network, batch["x"]))


@eqx.filter_jit
def _joint_loss(network: Dit | Ddt, batch: dict[str, Array], of_data: tuple[Array, Array]) -> Array:
    def one(z: Any, noise: Any, t: Array, y: Array) -> Array:
        velocity = _velocity(lambda state, t: network.joint(*state, t, y), *of_data)
        return flow_matching_loss(velocity, z, t=t, noise=noise)

    pairs = (batch["x"], batch["cls"]), (batch["noise"], batch["noise_cls"])
    return jnp.mean(jax.vmap(one)(*pairs, batch["t"], batch["y"]))


def _velocity(predict: Callable[..., Any], of_data: Array, min_one_minus_t: Array) -> Velocity:
    """`predict` itself or, if it is `of_data`, its velocity: one program for both."""

    def velocity(x: Any, t: Array) -> Any:
        predicted = predict(x, t)
        divided = STRAIGHT.data_to_velocity(x, predicted, t, min_one_minus_t=min_one_minus_t)
        return jax.tree.map(lambda a, b: jnp.where(of_data, a, b), divided, predicted)

    return velocity


@eqx.filter_jit
def _sampled(
    network: Dit | Ddt, noise: Array, labels: Array, grid: Any, guidance: Any, min_one_minus_t: Array | None
) -> Array:
    def predict(x: Array, t: Array, label: Array) -> Array:
        if min_one_minus_t is None:
            return network(x, t, label)
        return STRAIGHT.data_to_velocity(x, network(x, t, label), t, min_one_minus_t=min_one_minus_t)

    def one(noise: Array, label: Array) -> Array:
        if guidance is None:
            return solve(lambda x, t: predict(x, t, label), noise, grid, EULER).state
        scale, interval = guidance
        velocity = classifier_free_guidance(
            predict, label, network.label.null, scale=scale, interval=interval
        )
        return solve(velocity, noise, grid, EULER).state

    return jax.vmap(one)(noise, labels)
