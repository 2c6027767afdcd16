"""The whole loss of VA-VAE on a small graph: reconstruction, divergence, adversary and alignment, with both weights."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from laminate.losses.adversarial import adaptive_weight, generator_loss, hinge_loss, vanilla_loss
from laminate.losses.alignment import cosine_alignment_loss, similarity_alignment_loss
from laminate.losses.divergence import kl_loss
from laminate.models.patchgan import PatchGan
from laminate.models.vgg import Lpips
from laminate.pretrained.discriminators import load_patchgan
from laminate.pretrained.lpips import load_lpips

from ..options import Options
from ..reader import CannotRun, Golden
from .discriminators import require_described, under

_EPS = 1e-4
_ABOUT_THE_FILE = ("note", "reference_fp32_vs_fp64_max_abs", "tolerance")
_LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "hinge": hinge_loss,
    "vanilla": vanilla_loss,
}


class Settings(NamedTuple):
    """The weights and margins of the configuration."""

    adaptive: bool
    cosine_margin: float
    cosine_weight: float
    similarity_margin: float
    similarity_weight: float
    adversarial_factor: float
    adversarial_weight: float
    divergence_weight: float
    logvar: float
    perceptual_weight: float
    alignment_weight: float


class Inputs(NamedTuple):
    """What the small graph is given, channels last, and the frozen networks."""

    image: jax.Array
    h: jax.Array
    zz: jax.Array
    projection: jax.Array
    features: jax.Array
    lpips: Lpips
    discriminator: PatchGan


def produce(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    steps, start = options.take("global_steps"), options.take("disc_start")
    settings, discriminator_loss = _settings(options), options.choose("disc_loss", _LOSSES, "hinge")
    discriminator = load_patchgan(under(golden, "discriminator/"))
    require_described("discriminator", discriminator, Options("discriminator", options.take("discriminator")))
    lpips = load_lpips(under(golden, "lpips/"), widths=tuple(options.take("lpips_widths")))
    if options.take("pp_style") or options.take("pixelloss_weight") != 1.0:
        raise CannotRun(
            "config pp_style=true and a pixelloss_weight other than 1 are not options of the loss"
        )
    options.ignore(*_ABOUT_THE_FILE)
    options.none_left()
    arrays = [
        jnp.moveaxis(jnp.asarray(golden.input(name)), 1, -1) for name in ("image", "h", "zz", "aux_feature")
    ]
    projection = jnp.asarray(golden.input("Pz"))[:, :, 0, 0]
    inputs = Inputs(*arrays[:3], projection, arrays[3], lpips, discriminator)
    last, first = (jnp.asarray(golden.input(name))[:, :, 0, 0] for name in ("Wl", "Wz"))
    divergence = _divergence(jnp.asarray(golden.input("posterior_moments")))
    produced: dict[str, Any] = {}
    for at, step in steps.items():
        factor = settings.adversarial_factor if step >= start else 0.0
        found = _generator(settings, factor, inputs, divergence, last, first)
        produced |= {f"{at}/generator/{name}": value for name, value in found.items()}
        made = _rebuilt(inputs, last, first)
        real, fake = _judged(discriminator, inputs.image, made)
        loss = factor * jnp.mean(jax.vmap(discriminator_loss)(real, fake))
        found = {"disc_loss": loss, "logits_real": jnp.mean(real), "logits_fake": jnp.mean(fake)}
        produced |= {f"{at}/discriminator/{name}": value for name, value in found.items()}
        produced["reconstruction"] = jnp.moveaxis(made, -1, 1)
    return {name: np.asarray(value) for name, value in produced.items()}


def _settings(options: Options) -> Settings:
    fields = (
        "adaptive_vf",
        *("cos_margin", "cos_weight", "distmat_margin", "distmat_weight"),
        *("disc_factor", "disc_weight", "kl_weight", "logvar_init", "perceptual_weight", "vf_weight"),
    )
    return Settings(*(options.take(field) for field in fields))


def _divergence(moments: jax.Array) -> jax.Array:
    mean, logvar = jnp.split(
        jnp.moveaxis(moments, 1, -1).reshape(len(moments), -1, moments.shape[1]), 2, axis=-1
    )
    return jnp.mean(jax.vmap(kl_loss)(mean, jnp.clip(logvar, -30.0, 20.0)))


@jax.jit
def _judged(discriminator: PatchGan, image: jax.Array, made: jax.Array) -> tuple[jax.Array, jax.Array]:
    now, kept = discriminator.training(image)
    after, _ = kept.training(made)
    return jax.vmap(now)(image), jax.vmap(after)(made)


def _latents(inputs: Inputs, first: jax.Array) -> jax.Array:
    return inputs.zz @ first.T


@jax.jit
def _rebuilt(inputs: Inputs, last: jax.Array, first: jax.Array) -> jax.Array:
    mean = jnp.mean(_latents(inputs, first), axis=-1, keepdims=True)
    for axis in (1, 2):
        mean = jnp.repeat(mean, inputs.h.shape[axis] // mean.shape[axis], axis=axis)
    return (inputs.h * (1 + 0.1 * jnp.broadcast_to(mean, inputs.h.shape))) @ last.T


@partial(jax.jit, static_argnums=(0, 1))
def _generator(
    settings: Settings,
    factor: float,
    inputs: Inputs,
    divergence: jax.Array,
    last: jax.Array,
    first: jax.Array,
) -> dict[str, jax.Array]:
    def error(last: jax.Array, first: jax.Array) -> jax.Array:
        """Of every pixel and channel: the absolute one, and the perceptual one of the image."""
        made = _rebuilt(inputs, last, first)
        perceptual = jax.vmap(inputs.lpips)((inputs.image + 1) / 2, (made + 1) / 2)
        perceptual = jnp.broadcast_to(perceptual.reshape(-1, 1, 1, 1), made.shape)
        return jnp.abs(inputs.image - made) + settings.perceptual_weight * perceptual

    def likelihood(last: jax.Array, first: jax.Array) -> jax.Array:
        whole = error(last, first) / jnp.exp(settings.logvar) + settings.logvar
        return jnp.sum(whole) / len(inputs.image)

    def adversary(last: jax.Array, first: jax.Array) -> jax.Array:
        made = _rebuilt(inputs, last, first)
        now, _ = inputs.discriminator.training(made)
        return jnp.mean(jax.vmap(lambda image: generator_loss(now(image)))(made))

    def alignment(last: jax.Array, first: jax.Array) -> jax.Array:
        projected = _latents(inputs, first) @ inputs.projection.T
        tokens, features = (a.reshape(len(a), -1, a.shape[-1]) for a in (projected, inputs.features))
        cosine = jax.vmap(partial(cosine_alignment_loss, margin=settings.cosine_margin))(tokens, features)
        pairs = jax.vmap(partial(similarity_alignment_loss, margin=settings.similarity_margin))(
            tokens, features
        )
        return settings.cosine_weight * jnp.mean(cosine) + settings.similarity_weight * jnp.mean(pairs)

    values, slopes = {}, {}
    for name, loss in (("nll", likelihood), ("g", adversary), ("vf", alignment)):
        values[name], slopes[name] = jax.value_and_grad(loss, (0, 1))(last, first)
    norm = jnp.linalg.norm
    weight = settings.adversarial_weight * adaptive_weight(
        norm(slopes["nll"][0]), norm(slopes["g"][0]), eps=_EPS
    )
    aligning = jnp.asarray(settings.alignment_weight)
    if settings.adaptive:
        aligning *= adaptive_weight(norm(slopes["nll"][1]), norm(slopes["vf"][1]), eps=_EPS, largest=1e8)
    sums = [
        slopes["nll"][i] + factor * weight * slopes["g"][i] + aligning * slopes["vf"][i] for i in range(2)
    ]
    total = values["nll"] + settings.divergence_weight * divergence
    return {
        "total_loss": total + factor * weight * values["g"] + aligning * values["vf"],
        "rec_loss": jnp.mean(error(last, first)),
        "nll_loss": values["nll"],
        "kl_loss": divergence,
        "g_loss": values["g"],
        "vf_loss": values["vf"],
        "d_weight": weight,
        "vf_weight": aligning,
        "disc_factor": jnp.asarray(factor),
        "logvar": jnp.asarray(settings.logvar),
        "grad_Wl": sums[0][:, :, None, None],
        "grad_Wz": sums[1][:, :, None, None],
    }
