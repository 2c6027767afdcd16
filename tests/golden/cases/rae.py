"""Representation autoencoders: encoder, latents, noise, decoder, and a gradient."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from laminate.nn import resize, unpatchify
from laminate.pretrained import rae as published
from laminate.pretrained.keymaps.base import export
from laminate.pretrained.teachers import VitTeacher
from laminate.tokenizers.rae import Rae

from ..options import Options
from ..reader import CannotRun, Golden
from .vision import channels_last, family_of

_WRAPPERS = {"Dinov2withNorm", "MAEwNorm", "SigLIP2wNorm"}
_STATISTICS = {None: set(), "mean": {"mean"}, "var": {"var"}, "both": {"mean", "var"}}


def produce(golden: Golden) -> dict[str, np.ndarray]:
    model, sees = _autoencoder(golden, Options("config", golden.config))
    produced: dict[str, np.ndarray] = {}
    for name, images in golden.inputs.items():
        if name.endswith("px/image"):
            produced |= _round_trip(model, channels_last(images), name.removesuffix("image"), sees)
    produced |= _decoder(model, golden)
    produced |= _noise(model, golden)
    produced |= _gradient(model, golden)
    return {name: value for name, value in produced.items() if name in golden.outputs}


def _autoencoder(golden: Golden, options: Options) -> tuple[Rae, int]:
    parts = published.split_autoencoder(
        {name: a for name, a in golden.weights.items() if not name.startswith("latent/")}
    )
    config, size = options.take("encoder"), options.take("encoder_input_size")
    family = family_of("encoder", config)
    encoder = VitTeacher(
        family.load(config, parts.encoder, affine=False, prefix=""),
        size,
        mean=tuple(options.take("image_mean")),
        std=tuple(options.take("image_std")),
        resampling="bicubic",
    )
    wrapper = options.take("encoder_cls")
    if wrapper not in _WRAPPERS:
        raise CannotRun(f"config encoder_cls={wrapper!r} is none of {sorted(_WRAPPERS)}")
    decoder_options = options.take("decoder")
    inside = Options("decoder", decoder_options)
    inside.ignore(*published.DEFAULTS, *published.INERT)
    inside.none_left()
    decoder = published.load_decoder(
        decoder_options,
        parts.decoder,
        tokens=encoder.tokens,
        in_dim=encoder.dim,
        patch=options.take("decoder_patch_size"),
        mean=encoder.mean,
        std=encoder.std,
    )
    model = Rae(encoder, decoder, noise=options.take("noise_tau"))
    model = _with_statistics(golden, model, options.take("latent_stats"), eps=options.take("eps"))
    options.ignore("note", "reference_fp32_vs_fp64_max_abs", "tolerance", "transformers")
    options.none_left()
    return model, size


def _with_statistics(golden: Golden, model: Rae, kind: Any, *, eps: float) -> Rae:
    stored = {name.removeprefix("latent/") for name in golden.weights if name.startswith("latent/")}
    if kind not in _STATISTICS or stored != _STATISTICS[kind]:
        raise CannotRun(f"config latent_stats={kind!r} does not fit the stored statistics {sorted(stored)}")
    if kind is None:
        return model
    mean, variance = (golden.weights.get(f"latent/{name}") for name in ("mean", "var"))
    return model.with_statistics(mean, variance, eps=eps)


def _round_trip(model: Rae, images: jax.Array, at: str, sees: int) -> dict[str, np.ndarray]:
    @jax.jit
    def run(model: Rae, images: jax.Array) -> tuple[jax.Array, ...]:
        def one(image: jax.Array) -> tuple[jax.Array, ...]:
            latents = model.encode(image)
            resized = resize(image, (sees, sees), "bicubic")
            return resized, model.encoder(image), latents, model.decode(latents)

        return jax.vmap(one)(images)

    resized, tokens, latents, image = (np.asarray(a) for a in run(model, images))
    side = model.decoder.grid[0]
    grid = latents.reshape(len(latents), side, side, -1)
    found = {"resized": _first(resized), "encoder_tokens": tokens, "latent": _first(grid)}
    found["reconstruction"] = _first(image)
    return {at + name: value for name, value in found.items()}


def _decoder(model: Rae, golden: Golden) -> dict[str, np.ndarray]:
    @jax.jit
    def run(decoder: Any, tokens: jax.Array) -> tuple[jax.Array, ...]:
        def one(features: jax.Array) -> tuple[jax.Array, ...]:
            after = decoder.vit.taps(decoder.fitted(features), tuple(range(decoder.vit.stack.depth)))[1]
            patches = decoder.windows(decoder.hidden(features))
            return patches, unpatchify(patches, decoder.patch, decoder.grid), after

        return jax.vmap(one)(tokens)

    logits, pixels, hidden = run(model.decoder, jnp.asarray(golden.input("decoder/tokens")))
    produced = {
        "decoder/logits": np.asarray(logits),
        "decoder/pixels": _first(np.asarray(pixels)),
    }
    if "decoder/tokens_other_count" in golden.inputs:
        other, _, _ = run(model.decoder, jnp.asarray(golden.input("decoder/tokens_other_count")))
        produced["decoder/logits_other_count"] = np.asarray(other)
    for i in range(hidden.shape[1]):
        produced[f"decoder/hidden_after_block{i}"] = np.asarray(hidden[:, i])
    return produced


def _noise(model: Rae, golden: Golden) -> dict[str, np.ndarray]:
    u, noise = (jnp.asarray(golden.input(f"noise/{name}")) for name in ("u", "eps"))
    tokens = jnp.asarray(golden.input("decoder/tokens"))
    noised = jax.vmap(model.noise.perturb)(tokens, u.reshape(-1), noise)
    return {"noise/noised_tokens": np.asarray(noised)}


def _gradient(model: Rae, golden: Golden) -> dict[str, np.ndarray]:
    target = channels_last(golden.input("l1/target"))
    images = channels_last(next(a for name, a in golden.inputs.items() if name.endswith("px/image")))

    @jax.jit
    @jax.value_and_grad
    def loss(decoder: Any, model: Rae) -> jax.Array:
        model = eqx.tree_at(lambda m: m.decoder, model, decoder)
        rebuilt = jax.vmap(lambda image: model.decode(jax.lax.stop_gradient(model.encode(image))))(images)
        return jnp.mean(jnp.abs(rebuilt - target))

    value, gradients = loss(model.decoder, model)
    named: Mapping[str, np.ndarray] = export(gradients, published.decoder_slots(model.decoder))
    produced = {f"l1/grad/decoder.{name}": a for name, a in named.items()}
    return {**produced, "l1/loss": np.asarray(value)}


def _first(images: np.ndarray) -> np.ndarray:
    """Channels first."""
    return images.transpose(0, 3, 1, 2)
