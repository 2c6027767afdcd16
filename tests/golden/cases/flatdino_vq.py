"""The FSQ tokenizer, with and without nested dropout."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from laminate.bottlenecks.fsq import Fsq
from laminate.bottlenecks.nested_dropout import draw_keep, register_causal_mask
from laminate.losses.reconstruction import huber_loss, mse_loss
from laminate.pretrained.keymaps.base import export
from laminate.tokenizers.flatdino import FlatDino

from ..options import Options
from ..reader import Golden
from .flatdino_model import tokenizer, weight_gradients

_KEEP = "decoded_keep"


def produce(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    nested = options.take("nested_dropout", False)
    fsq = Fsq(tuple(options.take("levels")))
    model, slots = tokenizer(golden, options, fsq, nested=nested)
    recon_weight = float(options.take("recon_weight", 1.0))
    options.ignore("k_keep_note", "min_distance_to_rounding_edge", "rng_leaves_in_checkpoint")
    options.ignore("tolerance", "note", "policy")
    options.none_left()
    x = jnp.asarray(golden.input("x"))
    produced = {name: np.asarray(value) for name, value in _forward(model, x).items()}
    keep = None
    if nested:
        keep = int(golden.input("loss/k_keep"))
        produced |= _nested(golden, model, x) | {"loss/k_keep": np.float32(keep)}
    (total, terms), (of_model, of_x) = _loss_and_gradients(model, x, keep, recon_weight)
    produced |= {f"loss/{name}": np.asarray(value) for name, value in terms.items()}
    produced |= weight_gradients(export(of_model, slots), "loss")
    usage = np.unique(produced["indices"]).size / fsq.codebook_size
    return produced | {
        "loss/total": np.asarray(total),
        "loss/grad_x": np.asarray(of_x),
        "loss/codebook_usage": usage,
    }


def _nested(golden: Golden, model: FlatDino, x: Float[Array, "b patches width"]) -> dict[str, np.ndarray]:
    registers = model.encoder.prefix
    produced = {"encoder_mask": register_causal_mask(registers, registers + x.shape[1])[None, None]}
    for name in golden.outputs:
        if name.startswith(_KEEP):
            produced[name] = np.asarray(_decoded(model, x, jnp.asarray(int(name.removeprefix(_KEEP)))))
    if "k_keep_for_key" in golden.outputs:
        keys = [jax.random.key(i, impl="threefry2x32") for i in range(golden.outputs["k_keep_for_key"].size)]
        produced["k_keep_for_key"] = np.asarray([draw_keep(key, model.latents) for key in keys])
    return produced


@eqx.filter_jit
def _forward(model: FlatDino, x: Float[Array, "b patches width"]) -> dict[str, Array]:
    def one(x: Array) -> dict[str, Array]:
        codes, quantised = model.encode_raw(x)
        return {
            "codes": codes,
            "indices": quantised.indices,
            "z_pre": quantised.continuous,
            "decoded": model.decode_raw(codes).final,
        }

    return jax.vmap(one)(x)


@eqx.filter_jit
def _decoded(model: FlatDino, x: Float[Array, "b patches width"], keep: Int[Array, ""]) -> Array:
    return jax.vmap(lambda one: model.decode_raw(model.encode_raw(one)[0], keep=keep).final)(x)


@eqx.filter_jit
def _loss_and_gradients(
    model: FlatDino, x: Float[Array, "b patches width"], keep: int | None, recon_weight: float
) -> tuple[tuple[Array, dict[str, Array]], tuple[FlatDino, Array]]:
    def one(network: FlatDino, features: Array) -> tuple[dict[str, Array], Array]:
        codes, quantised = network.encode_raw(features)
        decoded = network.decode_raw(codes, keep=keep).final
        terms = {"recon_loss": huber_loss(decoded, features), "recon_mse": mse_loss(decoded, features)}
        return terms, quantised.continuous

    def total(moving: tuple[FlatDino, Array]) -> tuple[Array, dict[str, Array]]:
        network, x = moving
        per_example, continuous = jax.vmap(lambda features: one(network, features))(x)
        terms = {name: jnp.mean(values) for name, values in per_example.items()}
        return recon_weight * terms["recon_loss"], terms | {"z_pre_var": jnp.var(continuous)}

    return eqx.filter_value_and_grad(total, has_aux=True)((model, x))
