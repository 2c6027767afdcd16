"""How a generator is read: which latents it speaks, and which velocity its output stands for."""

import dataclasses
import math
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from laminate.flow import (
    STRAIGHT,
    Path,
    Sphere,
    draw_time,
    drop_label,
    flow_matching_loss,
    logit_normal,
    shift_time,
    uniform,
)
from laminate.models.naflex import whole_grid
from laminate.tokenizers.base import ImageTokenizer
from laminate.tokenizers.normalization import Normalization
from laminate.types import Latents, RandomKey, Scalar

TIMES = {"uniform": uniform(), "logit-normal": logit_normal()}
IMAGE = "image"
LATENTS = "latents"  # what `experiments/encode.py` wrote, in a batch
FIXED = 4  # times and noises that the validation loss of an image averages over


Prediction = Literal["velocity", "data"]


@runtime_checkable
class GeneratorFacts(Protocol):
    """What a recipe of a generator says of its latents and of its network's output."""

    @property
    def tokens(self) -> int: ...
    @property
    def latent_dim(self) -> int: ...
    @property
    def classes(self) -> int: ...
    @property
    def prediction(self) -> Prediction: ...
    @property
    def resolved_min_one_minus_t(self) -> float: ...
    @property
    def normalize(self) -> bool: ...
    @property
    def sample_latents(self) -> bool: ...
    @property
    def radius(self) -> float | None: ...
    @property
    def decode_radius(self) -> float | None: ...
    @property
    def radial_weight(self) -> float: ...


@dataclasses.dataclass(frozen=True)
class FlowConfig:
    """What training and sampling agree on.

    Latents are normalised by the tokenizer's statistics if `normalize`, and drawn from the posterior instead of
    being its mean if `posterior`. `min_one_minus_t` is the least `1 - t` that a prediction of data is divided by. The
    null class comes after the `classes`. The network computes in `dtype`; states, noise and losses are float32.
    On a curved `path` what of a velocity leaves the space costs `normal_weight`; what was drawn is multiplied by
    `decode_scale` before anything else is done with it. Latents may be drawn on another `grid` (rows, columns) than
    that of the training, by a network that is told where tokens stand.
    """

    tokens: int
    latent_dim: int
    classes: int
    predicts: Prediction
    min_one_minus_t: float
    normalize: bool
    posterior: bool
    dtype: jnp.dtype
    path: Path = STRAIGHT
    normal_weight: float = 0.0
    decode_scale: float = 1.0
    grid: tuple[int, int] | None = None

    @staticmethod
    def of(recipe: GeneratorFacts, dtype: jnp.dtype) -> "FlowConfig":
        """That of the generators of `recipe`: on the sphere of its radius, or on the straight path if it has none."""
        radius = recipe.radius
        return FlowConfig(
            tokens=recipe.tokens,
            latent_dim=recipe.latent_dim,
            classes=recipe.classes,
            predicts=recipe.prediction,
            min_one_minus_t=recipe.resolved_min_one_minus_t,
            normalize=recipe.normalize,
            posterior=recipe.sample_latents,
            dtype=dtype,
            path=STRAIGHT if radius is None else Sphere(radius),
            normal_weight=recipe.radial_weight,
            decode_scale=1.0 if radius is None else (recipe.decode_radius or radius) / radius,
        )

    def of_image(self, example: dict[str, Array], size: int) -> "FlowConfig":
        """The same for the latents of the image of an example, if that is none of the squares of `size` pixels whose
        latents are those of the recipe."""
        if IMAGE not in example or example[IMAGE].shape[:2] == (size, size):
            return self
        patch = size // math.isqrt(self.tokens)
        height, width = example[IMAGE].shape[:2]
        return self.on((height // patch, width // patch))

    def on(self, grid: tuple[int, int]) -> "FlowConfig":
        """The same for latents on another grid."""
        return dataclasses.replace(self, grid=grid, tokens=grid[0] * grid[1])

    def latents(
        self, tokenizer: ImageTokenizer, example: dict[str, Array], *, key: RandomKey | None = None
    ) -> Latents:
        """What the generator is to produce for one example of a batch: stored there, or computed from its image."""
        if LATENTS in example:
            return self.path.project(example[LATENTS].astype(jnp.float32))
        drawn = key if self.posterior else None
        if self.normalize:
            return self.path.project(tokenizer.encode(example, dtype=self.dtype, key=drawn))
        return self.path.project(tokenizer.encode_raw(example, dtype=self.dtype, key=drawn)[0])

    def noise(self, key: RandomKey) -> Latents:
        """Where the path of a sample begins, float32."""
        return self.path.project(jax.random.normal(key, (self.tokens, self.latent_dim), jnp.float32))

    def raw(self, normalization: Normalization | None, z: Float[Array, "latents latent_dim"]) -> Latents:
        """The tokenizer's raw latent, float32, that a generated one stands for."""
        if self.decode_scale != 1.0:
            z = self.decode_scale * z.astype(jnp.float32)
        if normalization is None or not self.normalize:
            return z.astype(jnp.float32)
        return normalization.inverse(z)

    def velocity(
        self, network: Any, x: Float[Array, "latents latent_dim"], t: Scalar, label: Int[Array, ""]
    ) -> Latents:
        """The velocity that `network` means at `x` and `t`, float32."""

        places = {} if self.grid is None else {"places": whole_grid(*self.grid)}

        def output(x: Latents, t: Scalar, label: Int[Array, ""]) -> Latents:
            return network(x.astype(self.dtype), t, label, **places).astype(jnp.float32)

        if self.predicts == "data":
            data = output(x, t, label)
            return self.path.data_to_velocity(x, data, t, min_one_minus_t=self.min_one_minus_t)
        return output(x, t, label)

    def label(self, label: Int[Array, ""]) -> Int[Array, ""]:
        """`label`, or the null class where there are no classes or the image has no label.

        A network without a null class has no row for that, and adds nothing to the condition.
        """
        null = jnp.full_like(label, self.classes)
        return jnp.where((label < 0) | (label >= self.classes), null, label)

    def null_label(self) -> Int[Array, ""]:
        return jnp.asarray(self.classes, jnp.int32)


def flow_loss(
    flow: FlowConfig,
    network: Any,
    z: Latents,
    label: Int[Array, ""],
    *,
    times: str,
    time_shift: float,
    class_dropout: float,
    cosine_weight: float = 0.0,
    key: RandomKey,
) -> Scalar:
    """The flow matching loss of one latent at a drawn time and noise, its label dropped at a rate."""
    k_time, k_noise, k_drop = jax.random.split(key, 3)
    t = draw_time(k_time, TIMES[times], time_shift=time_shift)
    shown = drop_label(flow.label(label), flow.classes, rate=class_dropout, key=k_drop)
    velocity = lambda x, t: flow.velocity(network, x, t, shown)
    return flow_matching_loss(
        velocity,
        z,
        t=t,
        noise=flow.noise(k_noise),
        path=flow.path,
        cosine_weight=cosine_weight,
        normal_weight=flow.normal_weight,
    )


def flow_measures(
    network: Any,
    tokenizer: ImageTokenizer,
    example: dict[str, Array],
    *,
    flow: FlowConfig,
    time_shift: float,
) -> dict[str, Array]:
    """The loss of one held-out image, its label never dropped, over `FIXED` times: the same times and noises always.

    The times are the middles of equal parts of the unit interval, shifted as in training.
    """
    z = flow.latents(tokenizer, example)
    label = flow.label(example["label"])
    velocity = lambda x, t: flow.velocity(network, x, t, label)

    def at(place: Int[Array, ""]) -> Scalar:
        t = shift_time((place.astype(jnp.float32) + 0.5) / FIXED, time_shift)
        noise = flow.noise(jax.random.fold_in(jax.random.key(0), place))
        return flow_matching_loss(
            velocity, z, t=t, noise=noise, path=flow.path, normal_weight=flow.normal_weight
        )

    return {"loss": jnp.mean(jax.lax.map(at, jnp.arange(FIXED, dtype=jnp.int32)))}


def summarise_flow(sums: dict[str, Any]) -> dict[str, float]:
    """The validation metric from sums over the set."""
    return {"val/loss": float(sums["loss"]) / float(sums["count"])}
