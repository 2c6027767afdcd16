"""The Laplacian pyramid: an image as bands of detail, each half as large as the one before."""

import math
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.losses.filters import along_both
from laminate.types import Image, Scalar

Pyramid = tuple[Float[Array, "_ _ _"], ...]

_KERNEL = np.asarray([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0
_POOLED = 4  # halvings over which the strength of detail is measured
_FAINTEST = 1e-3  # a quarter of a grey level: below it, detail is not seen, and the root has a derivative


def laplacian_pyramid(image: Image, *, levels: int | None = None) -> Pyramid:
    """`levels` bands of detail from fine to coarse, then what remains (Burt & Adelson 1983), all float32.

    A band is what halving the image and doubling it again loses. Halving keeps every second pixel under the binomial
    window `[1 4 6 4 1] / 16`, of which only the part inside the image counts. `levels=None` stops when the
    shorter side is below 4 pixels.

    Raises ValueError for a negative number of levels, or more than it takes to come down to one pixel.
    """
    height, width = image.shape[:2]
    most = math.ceil(math.log2(max(height, width)))
    count = max(0, math.floor(math.log2(min(height, width))) - 1) if levels is None else levels
    if not 0 <= count <= most:
        raise ValueError(
            f"laplacian_pyramid: levels={levels} must be between 0 and {most}, at which an image of "
            f"{height}x{width} is one pixel."
        )
    bands: list[Array] = []
    rest = image.astype(jnp.float32)
    for _ in range(count):
        coarse = halved(rest)
        bands.append(rest - doubled(coarse, (rest.shape[0], rest.shape[1])))
        rest = coarse
    return (*bands, rest)


def halved(image: Image) -> Float[Array, "half_height half_width channels"]:
    """Every second row and column of the blurred image."""
    height, width = image.shape[:2]
    return along_both(image, _halving(height), _halving(width))


def doubled(image: Image, to: tuple[int, int]) -> Float[Array, "new_height new_width channels"]:
    """The image of size `to` whose every second row and column is `image`, blurred."""
    return along_both(image, _doubling(to[0]), _doubling(to[1]))


def pyramid_distance(image: Image, target: Image, *, contrast: float = 5.0) -> Scalar:
    """How differently two images look: coarse structure by its values, fine detail by its strength in each place.

    `sum_{j>=1} mean|L_j(x) - L_j(y)| + contrast * mean|c(x) - c(y)|` over the levels of the Laplacian pyramid, what
    remains included, where `c` is the root of the mean square of the finest level `L_0` around every sixteenth pixel.
    A mean absolute difference alone is least for an image without the detail that cannot be foretold; here, as for the
    features of a trained network, detail in the wrong places costs little and missing detail much.

    Images are in [0, 1]. Symmetric; 0 for equal images, and near 0 where only the places of details differ.
    """
    fine, *coarse = zip(laplacian_pyramid(image), laplacian_pyramid(target), strict=True)
    if not coarse:  # too small for a level of detail
        return jnp.mean(jnp.abs(fine[0] - fine[1]))
    costs = [jnp.mean(jnp.abs(mine - other)) for mine, other in coarse]
    mine, other = map(_strength, fine)
    return sum(costs, contrast * jnp.mean(jnp.abs(mine - other)))


def _strength(band: Float[Array, "_ _ _"]) -> Float[Array, "_ _ _"]:
    energy = jnp.square(band)
    for _ in range(_POOLED):
        energy = halved(energy)
    return jnp.sqrt(energy + _FAINTEST**2)


@lru_cache(maxsize=64)
def _halving(size: int) -> Float[np.ndarray, "half size"]:
    return _rows_of_one(_window(size))


@lru_cache(maxsize=64)
def _doubling(size: int) -> Float[np.ndarray, "size half"]:
    return _rows_of_one(_window(size).T)


def _window(size: int) -> np.ndarray:
    """The weight of each of `size` pixels in every second one."""
    offsets = np.arange(size)[None, :] - 2 * np.arange((size + 1) // 2)[:, None]
    return np.where(np.abs(offsets) <= 2, _KERNEL[np.clip(offsets + 2, 0, 4)], 0.0)


def _rows_of_one(matrix: np.ndarray) -> np.ndarray:
    matrix = matrix / matrix.sum(axis=1, keepdims=True)
    matrix.setflags(write=False)
    return matrix
