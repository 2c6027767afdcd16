"""ViTok on dictionaries of patches, as `laminate.data.patch_views.preprocess` makes them.

patched = preprocess("photograph.jpg")
latents = encode_patches(autoencoder, patched)
image = postprocess(decode_patches(autoencoder, latents, patched))
"""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.data.patches import MASK, PATCH_COL, PATCH_ROW, PATCHES
from laminate.models.naflex import NaFlexAutoencoder, Places

Patched = Mapping[str, np.ndarray] | Mapping[str, Array]


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
