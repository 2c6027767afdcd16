"""Pictures of images of different sizes: pairs on shelves, every pixel an exact square of whole screen pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Num

from laminate.analysis.figures import INK, MUTED, FilePath, new_figure, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AnImage = Num[np.ndarray, "_ _ 3"]

_MARGIN, _LABEL, _GAP, _LINE = 16, 76, 8, 14
_TALL = 1.4
"""Above this ratio of height and width."""


@dataclass(frozen=True)
class Pair:
    """Two images of one size, uint8 or floats in [0, 1], and a line or two about them."""

    above: AnImage
    below: AnImage
    caption: str = ""

    @property
    def is_tall(self) -> bool:
        """Whether the two stand beside each other."""
        return self.above.shape[0] > _TALL * self.above.shape[1]


def pair_gallery(
    pairs: Sequence[Pair],
    path: FilePath,
    *,
    width: int = 1080,
    longest: int = 160,
    labels: tuple[str, str] = ("original", "rebuilt"),
) -> None:
    """Each pair one above the other, or beside each other where they are tall; pairs of like height share a row of at
    most `width` pixels.

    All are enlarged by one whole factor, so that the longest side is near `longest` screen pixels or as it is.

    Raises:
        ValueError: no pair, or two images of different sizes.
    """
    if not pairs or any(pair.above.shape != pair.below.shape for pair in pairs):
        raise ValueError("a gallery needs at least one pair, and the images of a pair have one size.")
    scale = max(1, round(longest / max(max(pair.above.shape[:2]) for pair in pairs)))
    ordered = sorted(pairs, key=lambda pair: (_height(pair), pair.is_tall), reverse=True)
    shelves = _shelves(ordered, width - 2 * _MARGIN - _LABEL, scale)
    lines = max(pair.caption.count("\n") + 1 if pair.caption else 0 for pair in pairs)
    high = [scale * max(_height(pair) for pair in shelf) + _GAP for shelf in shelves]
    below = lines * _LINE + 2 * _GAP
    figure = new_figure(width, 2 * _MARGIN + sum(high) + below * len(shelves))
    top = round(figure.get_size_inches()[1] * figure.dpi) - _MARGIN
    for shelf, height in zip(shelves, high, strict=True):
        left = _MARGIN + _LABEL
        stacked = next((pair for pair in shelf if not pair.is_tall), None)
        if stacked is not None:
            rows = scale * stacked.above.shape[0]
            for place, label in enumerate(labels):
                middle = top - place * (rows + _GAP) - rows // 2
                _write(figure, _MARGIN, middle, label, va="center", color=INK, size=10)
        for pair in shelf:
            rows, columns = (side * scale for side in pair.above.shape[:2])
            beside, below_it = (columns + _GAP, 0) if pair.is_tall else (0, rows + _GAP)
            for place, image in enumerate((pair.above, pair.below)):
                corner = left + place * beside, top - rows - place * below_it
                figure.figimage(_enlarged(image, scale), *corner, origin="upper")
            if pair.caption:
                under = top - rows - below_it - 4
                _write(figure, left, under, pair.caption, va="top", color=MUTED, size=8)
            left += _width(pair, scale) + _GAP
        top -= height + below
    save(figure, path)


def _shelves(pairs: Sequence[Pair], room: int, scale: int) -> list[list[Pair]]:
    shelves: list[list[Pair]] = [[]]
    used = 0
    for pair in pairs:
        wide = _width(pair, scale) + _GAP
        if shelves[-1] and used + wide > room:
            shelves.append([])
            used = 0
        shelves[-1].append(pair)
        used += wide
    return shelves


def _height(pair: Pair) -> int:
    """Rows of the two images, unscaled."""
    return pair.above.shape[0] * (1 if pair.is_tall else 2)


def _width(pair: Pair, scale: int) -> int:
    """Of the images, or of what stands below them."""
    longest = max((len(line) for line in pair.caption.split("\n")), default=0)
    columns = scale * pair.above.shape[1]
    return max(2 * columns + _GAP if pair.is_tall else columns, 6 * longest)


def _write(figure: "Figure", x: int, y: int, text: str, *, va: str, color: str, size: int) -> None:
    """`text` at a place in pixels, counted from the left and from below."""
    wide, high = figure.get_size_inches() * figure.dpi
    figure.text(x / wide, y / high, text, va=va, color=color, size=size, parse_math=False)


def _enlarged(image: AnImage, scale: int) -> np.ndarray:
    if image.dtype != np.uint8:
        image = np.round(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    return image.repeat(scale, axis=0).repeat(scale, axis=1)
