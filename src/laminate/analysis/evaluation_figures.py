"""Pictures of a measurement: images beside the figures that stand for them, readable without the code."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Num, UInt8

from laminate.analysis.baseline import principal_components
from laminate.analysis.figures import INK, MUTED, SERIES, FilePath, new_figure, quiet, save
from laminate.analysis.headings import Heading, fitted
from laminate.analysis.panels import image_page

ShownSet = tuple[str, Num[np.ndarray, "_ _ _ 3"], Float[np.ndarray, "_ _"]]
TILES = 10
_TILE, _LARGE, _MARGIN = 64, 128, 24
_LEGEND = 18


def quality_page(
    originals: UInt8[np.ndarray, "images height width 3"],
    pictures: UInt8[np.ndarray, "images height width 3"],
    decibels: Float[np.ndarray, " images"],
    path: FilePath,
    *,
    title: str,
    says: str,
    each: int = 4,
) -> None:
    """The best, the median and the worst images by PSNR: originals above, what became of them below."""
    count = len(decibels)
    order = np.argsort(-decibels, kind="stable")
    each = max(1, min(each, count // 3))
    middle = max(0, count // 2 - each // 2)
    groups = {"best": order[:each], "median": order[middle : middle + each], "worst": order[-each:]}
    rows: list[tuple[str, np.ndarray]] = []
    for name, chosen in groups.items():
        first, last = decibels[chosen[0]], decibels[chosen[-1]]
        between = f"{first:.1f} dB" if each == 1 else f"{first:.1f} to {last:.1f} dB"
        rows += [(f"{name}: {between}", originals[chosen]), ("rebuilt", pictures[chosen])]
    image_page(rows, path, title=title, says=says, tile=max(_LARGE, max(originals.shape[1:3])))


def sets_page(
    sets: Sequence[ShownSet],
    lines: Sequence[tuple[str, str, str]],
    path: FilePath,
    *,
    title: str,
    heads: tuple[str, str, str],
) -> None:
    """Some images of each set, where the features of all of them lie, and the measures as a table.

    `sets` are what each is called, some of its images, and features of all; `lines` the rows of the table under
    `heads`. Features are drawn on the first two principal components of the last set.
    """
    high = max(360 + _LEGEND * len(sets), 30 + 20 * (len(lines) + 1))
    width = max(TILES * _TILE, 750) + 2 * _MARGIN
    heading = Heading(title, "", width)
    height = heading.height + 16 + len(sets) * (_TILE + 30) + high
    figure = new_figure(width, height)
    heading.draw(figure, height)
    y = height - heading.height
    for name, images, features in sets:
        label = f"{fitted(name, width - 200, size=9)}: {len(features):,} images"
        figure.text(
            _MARGIN / width, y / height, label, color=MUTED, fontsize=9, va="center", parse_math=False
        )
        for column, image in enumerate(_spread(images, TILES)):
            axes = figure.add_axes(
                (
                    (_MARGIN + column * _TILE) / width,
                    (y - 10 - _TILE) / height,
                    (_TILE - 2) / width,
                    (_TILE - 2) / height,
                )
            )
            axes.imshow(image, interpolation="nearest")
            axes.set_axis_off()
        y -= _TILE + 30
    _scatter(figure, sets, (_MARGIN + 40, 50, 320, high - 70 - _LEGEND * len(sets)), width, height)
    _table(figure, heads, lines, _MARGIN + 400, high, width, height)
    save(figure, path)


def probe_page(
    rows: Sequence[tuple[str, Sequence[float]]],
    columns: Sequence[str],
    path: FilePath,
    *,
    title: str,
    chance: float,
) -> None:
    """Bars of accuracy in percent, one group for each classifier, one colour for each kind of feature."""
    width = 260 + 150 * len(columns)
    heading = Heading(title, "", width)
    height = heading.height + 380
    figure = new_figure(width, height)
    heading.draw(figure, height)
    axes = figure.add_axes((70 / width, 80 / height, (width - 100) / width, 280 / height))
    quiet(axes)
    each = 0.8 / len(rows)
    for place, (name, values) in enumerate(rows):
        x = np.arange(len(columns)) + (place - (len(rows) - 1) / 2) * each
        axes.bar(x, values, each * 0.92, color=SERIES[place % len(SERIES)], label=name)
        for at, value in zip(x, values, strict=True):
            axes.text(at, value + 1, f"{value:.0f}", ha="center", va="bottom", fontsize=8, color=MUTED)
    axes.axhline(chance, color=MUTED, linewidth=1, linestyle="--")
    axes.text(-1.05, chance, "the commonest\nclass always", va="bottom", ha="left", fontsize=8, color=MUTED)
    axes.set_xlim(-1.1, len(columns) - 0.4)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_ylim(0, 108)
    axes.set_ylabel("held-out images told right, %", color=INK, fontsize=9)
    figure.legend(loc="lower center", ncols=len(rows), frameon=False, fontsize=9, bbox_to_anchor=(0.5, 0.01))
    save(figure, path)


def _spread(images: Num[np.ndarray, "images height width 3"], count: int) -> Num[np.ndarray, "_ h w 3"]:
    return images[np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).astype(int))]


def _scatter(
    figure: Any, sets: Sequence[ShownSet], box: tuple[int, int, int, int], width: int, height: int
) -> None:
    left, bottom, wide, high = box
    axes = figure.add_axes((left / width, bottom / height, wide / width, high / height))
    quiet(axes)
    last = sets[-1][2].astype(np.float32)
    found = principal_components(last[:4096], 2)
    for place, (name, _, features) in reversed(list(enumerate(sets))):
        at = (features[:2000].astype(np.float32) - found.mean) @ found.directions.T
        if at.shape[1] < 2:
            at = np.pad(at, ((0, 0), (0, 2 - at.shape[1])))
        colour = SERIES[place % len(SERIES)]
        short = fitted(name, wide - 30, size=8)
        axes.scatter(at[:, 0], at[:, 1], s=7, alpha=0.5, color=colour, label=short, linewidths=0)
    axes.set_xlabel("first principal component of the features", fontsize=9, color=MUTED)
    axes.set_ylabel("second", fontsize=9, color=MUTED)
    above = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.2}
    axes.legend(frameon=False, fontsize=8, markerscale=2.5, handletextpad=0.2, **above)


def _table(
    figure: Any,
    heads: tuple[str, str, str],
    lines: Sequence[tuple[str, str, str]],
    left: int,
    high: int,
    width: int,
    height: int,
) -> None:
    for row, (name, *values) in enumerate([heads, *lines]):
        cells = (fitted(name, 160, size=9), *values)
        y = (high - 10 - 20 * row) / height
        colour = MUTED if row == 0 else INK
        for x, cell, align in zip(
            (left, left + 220, left + 350), cells, ("left", "right", "right"), strict=True
        ):
            figure.text(x / width, y, cell, color=colour, fontsize=9, ha=align, va="center", parse_math=False)
