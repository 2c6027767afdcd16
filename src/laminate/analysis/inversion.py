"""An image whose features are those of another one, found by a deep image prior (FlatDINO, appendix J)."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from laminate.models.image_prior import ImagePrior, ImagePriorConfig
from laminate.train.optim import adamw
from laminate.train.schedules import constant
from laminate.types import Image, RandomKey, Scalar


@dataclasses.dataclass(frozen=True)
class InversionConfig:
    """How long, with what noise, and by which steps an image is sought.

    `noise` is the deviation of what is added to the network's input at every step, through the first half of the
    `iterations`, the next quarter and the last. `looks` is how often the image is kept, at equal distances. By default
    as FlatDINO does. Raises ValueError unless `looks` divides `iterations`.
    """

    iterations: int = 20_000
    looks: int = 10
    noise: tuple[float, float, float] = (10.0, 2.0, 0.5)
    learning_rate: float = 0.01
    weight_decay: float = 1e-4
    clip_norm: float = 10.0

    def __post_init__(self) -> None:
        if self.looks < 1 or self.iterations < 1 or self.iterations % self.looks:
            raise ValueError(f"{self.iterations} iterations are no whole multiple of {self.looks} looks.")


class Inversion(NamedTuple):
    """The images after each part of the iterations, and the loss of every iteration."""

    images: Float[Array, "looks height width 3"]
    losses: Float[Array, " iterations"]


def invert(
    loss: Callable[[Image], Scalar],
    image_size: int,
    prior: ImagePriorConfig,
    config: InversionConfig,
    *,
    key: RandomKey,
) -> Inversion:
    """The image that a network of `prior` makes of fixed noise once its weights make `loss` of that image small."""
    k_network, k_noise, k_steps = jax.random.split(key, 3)
    network: Any = ImagePrior(prior, key=k_network)
    fixed = jax.random.normal(k_noise, (image_size, image_size, prior.noise))
    optimizer = adamw(
        constant(config.learning_rate), weight_decay=config.weight_decay, clip_norm=config.clip_norm
    )
    bounds = jnp.asarray([config.iterations // 2, config.iterations * 3 // 4])

    def step(held: tuple[Any, Any], at: Array) -> tuple[tuple[Any, Any], Array]:
        network, state = held
        scale = jnp.asarray(config.noise)[jnp.sum(at >= bounds)]
        shaken = fixed + scale * jax.random.normal(jax.random.fold_in(k_steps, at), fixed.shape)
        value, gradient = jax.value_and_grad(lambda network: loss(network(shaken)))(network)
        with jax.numpy_dtype_promotion("standard"):  # optax divides by powers of its counter
            updates, state = optimizer.update(gradient, state, network)
        return (optax.apply_updates(network, updates), state), value

    def part(held: tuple[Any, Any], steps: Array) -> tuple[tuple[Any, Any], tuple[Array, Array]]:
        held, losses = jax.lax.scan(step, held, steps)
        return held, (held[0](fixed), losses)

    steps = jnp.arange(config.iterations).reshape(config.looks, -1)
    # What is constant at first, as the scale of a norm, would not vary over the devices of a mesh, as it does later.
    zero = 0.0 * fixed[0, 0, 0]
    begun = jax.tree.map(lambda leaf: leaf + zero.astype(leaf.dtype), (network, optimizer.init(network)))
    _, (images, losses) = jax.lax.scan(part, begun, steps)
    return Inversion(images, losses.reshape(-1))
