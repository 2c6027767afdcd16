"""A convolutional autoencoder of images, as others published it, as a tokenizer: its scaling is inside."""

import math
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from laminate.models.kl_autoencoder import GridPosterior
from laminate.models.latent_scaling import LatentScaling, PatchedScaling
from laminate.tokenizers.base import Example, ImageTokenizer
from laminate.types import Image, Latents, RandomKey

Grid = Float[Array, "rows columns latent_dim"]
AnyGrid = Float[Array, "_ _ _"]
Pixels = Num[Array, "_ _ channels"]


@runtime_checkable
class GridAutoencoder(Protocol):
    """A network from images in [-1, 1] to a posterior, or a latent alone, for every `patch` x `patch` pixels, and back.

    `scaling` is what a generator has of latents.
    """

    @property
    def patch(self) -> int: ...
    @property
    def latent_dim(self) -> int: ...
    @property
    def scaling(self) -> LatentScaling | PatchedScaling: ...
    def encode(self, image: Image) -> GridPosterior | Array: ...
    def decode(self, latents: Any) -> Image: ...


class AutoencoderTokenizer(ImageTokenizer):
    """Latents as the published pipelines hand them to a generator, scaled and perhaps in squares, one for each patch.

    An image whose sides are no multiples of `patch` is continued at the right and at the bottom by its reflection, and
    what is decoded is cut to its size again. `side` is that of the square images of an example, which latents alone do
    not say; None is that of whole patches.
    """

    network: GridAutoencoder
    side: int | None = eqx.field(static=True)

    def __init__(self, network: GridAutoencoder, side: int | None = None):
        self.network = network
        self.side = side

    @property
    def patch(self) -> int:
        """Side of the square of pixels that each of the latents stands for."""
        return self.network.patch * (2 if isinstance(self.network.scaling, PatchedScaling) else 1)

    @property
    def latent_dim(self) -> int:
        """Numbers of each of the latents."""
        return self.network.latent_dim * (4 if isinstance(self.network.scaling, PatchedScaling) else 1)

    def posterior(self, image: Image, *, dtype: jnp.dtype) -> GridPosterior | AnyGrid:
        """That of an image in [0, 1] of any size, or its latents if there is none; not scaled. Computed in `dtype`."""
        signed = 2.0 * whole_patches(image.astype(jnp.float32), self.patch) - 1.0
        return self.network.encode(signed.astype(dtype))

    def encode_grid(self, image: Image, *, dtype: jnp.dtype) -> AnyGrid:
        """The float32 latents of the posterior's mean where they stand, `[rows, columns, latent_dim]`."""
        return self.network.scaling(_mean(self.posterior(image, dtype=dtype)))

    def decode_grid(self, latents: Grid, *, dtype: jnp.dtype) -> Image:
        """The float32 image in [0, 1] of latents where they stand: `patch` pixels to each."""
        decoded = self.network.decode(self.network.scaling.inverse(latents).astype(dtype))
        return jnp.clip(0.5 * decoded.astype(jnp.float32) + 0.5, 0.0, 1.0)

    def encode_raw(
        self, example: Example, *, dtype: jnp.dtype, key: RandomKey | None = None
    ) -> tuple[Latents, Any]:
        found = self.posterior(self.original(example), dtype=dtype)
        if key is None or not isinstance(found, GridPosterior):
            return _in_a_row(self.network.scaling(_mean(found))), found
        return self.around(found, key=key, scale=1.0), found

    def around(self, aux: Any, *, key: RandomKey, scale: float) -> Latents:
        if not isinstance(aux, GridPosterior):
            return super().around(aux, key=key, scale=scale)
        noise = scale * jax.random.normal(key, aux.mean.shape, jnp.float32)
        return _in_a_row(self.network.scaling(aux.reparameterise(noise)))

    def picture(
        self, latents: Float[Array, "latents latent_dim"], grid: tuple[int, int], *, dtype: jnp.dtype
    ) -> Image:
        """The float32 image in [0, 1] of latents of a `grid` (rows, columns) of patches, row by row."""
        return self.decode_grid(latents.reshape(*grid, -1), dtype=dtype)

    def image(self, latents: Float[Array, "latents latent_dim"], *, dtype: jnp.dtype) -> Image:
        """Latents are those of a square, row by row. Raises ValueError for a number that fills none."""
        rows = math.isqrt(latents.shape[0])
        if rows**2 != latents.shape[0]:
            raise ValueError(
                f"{latents.shape[0]} latents are no square: `picture` takes the grid that they stand on."
            )
        decoded = self.picture(latents, (rows, rows), dtype=dtype)
        if self.side is None or -(-self.side // self.patch) != rows:
            return decoded
        return decoded[: self.side, : self.side]


def whole_patches(image: Pixels, patch: int) -> Pixels:
    """`image` continued at the bottom and at the right by its reflection, up to whole patches."""
    below, right = (-side % patch for side in image.shape[:2])
    return jnp.pad(image, ((0, below), (0, right), (0, 0)), mode="reflect") if below or right else image


def _mean(found: GridPosterior | AnyGrid) -> AnyGrid:
    return found.mean if isinstance(found, GridPosterior) else found


def _in_a_row(grid: AnyGrid) -> Latents:
    return grid.reshape(-1, grid.shape[-1])
