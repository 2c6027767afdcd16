"""The bottleneck of a representation autoencoder: the features themselves, made noisy in training."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.bottlenecks.base import Bottleneck
from laminate.types import Latents, RandomKey, Scalar


class Noisy(Bottleneck[Scalar]):
    """`z + strength * u * noise` with one `u ~ U(0, 1)` per example and standard `noise` (Zheng et al. 2025).

    Without a key the latents pass unchanged. The by-product is the noise level `strength * u`.
    """

    in_features: int = eqx.field(static=True)
    out_features: int = eqx.field(static=True)
    strength: float = eqx.field(static=True)

    def __init__(self, features: int, *, strength: float = 0.8):
        if strength < 0:
            raise ValueError(f"strength={strength} is a standard deviation and cannot be negative.")
        self.in_features = features
        self.out_features = features
        self.strength = strength

    @jax.named_scope("noisy")
    def __call__(
        self, tokens: Float[Array, "latents {self.in_features}"], *, key: RandomKey | None = None
    ) -> tuple[Latents, Scalar]:
        z = tokens.astype(jnp.float32)
        if key is None:
            return z, jnp.zeros((), jnp.float32)
        k_level, k_noise = jax.random.split(key)
        u = jax.random.uniform(k_level, (), jnp.float32)
        return self.perturb(z, u, jax.random.normal(k_noise, z.shape, jnp.float32)), self.strength * u

    def perturb(self, z: Latents, u: Scalar, noise: Latents) -> Latents:
        """The latents with given draws."""
        return z + self.strength * jnp.broadcast_to(u, z.shape) * noise
