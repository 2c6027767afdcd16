"""Images of any height and width as dictionaries of patches, and back (ViTok's NaFlex form); pure NumPy.

One image is `{"patches", "mask", "row", "col", "grid", "size"}`:

- `patches` float32 `[tokens, channels * patch^2]`: row by row of the grid, each in the order (channel, row, column);
- `mask` bool `[tokens]`: True for patches of the image, which come first; the others are zeros at row and column 0;
- `row`, `col` int32 `[tokens]`: where a patch stands in the grid;
- `grid` int32 `[2]`: rows and columns of patches, the last of which may be partly empty;
- `size` int32 `[2]`: height and width in pixels.

A side that is no multiple of the patch is filled up with zeros on the right and at the bottom, after normalisation, so
that what is filled in is the mean of the range.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from laminate.data.batch import Arrays, stack

PATCHES, MASK, PATCH_ROW, PATCH_COL, GRID, SIZE = "patches", "mask", "row", "col", "grid", "size"
OF_TOKENS = (PATCHES, MASK, PATCH_ROW, PATCH_COL)
"""The arrays that have an axis of tokens, their first one."""

FloatImage = Float[np.ndarray, "_ _ _"]

# The reference adds this before it rounds down, so that a grid which fits exactly is not lost to rounding.
_ROUNDING = 1e-5


def patch_grid(height: int, width: int, patch: int) -> tuple[int, int]:
    """Rows and columns of patches that cover an image. Raises ValueError for an empty image or patch."""
    if height < 1 or width < 1 or patch < 1:
        raise ValueError(
            f"an image of {height} x {width} pixels in patches of {patch}: all three must be at least 1"
        )
    return math.ceil(height / patch), math.ceil(width / patch)


def budget_size(height: int, width: int, patch: int, tokens: int, *, strict: bool = True) -> tuple[int, int]:
    """The size at which an image is cut into at most `tokens` patches; its own if that fits.

    Rows and columns of the grid are scaled by the root of the missing share and rounded down, each for itself, so the
    aspect ratio changes a little. A side of a single patch cannot shrink, and then the reference leaves the other one
    too long (`strict=False`). Raises ValueError for a budget of no tokens, or an empty image.
    """
    if tokens < 1:
        raise ValueError(f"a budget must have room for at least one token, got {tokens}")
    rows, columns = patch_grid(height, width, patch)
    if rows * columns <= tokens:
        return height, width
    scale = math.sqrt(tokens / (rows * columns))
    fewer_rows, fewer_columns = (max(1, math.floor(n * scale + _ROUNDING)) for n in (rows, columns))
    if strict:
        fewer_rows = min(fewer_rows, max(1, tokens // fewer_columns))
        fewer_columns = min(fewer_columns, max(1, tokens // fewer_rows))
    return min(fewer_rows * patch, height), min(fewer_columns * patch, width)


def to_patches(image: FloatImage, patch: int, tokens: int) -> Arrays:
    """`image`, already normalised, as patches padded to `tokens`; it is not resized.

    Raises ValueError for an image of more patches, and for what `patch_grid` refuses.
    """
    height, width, channels = image.shape
    rows, columns = patch_grid(height, width, patch)
    count = rows * columns
    if count > tokens:
        fitting = "x".join(map(str, budget_size(height, width, patch, tokens)))
        raise ValueError(
            f"an image of {height} x {width} pixels has {count} patches of {patch}, and the budget is {tokens}: resize "
            f"it (to {fitting}, say), or allow more tokens"
        )
    filled = np.pad(
        np.asarray(image, np.float32), ((0, rows * patch - height), (0, columns * patch - width), (0, 0))
    )
    cut = filled.reshape(rows, patch, columns, patch, channels).transpose(0, 2, 4, 1, 3)
    patches = np.zeros((tokens, channels * patch * patch), np.float32)
    patches[:count] = cut.reshape(count, -1)
    row, col = np.zeros(tokens, np.int32), np.zeros(tokens, np.int32)
    row[:count], col[:count] = np.divmod(np.arange(count), columns)
    return {
        PATCHES: patches,
        MASK: np.arange(tokens) < count,
        PATCH_ROW: row,
        PATCH_COL: col,
        GRID: np.asarray((rows, columns), np.int32),
        SIZE: np.asarray((height, width), np.int32),
    }


def from_patches(patched: Arrays, patch: int, *, crop: bool = True) -> FloatImage:
    """The image of one dictionary, every patch at the place that it names; without `crop`, with what was filled up.

    The inverse of `to_patches`, to the last bit. Only patches of the mask are read. Raises ValueError if one of
    them names a place outside the grid, or if patches are not of this side.
    """
    mask = np.asarray(patched[MASK])
    patches = np.asarray(patched[PATCHES], np.float32)[mask]
    (rows, columns), (height, width) = (np.asarray(patched[name]).tolist() for name in (GRID, SIZE))
    row, col = (np.asarray(patched[name])[mask] for name in (PATCH_ROW, PATCH_COL))
    channels, odd = divmod(np.asarray(patched[PATCHES]).shape[1], patch * patch)
    if odd or not channels:
        raise ValueError(
            f"patches of {np.asarray(patched[PATCHES]).shape[1]} numbers are no whole number of channels of "
            f"{patch} x {patch}: pass the side that they were cut with"
        )
    if ((row < 0) | (row >= rows) | (col < 0) | (col >= columns)).any():
        raise ValueError(f"a patch names a place outside its grid of {rows} x {columns}")
    canvas = np.zeros((rows, columns, channels, patch, patch), np.float32)
    canvas[row, col] = patches.reshape(-1, channels, patch, patch)
    image = canvas.transpose(0, 3, 1, 4, 2).reshape(rows * patch, columns * patch, channels)
    return image[:height, :width] if crop else image


def with_budget(patched: Arrays, tokens: int) -> Arrays:
    """The same image with room for `tokens`: padding added, or taken away where there is enough.

    Raises ValueError if patches of the image would be lost.
    """
    have, used = len(patched[MASK]), int(np.count_nonzero(patched[MASK]))
    if used > tokens:
        raise ValueError(f"an image of {used} patches does not fit a budget of {tokens}: choose a larger one")
    fitted = dict(patched)
    for name in OF_TOKENS:
        array = patched[name]
        fitted[name] = (
            array[:tokens]
            if tokens <= have
            else np.pad(array, [(0, tokens - have), *[(0, 0)] * (array.ndim - 1)])
        )
    return fitted


@dataclass(frozen=True)
class Buckets:
    """The budgets of tokens that batches may have: one compiled program for each, and no other.

    Raises ValueError for none, and for any that do not rise from at least one token.
    """

    budgets: tuple[int, ...]

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip((0, *self.budgets), self.budgets, strict=False))
        if not self.budgets or not rising:
            raise ValueError(f"budgets must be at least one token and rise, got {self.budgets}")

    @property
    def description(self) -> str:
        """How many shapes there are, for the header of a training."""
        sizes = ", ".join(map(str, self.budgets))
        return f"{len(self.budgets)} shape{'s' * (len(self.budgets) > 1)} of batches: {sizes} tokens"

    def holding(self, tokens: int) -> int:
        """The smallest budget that has room for `tokens`. Raises ValueError if none has."""
        for budget in self.budgets:
            if tokens <= budget:
                return budget
        raise ValueError(
            f"{tokens} patches do not fit the largest budget, {self.budgets[-1]}: shrink the image, or add a budget"
        )

    def batch(self, examples: Sequence[Arrays]) -> Arrays:
        """The examples as one batch, in the smallest budget that holds every one of them."""
        budget = self.holding(max(int(np.count_nonzero(example[MASK])) for example in examples))
        return stack([with_budget(example, budget) for example in examples])

    def grouped(self, examples: Sequence[Arrays]) -> dict[int, list[int]]:
        """Which of the examples belong together: their indices, in their order, by the budget that each needs."""
        groups: dict[int, list[int]] = {}
        for index, example in enumerate(examples):
            groups.setdefault(self.holding(int(np.count_nonzero(example[MASK]))), []).append(index)
        return dict(sorted(groups.items()))
