"""Adversarial losses, the adaptive weight, and DiffAug from given draws."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from laminate.losses.adversarial import (
    adaptive_weight,
    generator_loss,
    hinge_loss,
    non_saturating_loss,
    vanilla_loss,
)
from laminate.losses.diffaug import AugmentDraws, diffaug

from ..options import Options
from ..reader import CannotRun, Golden

_EPS = "toy/lambda_eps"


def losses(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    options.ignore("note", "tolerance", "toy")
    options.none_left()
    real, fake = (jnp.asarray(golden.input(f"logits_{which}")) for which in ("real", "fake"))
    produced: dict[str, Any] = {
        "generator_mean": jnp.mean(jax.vmap(generator_loss)(fake)),
        "generator_nonsaturating": jnp.mean(jax.vmap(non_saturating_loss)(fake)),
        "hinge_d_sum": jnp.sum(jax.vmap(partial(hinge_loss, reduction="sum"))(real, fake)),
    }
    for name, loss in (("hinge_d", hinge_loss), ("vanilla_d", vanilla_loss)):
        batch = lambda real, fake, loss=loss: jnp.mean(jax.vmap(loss)(real, fake))
        value, (of_real, of_fake) = jax.value_and_grad(batch, (0, 1))(real, fake)
        produced |= {name: value, f"{name}/grad_real": of_real, f"{name}/grad_fake": of_fake}
    produced |= _toy(golden)
    return {name: np.asarray(value) for name, value in produced.items()}


def diffaug_flatdino(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    probability = options.take("prob")
    options.ignore("note", "tolerance")
    options.none_left()
    tags = sorted({name.split("/")[0] for name in golden.inputs})
    return {f"{tag}/augmented": _augmented(golden, tag, probability, 0.0) for tag in tags}


def diffaug_rae(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    runs = options.take("runs")
    options.ignore("note", "tolerance")
    options.none_left()
    produced: dict[str, np.ndarray] = {}
    for values in runs:
        run = Options("config.runs", values)
        tag, probability, cutout = run.take("tag"), run.take("prob"), run.take("cutout", 0.0)
        run.ignore("H", "W", "sel")
        run.none_left()
        first = _augmented(golden, tag, probability, cutout, (0, 2, 3, 1))
        produced[f"{tag}/augmented"] = first.transpose(0, 3, 1, 2)
    return produced


def _augmented(
    golden: Golden, tag: str, probability: float, cutout: float, axes: tuple[int, ...] = (0, 1, 2, 3)
) -> np.ndarray:
    """The switches of the references are those of the batch; FlatDINO has none for a cutout, which it lacks."""
    images = jnp.asarray(golden.input(f"{tag}/image").transpose(axes))
    switches = np.ones(3, np.float32)
    given = golden.input(f"{tag}/select")
    if given.shape not in ((2,), (3,)):
        raise CannotRun(f"inputs/{tag}/select has shape {given.shape}, expected two or three switches")
    switches[: len(given)] = given
    amounts = jnp.asarray(golden.input(f"{tag}/rand01").reshape(7, len(images)).T)

    @jax.jit
    @jax.vmap
    def run(image: jax.Array, amounts: jax.Array) -> jax.Array:
        draws = AugmentDraws(jnp.asarray(switches), amounts)
        return diffaug(image, draws, probability=probability, cutout=cutout)

    return np.asarray(run(images, amounts))


def _toy(golden: Golden) -> dict[str, Any]:
    """A generator `y = tanh(x V') W'` and the gradients of its two losses by W."""
    x, v, w, target, q = (jnp.asarray(golden.input(name)) for name in ("x", "V", "W", "target", "q"))
    made = lambda w: jnp.tanh(x @ v.T) @ w.T
    reconstruction = lambda w: jnp.mean(jnp.abs(made(w) - target))
    adversarial = lambda w: -jnp.mean(jnp.sin(made(w)) @ q)
    produced: dict[str, Any] = {}
    norms: list[jax.Array] = []
    pairs: tuple[tuple[str, Callable[[jax.Array], jax.Array]], ...] = (
        ("rec", reconstruction),
        ("gan", adversarial),
    )
    for name, loss in pairs:
        value, gradient = jax.value_and_grad(loss)(w)
        produced |= {f"toy/{name}": value, f"toy/grad_{name}": gradient}
        norms.append(jnp.linalg.norm(gradient))
    for name in golden.outputs:
        if name.startswith(_EPS):
            produced[name] = adaptive_weight(*norms, eps=float(name.removeprefix(_EPS)))
    produced["toy/lambda_zero_gan_grad"] = adaptive_weight(norms[0], jnp.zeros(()))
    return produced
