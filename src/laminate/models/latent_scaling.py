"""Latents of a published autoencoder as a generator has them, and back."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.nn import pixel_shuffle, pixel_unshuffle
from laminate.types import Buffer, Stated

Grid = Float[Array, "rows columns channels"]


class LatentScaling(Stated):
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


class PatchedScaling(Stated):
    """Squares of four latents as one of four times the numbers, `pixel_unshuffle`, and those normalised (FLUX.2).

    `(z - mean) / sqrt(variance + eps)` with statistics that are kept for each number; computed in float32.
    """

    mean: Buffer
    variance: Buffer
    eps: float = eqx.field(static=True)

    def __init__(self, latent_dim: int, *, eps: float = 1e-4):
        self.mean = Buffer(jnp.zeros(4 * latent_dim, jnp.float32))
        self.variance = Buffer(jnp.ones(4 * latent_dim, jnp.float32))
        self.eps = eps

    def __call__(self, latents: Grid) -> Float[Array, "new_rows new_columns patched"]:
        """Raises ValueError for rows or columns of an odd number."""
        patched = pixel_unshuffle(latents.astype(jnp.float32))
        return (patched - _over(self.mean.value, patched)) * jax.lax.rsqrt(self._spread(patched))

    def inverse(self, scaled: Grid) -> Float[Array, "new_rows new_columns latent_dim"]:
        """The latents of what `__call__` gave."""
        return pixel_shuffle(self.denormalised(scaled))

    def denormalised(self, scaled: Grid) -> Grid:
        """What is to become squares of latents."""
        wide = scaled.astype(jnp.float32)
        return wide * jnp.sqrt(self._spread(wide)) + _over(self.mean.value, wide)

    def _spread(self, patched: Grid) -> Grid:
        return _over(self.variance.value + self.eps, patched)


def _over(numbers: tuple[float, ...] | Array, latents: Grid) -> Grid:
    return jnp.broadcast_to(jnp.asarray(numbers, jnp.float32), latents.shape)
