"""How a generator is read: which latents it speaks, and which velocity its output stands for."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from laminate.flow import (
    data_to_velocity,
    draw_time,
    drop_label,
    flow_matching_loss,
    logit_normal,
    shift_time,
    uniform,
)
from laminate.pretrained.features import features_of
from laminate.tokenizers.flatdino import FlatDino
from laminate.tokenizers.normalization import Normalization
from laminate.types import Latents, RandomKey, Scalar

TIMES = {"uniform": uniform(), "logit-normal": logit_normal()}
LATENTS = "latents"  # what `experiments/encode.py` wrote, in a batch
FIXED = 4  # times and noises that the validation loss of an image averages over


@dataclasses.dataclass(frozen=True)
class Generation:
    """What training and sampling agree on.

    Latents are normalised by the tokenizer's statistics if `normalize`, and drawn from the posterior instead of
    being its mean if `posterior`. `floor` is the least `1 - t` that a prediction of data is divided by. The null
    class comes after the `classes`. The network computes in `dtype`; states, noise and losses are float32.
    """

    tokens: int
    features: int
    classes: int
    predicts: Literal["velocity", "data"]
    floor: float
    normalize: bool
    posterior: bool
    dtype: jnp.dtype

    def latents(
        self, tokenizer: FlatDino, teacher: Any, example: dict[str, Array], *, key: RandomKey | None = None
    ) -> Latents:
        """What the generator is to produce for one example of a batch: stored there, or computed from its image."""
        if LATENTS in example:
            return example[LATENTS].astype(jnp.float32)
        features = features_of(teacher, example, dtype=self.dtype).final.astype(self.dtype)
        drawn = key if self.posterior else None
        if self.normalize:
            return tokenizer.encode(features, key=drawn)
        return tokenizer.encode_raw(features, key=drawn)[0].astype(jnp.float32)

    def raw(self, normalization: Normalization, z: Float[Array, "latents features"]) -> Latents:
        """The tokenizer's raw latent, float32, that a generated one stands for."""
        return normalization.inverse(z) if self.normalize else z.astype(jnp.float32)

    def velocity(
        self, network: Any, x: Float[Array, "latents features"], t: Scalar, label: Int[Array, ""]
    ) -> Latents:
        """The velocity that `network` means at `x` and `t`, float32."""

        def output(x: Latents, t: Scalar, label: Int[Array, ""]) -> Latents:
            return network(x.astype(self.dtype), t, label).astype(jnp.float32)

        if self.predicts == "data":
            return data_to_velocity(output, floor=self.floor)(x, t, label)
        return output(x, t, label)

    def label(self, label: Int[Array, ""]) -> Int[Array, ""]:
        """`label`, or the null class where there are no classes or the image has no label."""
        null = jnp.full_like(label, self.classes)
        return jnp.where((label < 0) | (label >= self.classes), null, label)

    def null_label(self) -> Int[Array, ""]:
        return jnp.asarray(self.classes, jnp.int32)


def flow_loss(
    generation: Generation,
    network: Any,
    z: Latents,
    label: Int[Array, ""],
    *,
    times: str,
    kappa: float,
    class_dropout: float,
    cosine_weight: float = 0.0,
    key: RandomKey,
) -> Scalar:
    """The flow matching loss of one latent at a drawn time and noise, its label dropped at a rate."""
    k_time, k_noise, k_drop = jax.random.split(key, 3)
    t = draw_time(k_time, TIMES[times], kappa=kappa)
    noise = jax.random.normal(k_noise, z.shape, jnp.float32)
    shown = drop_label(generation.label(label), generation.classes, rate=class_dropout, key=k_drop)
    velocity = lambda x, t: generation.velocity(network, x, t, shown)
    return flow_matching_loss(velocity, z, t=t, noise=noise, cosine_weight=cosine_weight)


def flow_measures(
    network: Any,
    frozen: tuple[Any, FlatDino],
    example: dict[str, Array],
    *,
    generation: Generation,
    kappa: float,
) -> dict[str, Array]:
    """The loss of one held-out image, its label never dropped, over `FIXED` times: the same times and noises always.

    The times are the middles of equal parts of the unit interval, shifted as in training.
    """
    teacher, tokenizer = frozen
    z = generation.latents(tokenizer, teacher, example)
    label = generation.label(example["label"])
    velocity = lambda x, t: generation.velocity(network, x, t, label)

    def at(place: Int[Array, ""]) -> Scalar:
        t = shift_time((place.astype(jnp.float32) + 0.5) / FIXED, kappa)
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(0), place), z.shape, jnp.float32)
        return flow_matching_loss(velocity, z, t=t, noise=noise)

    return {"loss": jnp.mean(jax.lax.map(at, jnp.arange(FIXED, dtype=jnp.int32)))}


def summarise_flow(sums: dict[str, Any]) -> dict[str, float]:
    """The validation metric from sums over the set."""
    return {"val/loss": float(sums["loss"]) / float(sums["count"])}
