"""The beta-VAE tokenizer: networks, gradients, and the losses of one batch of the released trainer."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.bottlenecks.gaussian import Gaussian, Posterior
from laminate.losses.divergence import kl_loss, kl_per_element, kl_variance_loss
from laminate.losses.reconstruction import huber_loss, mse_loss
from laminate.pretrained.keymaps.base import export
from laminate.tokenizers.flatdino import FlatDino
from laminate.types import Scalar

from ..options import Options
from ..reader import CannotRun, Golden
from .flatdino_model import tokenizer, weight_gradients


class Weights(NamedTuple):
    """One entry of `config.losses`; arrays, so that all entries share one compiled step."""

    recon: Scalar
    kl: Scalar
    free_bits: Scalar
    kl_variance: Scalar
    intermediate: Scalar


class Batch(NamedTuple):
    """What one loss is evaluated on; `intermediate` is None without an intermediate layer."""

    x: Float[Array, "b patches width"]
    noise: Float[Array, "b latents latent_dim"]
    intermediate: Float[Array, "b patches width"] | None


def produce(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    doubled = options.take("intermediate_layer") is not None
    intermediate_weight = float(options.take("intermediate_weight", 1.0))
    width = _latent_width(golden)
    model, slots = tokenizer(
        golden, options, Gaussian(width, tanh=options.take("tanh", False)), intermediate=doubled
    )
    entries = [_weights(entry, n, intermediate_weight) for n, entry in enumerate(options.take("losses", []))]
    options.ignore("tolerance", "note", "policy", "rng_leaves_in_checkpoint")
    options.none_left()
    batch = Batch(
        jnp.asarray(golden.input("x")),
        jnp.asarray(golden.input("eps")),
        jnp.asarray(golden.input("x_intermediate")) if doubled else None,
    )
    produced = _forward(model, batch) | _mixed(model, batch.x)
    for number, weights in enumerate(entries):
        metrics, of_model, of_x = _loss_and_gradients(model, batch, weights)
        produced |= {f"loss{number}/{name}": value for name, value in metrics.items()}
        produced |= weight_gradients(export(of_model, slots), f"loss{number}")
        produced[f"loss{number}/grad_x"] = of_x
    return {name: np.asarray(value) for name, value in produced.items()}


def _latent_width(golden: Golden) -> int:
    encoder = golden.config["encoder"]
    doubled = encoder["output_dim"] or encoder["transformer"]["embed_dim"]
    if doubled % 2:
        raise CannotRun(f"{golden.path}: encoder.output_dim={doubled} cannot hold a mean and a log-variance")
    return doubled // 2


def _weights(entry: dict[str, Any], number: int, intermediate: float) -> Weights:
    options = Options(f"losses[{number}]", entry)
    named = ("recon_weight", 1.0), ("kl_weight", 0.0), ("free_bits", 0.0), ("kl_var_weight", 0.0)
    taken = [options.take(name, default) for name, default in named]
    options.none_left()
    return Weights(*(jnp.asarray(value or 0.0, jnp.float32) for value in (*taken, intermediate)))


@eqx.filter_jit
def _forward(model: FlatDino, batch: Batch) -> dict[str, Array]:
    def one(x: Array, noise: Array) -> dict[str, Array]:
        z, posterior = model.encode_raw(x)
        sample = _squash(model, posterior, noise)
        outputs = {
            "encoder_all_tokens": model.encoder(x),
            "encoder_attention_last": model.encoder.attention_weights(x)[model.encoder.stack.depth - 1],
            "mu": posterior.mean,
            "logvar": posterior.logvar,
            "z_det": z,
            "z_sampled": sample,
            "decoded_final": model.decode_raw(z).final,
            "decoded_from_sample": model.decode_raw(sample).final,
        }
        intermediate = model.decode_raw(z).intermediate
        return outputs if intermediate is None else outputs | {"decoded_intermediate": intermediate}

    return jax.vmap(one)(batch.x, batch.noise)


@eqx.filter_jit
def _mixed(model: FlatDino, x: Float[Array, "b patches width"]) -> dict[str, Array]:
    """Parameters float32, compute bfloat16, outputs float32."""

    def one(x: Array) -> dict[str, Array]:
        z, posterior = model.encode_raw(x.astype(jnp.bfloat16))
        final = model.decode_raw(z, dtype=jnp.dtype(jnp.bfloat16)).final
        outputs = {"mu": posterior.mean, "logvar": posterior.logvar, "decoded_final": final}
        return {f"bf16/{name}": value.astype(jnp.float32) for name, value in outputs.items()}

    return jax.vmap(one)(x)


@eqx.filter_jit
def _loss_and_gradients(
    model: FlatDino, batch: Batch, weights: Weights
) -> tuple[dict[str, Array], FlatDino, Array]:
    def total(moving: tuple[FlatDino, Array]) -> tuple[Array, dict[str, Array]]:
        network, x = moving
        metrics = _metrics(network, batch._replace(x=x), weights)
        return metrics["total"], metrics

    (_, metrics), (of_model, of_x) = eqx.filter_value_and_grad(total, has_aux=True)((model, batch.x))
    return metrics, of_model, of_x


def _metrics(model: FlatDino, batch: Batch, weights: Weights) -> dict[str, Array]:
    """The loss of the released trainer, and everything that it logs about a batch."""

    def one(x: Array, noise: Array, intermediate: Array | None) -> tuple[dict[str, Array], Posterior, Array]:
        posterior = model.encode_raw(x)[1]
        sample = _squash(model, posterior, noise)
        decoded = model.decode_raw(sample)
        mean, logvar = posterior
        terms = {
            "recon_loss": huber_loss(decoded.final, x),
            "recon_mse": mse_loss(decoded.final, x),
            "intermediate_loss": jnp.zeros(()),
            "kl_loss": kl_loss(mean, logvar, free_bits=weights.free_bits),
            "kl_variance": kl_variance_loss(mean, logvar, free_bits=weights.free_bits),
            "kl_nats": jnp.mean(kl_per_element(mean, logvar)),
            "kl_per_token": jnp.sum(jnp.maximum(kl_per_element(mean, logvar), weights.free_bits), axis=-1),
        }
        if intermediate is not None and decoded.intermediate is not None:
            terms["intermediate_loss"] = huber_loss(decoded.intermediate, intermediate)
        return terms, posterior, sample

    axes = (0, 0, None if batch.intermediate is None else 0)
    per_example, posterior, sample = jax.vmap(one, in_axes=axes)(*batch)
    terms = {name: jnp.mean(values, axis=0) for name, values in per_example.items()}
    recon = terms["recon_loss"] + weights.intermediate * terms["intermediate_loss"]
    kl = weights.kl * (terms["kl_loss"] + weights.kl_variance * terms["kl_variance"])
    return terms | {
        "total": weights.recon * recon + kl,
        "logvar_mean": jnp.mean(posterior.logvar),
        "logvar_min": jnp.min(posterior.logvar),
        "logvar_max": jnp.max(posterior.logvar),
        "std_mean": jnp.mean(jnp.exp(0.5 * posterior.logvar)),
        "mu_sq_mean": jnp.mean(jnp.square(posterior.mean)),
        "z_var": jnp.var(sample),
    }


def _squash(model: FlatDino, posterior: Posterior, noise: Array) -> Array:
    assert isinstance(model.bottleneck, Gaussian)
    return model.bottleneck.squash(posterior.reparameterise(noise))
