"""ViTok on dictionaries of patches, as `laminate.data.patch_views.preprocess` makes them.

patched = preprocess("photograph.jpg")
latents = encode_patches(autoencoder, patched)
image = postprocess(decode_patches(autoencoder, latents, patched))
"""

import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.bottlenecks.noisy import Noisy
from laminate.data.patches import MASK, PATCH_COL, PATCH_ROW, PATCHES
from laminate.models.naflex import NaFlexAutoencoder, Places, whole_grid
from laminate.nn import to_canvas
from laminate.pretrained.features import unit_image
from laminate.tokenizers.base import Example, ImageTokenizer
from laminate.types import Image, Latents, RandomKey

Patched = Mapping[str, np.ndarray] | Mapping[str, Array]


class Vitok(ImageTokenizer):
    """A ViTok autoencoder as a tokenizer, for whoever reads its latents.

    An example is a dictionary of patches of an image of any size (`data.patches`) or, for those who generate, an
    `image` whose sides are whole patches. The latents are those of the encoder, which need no statistics. Latents alone
    do not say where they stand: `image` takes them for those of a square.
    """

    autoencoder: NaFlexAutoencoder

    def encode_raw(
        self, example: Example, *, dtype: jnp.dtype, key: RandomKey | None = None
    ) -> tuple[Latents, Any]:
        if PATCHES in example:
            patches, places = example[PATCHES], places_of(example)
        else:
            patches, places = self._cut(example["image"])
        return self.autoencoder.encode(patches.astype(dtype), places, key=key).astype(jnp.float32), None

    def rebuilt(
        self, patched: Patched, *, dtype: jnp.dtype, key: RandomKey | None = None, noise: float = 0.0
    ) -> Float[Array, "tokens patch_dim"]:
        """The float32 patches that the decoder makes of the latents of one image, in [-1, 1] and not clipped.

        With a key, of latents with as much `noise` as `bottlenecks.Noisy` adds.
        """
        patches, places = jnp.asarray(patched[PATCHES]).astype(dtype), places_of(patched)
        if key is None or not noise:
            return self.autoencoder(patches, places, key=key).astype(jnp.float32)
        k_encode, k_decode, k_noise = jax.random.split(key, 3)
        latents = self.autoencoder.encode(patches, places, key=k_encode)
        noisy = Noisy(latents.shape[-1], strength=noise)(latents, key=k_noise)[0]
        return self.autoencoder.decode(noisy.astype(dtype), places, key=k_decode).astype(jnp.float32)

    def image(self, latents: Float[Array, "latents latent_dim"], *, dtype: jnp.dtype) -> Image:
        side = math.isqrt(latents.shape[0])
        if side**2 != latents.shape[0]:
            raise ValueError(
                f"{latents.shape[0]} latents are no square: `picture` takes the grid that they stand on."
            )
        return self.picture(latents, (side, side), dtype=dtype)

    def picture(
        self, latents: Float[Array, "latents latent_dim"], grid: tuple[int, int], *, dtype: jnp.dtype
    ) -> Image:
        """The float32 image in [0, 1] of the latents of a `grid` (rows, columns) of patches, row by row."""
        places = whole_grid(*grid)
        patches = self.autoencoder.decode(latents.astype(dtype), places).astype(jnp.float32)
        every = jnp.ones(places.row.shape, bool)
        canvas = to_canvas(patches, every, places.row, places.col, grid=grid, patch=self.autoencoder.patch)
        return (jnp.clip(canvas, -1.0, 1.0) + 1.0) / 2.0

    def _cut(self, image: Array) -> tuple[Float[Array, "tokens patch_dim"], Places]:
        patch = self.autoencoder.patch
        (rows, odd_rows), (columns, odd_columns) = (divmod(side, patch) for side in image.shape[:2])
        if odd_rows or odd_columns:
            raise ValueError(
                f"An image of {image.shape[0]} x {image.shape[1]} pixels is no whole number of patches of {patch}: "
                "give its patches, which are filled up (laminate.data.patches)."
            )
        signed = 2.0 * unit_image(image) - 1.0
        cells = signed.reshape(rows, patch, columns, patch, 3).transpose(0, 2, 4, 1, 3)
        return cells.reshape(rows * columns, -1), whole_grid(rows, columns)


def places_of(patched: Patched) -> Places:
    """Where the patches of one image, or of a batch, stand."""
    return Places(*(jnp.asarray(patched[name]) for name in (PATCH_ROW, PATCH_COL, MASK)))


def encode_patches(
    autoencoder: NaFlexAutoencoder, patched: Patched, *, dtype: jnp.dtype = jnp.dtype(jnp.float32)
) -> Float[Array, "*batch tokens channels"]:
    """The float32 latents of one image, or of a batch; networks compute in `dtype`.

    One program serves all images of a budget of tokens. Raises ValueError for a network without an encoder, and for
    patches of another side than its own.
    """
    patches = jnp.asarray(patched[PATCHES])
    _require_patches(autoencoder, patches.shape[-1])
    return _encoded(autoencoder, patches.astype(dtype), places_of(patched)).astype(jnp.float32)


def decode_patches(
    autoencoder: NaFlexAutoencoder,
    latents: Float[Array, "*batch tokens channels"],
    patched: Patched,
    *,
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
) -> dict[str, np.ndarray]:
    """`patched` with the patches that latents stand for in place of its own, in NumPy arrays."""
    decoded = _decoded(autoencoder, latents.astype(dtype), places_of(patched))
    arrays = {name: np.asarray(array) for name, array in patched.items()}
    return arrays | {PATCHES: np.asarray(decoded.astype(jnp.float32))}


@eqx.filter_jit
def _encoded(autoencoder: NaFlexAutoencoder, patches: Array, places: Places) -> Array:
    if patches.ndim == 2:
        return autoencoder.encode(patches, places)
    return jax.vmap(autoencoder.encode)(patches, places)


@eqx.filter_jit
def _decoded(autoencoder: NaFlexAutoencoder, latents: Array, places: Places) -> Array:
    if latents.ndim == 2:
        return autoencoder.decode(latents, places)
    return jax.vmap(autoencoder.decode)(latents, places)


def _require_patches(autoencoder: NaFlexAutoencoder, numbers: int) -> None:
    encoder = autoencoder.encoder
    if encoder is not None and numbers != encoder.input.in_dim:
        raise ValueError(
            f"This network reads patches of {encoder.input.in_dim} numbers (side {autoencoder.patch}) and was given "
            f"patches of {numbers}: preprocess with PatchView(patch={autoencoder.patch})."
        )
