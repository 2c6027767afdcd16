"""Linear filters of an image, as one matrix for its rows and one for its columns."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.types import Image


def along_both(
    image: Float[Array, "height width channels"],
    rows: Float[np.ndarray, "new_height height"],
    columns: Float[np.ndarray, "new_width width"],
) -> Float[Array, "new_height new_width channels"]:
    """`rows @ image @ columns.T` of every channel, in float32."""
    high, exact = jnp.asarray(rows, jnp.float32), jax.lax.Precision.HIGHEST
    wide = jnp.einsum("hy,yxc->hxc", high, image.astype(jnp.float32), precision=exact)
    return jnp.einsum("wx,hxc->hwc", jnp.asarray(columns, jnp.float32), wide, precision=exact)


def gaussian_blur(image: Image, *, sigma: float, radius: int | None = None) -> Image:
    """The image under a Gaussian of standard deviation `sigma` pixels, in float32.

    The window has `2 radius + 1` pixels (None: `ceil(3.5 sigma)` on each side) and its weights sum to one; beyond the
    border the image is mirrored at the centre of its outermost pixels. Raises ValueError if `sigma` is not positive.
    """
    if sigma <= 0.0:
        raise ValueError(
            f"gaussian_blur: sigma={sigma} is a standard deviation in pixels and must be positive."
        )
    reach = int(np.ceil(3.5 * sigma)) if radius is None else radius
    height, width = image.shape[:2]
    return along_both(image, _gaussian(height, sigma, reach), _gaussian(width, sigma, reach))


def uniform_blur(image: Image, *, size: int) -> Image:
    """The mean of `size` by `size` pixels around each, in float32; beyond the border the image is mirrored.

    Raises ValueError for an even size.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"uniform_blur: a window around a pixel has an odd size, got size={size}.")
    return along_both(image, _uniform(image.shape[0], size), _uniform(image.shape[1], size))


def low_half(image: Image) -> Image:
    """The part of an image that one of half the size can hold, in float32.

    That are the lower half of its cosine frequencies along both axes (those below half of Nyquist's): an orthogonal
    projection, so the energies of this part and of the rest add up to that of the image.
    """
    return along_both(image, _lower(image.shape[0]), _lower(image.shape[1]))


def high_half(image: Image) -> Image:
    """What `low_half` leaves out of an image, its fine detail, in float32."""
    return image.astype(jnp.float32) - low_half(image)


@lru_cache(maxsize=64)
def _lower(size: int) -> Float[np.ndarray, "size size"]:
    frequencies, places = np.arange(size)[:, None], np.arange(size)[None, :]
    waves = np.sqrt(2.0 / size) * np.cos(np.pi * frequencies * (places + 0.5) / size)
    waves[0] /= np.sqrt(2.0)
    kept = waves[: (size + 1) // 2]
    matrix = kept.T @ kept
    matrix.setflags(write=False)
    return matrix


@lru_cache(maxsize=64)
def _gaussian(size: int, sigma: float, radius: int) -> Float[np.ndarray, "size size"]:
    return _window(size, np.exp(-np.square(np.arange(-radius, radius + 1) / sigma) / 2))


@lru_cache(maxsize=64)
def _uniform(size: int, width: int) -> Float[np.ndarray, "size size"]:
    return _window(size, np.ones(width))


def _window(size: int, weights: Float[np.ndarray, " taps"]) -> Float[np.ndarray, "size size"]:
    """The matrix of a moving mean with these weights, which it brings to the sum one."""
    offsets = np.arange(len(weights)) - len(weights) // 2
    matrix = np.zeros((size, size))
    places = np.arange(size)[:, None] + offsets
    np.add.at(matrix, (np.arange(size)[:, None], mirrored(places, size)), weights / weights.sum())
    matrix.setflags(write=False)
    return matrix


def mirrored(places: np.ndarray, size: int) -> np.ndarray:
    """Indices into a line of `size` pixels for any `places` on it: it continues as its mirror image, and so on."""
    if size == 1:
        return np.zeros_like(places)
    period = 2 * (size - 1)
    return size - 1 - np.abs(size - 1 - places % period)
