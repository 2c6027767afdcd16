"""How well an autoencoder gives back images of any size: losses and measures of one image that is given as patches."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from laminate.data.patches import MASK, PATCH_COL, PATCH_ROW, PATCHES, SIZE
from laminate.losses.structural import ssim
from laminate.nn import cut_tile, patch_pixels, tile_pixels, window_start
from laminate.types import Image, Scalar

Patches = Float[Array, "tokens patch_dim"]
_RANGE = 2.0
"""Of pixels in [-1, 1]."""


class Tile(NamedTuple):
    """A square of an image and of its reconstruction at the same place, in [-1, 1]; zero where the image has ended."""

    rebuilt: Image
    original: Image
    inside: Bool[Array, "side side"]
    """Which pixels lie in the image."""


def tile_of(
    rebuilt: Patches, example: Mapping[str, Array], uniform: Float[Array, "2"], *, side: int, patch: int
) -> Tile:
    """The tile whose first row and column `uniform` in [0, 1) chooses among those that fit the image."""
    size = example[SIZE]
    start = window_start(uniform, size, (side, side))
    inside = tile_pixels(start, size, side=side)
    places = example[MASK], example[PATCH_ROW], example[PATCH_COL]

    def cut(patches: Patches) -> Image:
        tile = cut_tile(patches, *places, start, side=side, patch=patch)
        return jnp.where(inside[..., None], tile, jnp.zeros_like(tile))

    return Tile(cut(rebuilt), cut(example[PATCHES].astype(jnp.float32)), inside)


def unit_range(image: Image) -> Image:
    """[-1, 1] to [0, 1], nothing clipped."""
    return (image + 1.0) / 2.0


def patch_measures(
    rebuilt: Patches, example: Mapping[str, Array], *, side: int, patch: int
) -> dict[str, Array]:
    """Of one image and its reconstruction, clipped to [-1, 1]: float32 numbers to be summed over a set.

    `psnr` over the pixels of the image, `ssim` of the tile in its middle, and what `summarise_patches` makes R^2 of.
    """
    clipped = jnp.clip(rebuilt, -1.0, 1.0)
    mask, row, col, size = (example[name] for name in (MASK, PATCH_ROW, PATCH_COL, SIZE))
    pixels = patch_pixels(mask, row, col, size, patch=patch)
    target = example[PATCHES].astype(jnp.float32)
    error = jnp.where(pixels, jnp.square(clipped - target), 0.0)
    count = jnp.sum(pixels.astype(jnp.float32))
    mean_error = jnp.maximum(jnp.sum(error) / jnp.maximum(count, 1.0), 1e-10)
    tile = tile_of(clipped, example, jnp.full((2,), 0.5), side=side, patch=patch)
    by_colour = jnp.where(pixels, target, 0.0).reshape(-1, 3, patch**2)
    return {
        "psnr": 10.0 * jnp.log10(_RANGE**2 / mean_error),
        "ssim": ssim(tile.rebuilt, tile.original, data_range=_RANGE, mask=tile.inside),
        "squared_error": jnp.sum(error),
        "pixels": count,
        "colours": jnp.sum(by_colour, axis=(0, 2)),
        "squares": jnp.sum(jnp.square(by_colour), axis=(0, 2)),
    }


def summarise_patches(sums: Mapping[str, Any], *, room: int | None = None) -> dict[str, float]:
    """The validation figures from sums over the set, whose `count` is among them: means of what is one number an image,
    and R^2 = 1 - squared error / squared deviation of all pixels from their mean colour (NaN where nothing varies).

    Those of images in at most `room` patches end with that number: `val/psnr_32`.
    """
    apart = {"count", "squared_error", "pixels", "colours", "squares"}
    count, pixels = float(sums["count"]), float(sums["pixels"])
    end = "" if room is None else f"_{room}"
    means = {f"val/{name}{end}": float(value) / count for name, value in sums.items() if name not in apart}
    deviation = float((sums["squares"] - 3.0 * sums["colours"] ** 2 / max(pixels, 1.0)).sum())
    r2 = 1.0 - float(sums["squared_error"]) / deviation if deviation > 0.0 else float("nan")
    return {**means, f"val/r2{end}": r2}


def padding_share(example: Mapping[str, Array]) -> Scalar:
    """How much of the room for patches is empty."""
    return 1.0 - jnp.mean(example[MASK].astype(jnp.float32))


def there_and_back(
    model: Any, frozen: Any, example: dict[str, Array], /, *, dtype: jnp.dtype
) -> dict[str, Array]:
    """The patches of one example, and as `rebuilt` those that `model` makes of them, not clipped."""
    kept = {name: value for name, value in example.items() if name not in ("label", "valid")}
    return {**kept, "rebuilt": model.rebuilt(example, dtype=dtype)}


def rebuilt_example(
    model: Any, frozen: Any, example: dict[str, Array], /, *, dtype: jnp.dtype
) -> dict[str, Array]:
    """`there_and_back`, clipped to [-1, 1]."""
    both = there_and_back(model, frozen, example, dtype=dtype)
    return {**both, "rebuilt": jnp.clip(both["rebuilt"], -1.0, 1.0)}


def uniform_places(key: Array, tiles: int) -> Float[Array, "tiles 2"]:
    """Where the tiles of an image begin, for `tile_of`."""
    return jax.random.uniform(key, (tiles, 2))
