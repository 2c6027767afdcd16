"""Latents of a published autoencoder as a generator has them, and back."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

Grid = Float[Array, "rows columns channels"]


class LatentScaling(eqx.Module):
    """`(z - shift) * scale`, with one number for all channels or one for each of them; computed in float32.

    Raises ValueError for a scale of zero, which has no inverse.
    """

    shift: tuple[float, ...] = eqx.field(static=True)
    scale: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, shift: tuple[float, ...] = (0.0,), scale: tuple[float, ...] = (1.0,)):
        if not all(scale):
            raise ValueError(f"Latents that are multiplied by zero cannot be restored, got scale={scale}.")
        self.shift = shift
        self.scale = scale

    def __call__(self, latents: Grid) -> Grid:
        return (latents.astype(jnp.float32) - _over(self.shift, latents)) * _over(self.scale, latents)

    def inverse(self, scaled: Grid) -> Grid:
        """`scaled / scale + shift`."""
        return scaled.astype(jnp.float32) / _over(self.scale, scaled) + _over(self.shift, scaled)


def _over(numbers: tuple[float, ...], latents: Grid) -> Grid:
    return jnp.broadcast_to(jnp.asarray(numbers, jnp.float32), latents.shape)
