"""The decoder's half of an adversarial step, as training makes it: both losses, their balance, and the gradient."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from laminate.losses.adversarial import adaptive_weight, generator_loss, hinge_loss
from laminate.losses.diffaug import AugmentDraws, diffaug
from laminate.losses.reconstruction import l1_loss
from laminate.models.pixel_decoder import RegisterDecoder
from laminate.nn import zeros
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.parallel.sharding import place
from laminate.pretrained.keymaps.base import export, load
from laminate.pretrained.keymaps.flatdino import IGNORED, pixel_decoder_slots
from laminate.pretrained.plain import DINO
from laminate.pretrained.teachers import VitTeacher
from laminate.train.gan_objectives import DecoderExample, DiscriminatorInputs, GanObjectives
from laminate.train.gan_step import make_gan_step
from laminate.train.state import init_gan_state, init_state
from laminate.types import Image, join_buffers

from ..options import Options, vit
from ..reader import CannotRun, Golden
from .discriminators import under, visible_parts

_SEEN_SIZE = 224
_SEED = 0
_TURNS = {"rec_only": 1, "gan": 0}
"""From which step on the adversary acts on the decoder in the first step of each part of the file."""


def flatdino(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    decoder = _decoder(golden.weights, options)
    config = options.take("vit")
    inside = Options("config.vit", config)
    inside.ignore(*DINO.defaults, *DINO.inert)
    inside.none_left()
    size = options.take("resolution", _SEEN_SIZE)
    network = VitTeacher(DINO.load(config, under(golden, "dino/")), size, mean=DINO.mean, std=DINO.std)
    weight, largest = options.take("gan_weight"), options.take("max_d_weight")
    probability = options.take("prob", 1.0)
    backbone, heads = visible_parts(network, under(golden, "disc/"), options)
    latents = jnp.asarray(golden.input("latents"))
    mean, std = (np.asarray(values, np.float32) for values in (decoder.mean, decoder.std))
    batch = {"latents": latents, "image": jnp.asarray(golden.input("image") * std + mean)}
    frozen = backbone, _draws(golden, len(latents)), _keys(len(latents))
    objectives = GanObjectives(
        prepare=lambda frozen, example, step, key: DecoderExample(
            example["latents"], example["latents"], example["image"]
        ),
        hidden=lambda decoder, frozen, latents, key: decoder.hidden(latents, key=key),
        image=lambda decoder, hidden: decoder.image(hidden),
        last=lambda decoder: decoder.last.weight,
        reconstruct=_reconstruct,
        views=partial(_view, probability=probability),
        generator_loss=generator_loss,
        discriminator_loss=_discriminator_loss,
        quantize=lambda image: image,
        balance=partial(adaptive_weight, largest=largest),
        weight=weight,
        adversarial_start=0,
        discriminator_start=1,
    )
    tokens, decoded = _decoded(decoder, latents)
    produced: dict[str, Any] = {
        "tokens": tokens,
        "reconstruction": decoded,
        "reconstruction_normalised": (np.asarray(decoded) - mean) / std,
    }
    for part, start in _TURNS.items():
        told = dataclasses.replace(objectives, adversarial_start=start)
        produced |= _step(part, decoder, heads, frozen, told, batch)
    return {name: np.asarray(value) for name, value in produced.items() if name in golden.outputs}


def _decoder(weights: Mapping[str, np.ndarray], options: Options) -> RegisterDecoder:
    network, causal = vit("decoder", options.take("decoder"))
    if causal:
        raise CannotRun("config decoder.transformer.causal=true is not an option of an image decoder")
    mean, std = (
        tuple(float(v) for v in weights[f"decoder/img_{name}"].reshape(-1)) for name in ("mean", "std")
    )
    made = RegisterDecoder(
        network, patch=options.take("patch_size"), mean=mean, std=std, init=zeros, key=jax.random.key(0)
    )
    own = {name: array for name, array in weights.items() if name.startswith("decoder/")}
    return load(made, pixel_decoder_slots(made), own, ignored=IGNORED)


@jax.jit
def _decoded(decoder: RegisterDecoder, latents: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The last map of all tokens, and the images of those that become one."""
    tokens = jax.vmap(lambda z: decoder.windows(decoder.vit(z)))(latents)
    return tokens, jax.vmap(decoder)(latents)


def _draws(golden: Golden, images: int) -> AugmentDraws:
    """Of each image; the switches of the reference are those of the batch, and it cuts nothing out."""
    amounts = golden.input("diffaug_rand01").reshape(7, images).T
    switches = np.ones((images, 3), np.float32)
    given = golden.input("diffaug_select")
    if given.shape not in ((2,), (3,)):
        raise CannotRun(f"inputs/diffaug_select has shape {given.shape}, expected two or three switches")
    switches[:, : len(given)] = given
    return AugmentDraws(switches, amounts)


def _keys(images: int) -> np.ndarray:
    """The data of all keys that the first step has for each image."""
    step_key = jax.random.fold_in(jax.random.key(_SEED), 0)
    keys = [jax.random.split(jax.random.fold_in(step_key, row), 5) for row in range(images)]
    return np.stack([jax.random.key_data(key) for key in keys])


def _view(image: Image, frozen: Any, *, key: Any, probability: float) -> tuple[Any, ...]:
    """What the discriminator sees, moved as the file says of the image whose key this is."""
    backbone, draws, keys = frozen
    row = jnp.argmax(jnp.any(jnp.all(keys == jax.random.key_data(key)[None, None], axis=-1), axis=-1))
    signed = 2.0 * jnp.clip(image, 0.0, 1.0) - 1.0
    moved = diffaug(signed, AugmentDraws(draws.switches[row], draws.amounts[row]), probability=probability)
    return (backbone(moved),)


def _reconstruct(
    image: Image, hidden: Any, example: DecoderExample, frozen: Any, *, step: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    return l1_loss(image, example.target), {}


def _discriminator_loss(
    real: DiscriminatorInputs, fake: DiscriminatorInputs
) -> tuple[jax.Array, dict[str, jax.Array]]:
    on_real, on_fake = (seen.discriminator(seen.views[0]) for seen in (real, fake))
    return hinge_loss(on_real, on_fake), {}


def _step(
    part: str,
    decoder: RegisterDecoder,
    heads: Any,
    frozen: Any,
    objectives: GanObjectives,
    batch: dict[str, jax.Array],
) -> dict[str, Any]:
    """The first step of a training on one device, whose optimiser keeps the gradient that it is given."""
    keeps, still = optax.trace(decay=0.0), optax.sgd(0.0)
    # The step takes what it is given, and both parts of the file begin with the same weights.
    decoder, heads = jax.tree.map(jnp.copy, (decoder, heads))
    state = init_gan_state(
        init_state(decoder, keeps, averaged=False, key=jax.random.key(_SEED)),
        init_state(heads, still, averaged=False, key=jax.random.key(_SEED + 1)),
    )
    mesh = build_mesh(MeshShape(1))
    state, frozen = place(state, mesh), place(frozen, mesh)
    step = make_gan_step(objectives, keeps, still, state, frozen, mesh=mesh)
    state, metrics = step(state, frozen, batch)
    gradient = join_buffers(state.opt_state.trace, state.buffers)
    named = export(gradient, pixel_decoder_slots(decoder, prefix=""))
    return {
        f"{part}/recon_loss": metrics["reconstruction_loss"],
        f"{part}/lpips_loss": jnp.zeros(()),
        f"{part}/gan_loss": metrics["adversarial_loss"],
        f"{part}/gan_weight": metrics["adversarial_weight"],
        f"{part}/total": metrics["loss"],
        **{f"{part}/grad/{name}": value for name, value in named.items()},
    }
