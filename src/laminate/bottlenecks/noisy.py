"""The bottleneck of a representation autoencoder: the features themselves, made noisy in training."""

from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.bottlenecks.base import Bottleneck
from laminate.types import Latents, RandomKey, Scalar

Level = Literal["uniform", "half-normal"]


class Noisy(Bottleneck[Scalar]):
    """`z + strength * u * noise` with one `u` per example and standard `noise` (Zheng et al. 2025).

    `u` is drawn from U(0, 1) with `level="uniform"`, as the released decoders were trained, and is `|N(0, 1)|` with
    `level="half-normal"`, as the paper has it. Without a key the latents pass unchanged. The by-product is the noise
    level `strength * u`.
    """

    in_features: int = eqx.field(static=True)
    out_features: int = eqx.field(static=True)
    strength: float = eqx.field(static=True)
    level: Level = eqx.field(static=True)

    def __init__(self, features: int, *, strength: float = 0.8, level: Level = "uniform"):
        """Raises ValueError for a negative strength or an unknown level."""
        if strength < 0:
            raise ValueError(f"strength={strength} is a standard deviation and cannot be negative.")
        if level not in get_args(Level):
            raise ValueError(f"level={level!r} is none of {', '.join(get_args(Level))}.")
        self.in_features = features
        self.out_features = features
        self.strength = strength
        self.level = level

    @jax.named_scope("noisy")
    def __call__(
        self, tokens: Float[Array, "latents {self.in_features}"], *, key: RandomKey | None = None
    ) -> tuple[Latents, Scalar]:
        z = tokens.astype(jnp.float32)
        if key is None:
            return z, jnp.zeros((), jnp.float32)
        u, noise = self.draw(z.shape, key=key)
        return self.perturb(z, u, noise), self.strength * u

    def draw(self, shape: tuple[int, ...], *, key: RandomKey) -> tuple[Scalar, Latents]:
        """`u` and the standard noise of latents of that shape."""
        k_level, k_noise = jax.random.split(key)
        if self.level == "uniform":
            u = jax.random.uniform(k_level, (), jnp.float32)
        else:
            u = jnp.abs(jax.random.normal(k_level, (), jnp.float32))
        return u, jax.random.normal(k_noise, shape, jnp.float32)

    def perturb(self, z: Latents, u: Scalar, noise: Latents) -> Latents:
        """The latents with given draws."""
        return z + self.strength * jnp.broadcast_to(u, z.shape) * noise
