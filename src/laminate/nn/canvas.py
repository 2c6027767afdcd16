"""Sets of patches as images of one static size, and windows of them, inside a compiled step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from laminate.types import Image


@jax.named_scope("to_canvas")
def to_canvas(
    patches: Float[Array, "tokens patch_dim"],
    mask: Bool[Array, " tokens"],
    row: Int[Array, " tokens"],
    col: Int[Array, " tokens"],
    *,
    grid: tuple[int, int],
    patch: int,
) -> Image:
    """An image of `grid` (rows, columns) patches, each where it says that it stands; zero where there is none.

    Patches are flattened channel-major, `(channel, row, column)`. Those outside the mask are not drawn, and neither
    are those that stand outside the grid, so choose one that holds the largest image.
    """
    rows, columns = grid
    channels = patches.shape[1] // (patch * patch)
    inside = mask & (row >= 0) & (row < rows) & (col >= 0) & (col < columns)
    # What is not drawn is sent beyond the last cell, where it is dropped: it must not fall on a cell of the image.
    cell = jnp.where(inside, row * columns + col, rows * columns)
    cells = jnp.zeros((rows * columns, patches.shape[1]), patches.dtype).at[cell].set(patches, mode="drop")
    split = cells.reshape(rows, columns, channels, patch, patch)
    return split.transpose(0, 3, 1, 4, 2).reshape(rows * patch, columns * patch, channels)


def window_start(
    uniform: Float[Array, " axes"], size: Int[Array, " axes"], window: tuple[int, ...]
) -> Int[Array, " axes"]:
    """The first row and column of a window, from numbers uniform in [0, 1): `floor(u (max(size - window, 0) + 1))`.

    `size` is that of the image, not that of the canvas it lies on, so a window that fits holds no padding.
    """
    room = jnp.maximum(size - jnp.asarray(window, size.dtype), 0) + 1
    return jnp.floor(uniform * room.astype(uniform.dtype)).astype(jnp.int32)


def cut_window(
    canvas: Image, start: Int[Array, "2"], window: tuple[int, int], *, beyond: float = 0.0
) -> Float[Array, "window_height window_width channels"]:
    """The `window` (height, width) of a canvas from row and column `start` on, moved back where it would stick out.

    A canvas that is smaller than the window is first filled up on the right and at the bottom with `beyond`.
    """
    missing = [max(0, want - have) for want, have in zip(window, canvas.shape[:2], strict=True)]
    if any(missing):
        canvas = jnp.pad(canvas, [*((0, n) for n in missing), (0, 0)], constant_values=beyond)
    row, col = start[0], start[1]
    return jax.lax.dynamic_slice(canvas, (row, col, jnp.zeros_like(row)), (*window, canvas.shape[2]))


@jax.named_scope("cut_tile")
def cut_tile(
    patches: Float[Array, "tokens patch_dim"],
    mask: Bool[Array, " tokens"],
    row: Int[Array, " tokens"],
    col: Int[Array, " tokens"],
    start: Int[Array, "2"],
    *,
    side: int,
    patch: int,
) -> Image:
    """`side` by `side` pixels from the pixel `start` on of the image that patches make; zero beyond it.

    Only the patches that the tile touches are laid out, so an image may be of any size and shape.
    """
    first = start // patch
    cells = -(-side // patch) + 1
    canvas = to_canvas(patches, mask, row - first[0], col - first[1], grid=(cells, cells), patch=patch)
    return cut_window(canvas, start - first * patch, (side, side))


def tile_pixels(start: Int[Array, "2"], size: Int[Array, "2"], *, side: int) -> Bool[Array, "side side"]:
    """Which pixels of a tile lie inside an image of `size` (height, width)."""
    along = start[:, None] + jnp.arange(side, dtype=start.dtype)[None] < size[:, None]
    return along[0][:, None] & along[1][None, :]


def patch_pixels(
    mask: Bool[Array, " tokens"],
    row: Int[Array, " tokens"],
    col: Int[Array, " tokens"],
    size: Int[Array, "2"],
    *,
    patch: int,
    channels: int = 3,
) -> Bool[Array, "tokens patch_dim"]:
    """Which numbers of patches are pixels of an image of `size` (height, width), and neither padding nor filled up."""
    within = jnp.arange(patch, dtype=row.dtype)
    down = row[:, None] * patch + within[None] < size[0]
    across = col[:, None] * patch + within[None] < size[1]
    inside = down[:, None, :, None] & across[:, None, None, :] & mask[:, None, None, None]
    return jnp.broadcast_to(inside, (row.shape[0], channels, patch, patch)).reshape(row.shape[0], -1)
