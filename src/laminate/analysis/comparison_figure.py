"""A row of pictures for each of several tokenizers, and how far each is from the original beside it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from laminate.analysis.figures import INK, LONGEST_NAME, MUTED, FilePath, new_figure, save

AMPLIFIED = 5
"""What a difference is multiplied by, as ViTok's tools have it."""
_TILE, _GAP, _MARGIN, _HEAD = 96, 6, 16, 34

Pictures = UInt8[np.ndarray, "images height width 3"]


def comparison_page(
    originals: Pictures, rows: Sequence[tuple[str, str, Pictures]], path: FilePath, *, most: int = 5
) -> None:
    """Originals above, below them a row for each tokenizer: its name and its figures, what it made of the images, and
    the absolute differences times `AMPLIFIED`.

    Images are spread over the set, every pixel an exact square of whole screen pixels. Raises ValueError for no image.
    """
    if not len(originals):
        raise ValueError("There is no image to show.")
    chosen = np.unique(np.linspace(0, len(originals) - 1, min(most, len(originals))).astype(int))
    scale = max(1, round(_TILE / originals.shape[2]))
    large = lambda images: images.repeat(scale, axis=1).repeat(scale, axis=2)
    first = large(originals[chosen])
    high, wide = first.shape[1:3]
    name_width = 24 + 8 * max(len(_short(name)) for name in ("original", *(row[0] for row in rows)))
    name_width = max(name_width, 110)
    block = len(chosen) * (wide + _GAP)
    width = _MARGIN + name_width + 2 * block + 2 * _GAP + _MARGIN
    height = _MARGIN + _HEAD + (len(rows) + 1) * (high + _GAP) + _MARGIN
    figure = new_figure(width, height)

    def _text(x: int | float, y: int | float, words: str, **style: Any) -> None:
        figure.text(x / width, y / height, words, parse_math=False, **style)

    left, right = _MARGIN + name_width, _MARGIN + name_width + block + 2 * _GAP
    _text(left, height - _MARGIN - 10, "held-out images and what became of them", color=MUTED, fontsize=9)
    _text(right, height - _MARGIN - 10, f"differences times {AMPLIFIED}", color=MUTED, fontsize=9)
    lines = [("original", "", originals), *rows]
    for number, (name, figures, pictures) in enumerate(lines):
        bottom = height - _MARGIN - _HEAD - (number + 1) * high - number * _GAP
        _text(_MARGIN, bottom + high / 2 + 6, _short(name), color=INK, fontsize=10, va="center")
        _text(_MARGIN, bottom + high / 2 - 10, figures, color=MUTED, fontsize=8, va="center")
        for column, image in enumerate(large(pictures[chosen])):
            figure.figimage(image, left + column * (wide + _GAP), bottom, origin="upper")
            if number:
                off = np.abs(image.astype(np.int32) - first[column]) * AMPLIFIED
                shown = np.minimum(off, 255).astype(np.uint8)
                figure.figimage(shown, right + column * (wide + _GAP), bottom, origin="upper")
    save(figure, path)


def _short(name: str) -> str:
    plain = " ".join(name.split())
    return plain if len(plain) <= LONGEST_NAME else f"...{plain[3 - LONGEST_NAME :]}"
