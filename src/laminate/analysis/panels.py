"""Pages of plain panels: curves, matrices, histograms, rows of images, with words that say how to read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from laminate.analysis.figures import HEAT, INK, MUTED, SERIES, FilePath, new_figure, quiet, save

WIDE, HIGH, GAP = 400, 300, 90
MARKED = 20
"""Points of a curve up to which each has a dot."""
COLOURS = (*SERIES, "#d6336c", "#67727e")


@dataclass(frozen=True)
class Lines:
    """Curves over one axis: (label, x, y, deviation of y or None)."""

    title: str
    x: str
    y: str
    series: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray | None]]
    log_x: bool = False
    log_y: bool = False

    def draw(self, axes: Any) -> None:
        quiet(axes)
        for place, (label, x, y, spread) in enumerate(self.series):
            colour = COLOURS[place % len(COLOURS)]
            marker = "o" if len(x) <= MARKED else ""
            axes.plot(x, y, color=colour, linewidth=1.8, marker=marker, markersize=3, label=label)
            if spread is not None:
                axes.fill_between(x, y - spread, y + spread, color=colour, alpha=0.15, linewidth=0)
        axes.set_xlabel(self.x, fontsize=9, color=MUTED)
        axes.set_ylabel(self.y, fontsize=9, color=MUTED)
        if self.log_x:
            axes.set_xscale("log")
        if self.log_y:
            axes.set_yscale("log")
        if len(self.series) > 1:
            axes.legend(frameon=False, fontsize=8)


@dataclass(frozen=True)
class Matrix:
    """A square of numbers with a colour bar; what is not finite is white."""

    title: str
    x: str
    y: str
    values: Float[np.ndarray, "rows columns"]
    around_zero: bool = False

    def draw(self, axes: Any) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        shown = np.ma.masked_invalid(self.values)
        if self.around_zero:
            peak = float(np.abs(shown).max()) or 1.0
            picture = axes.imshow(
                shown, cmap="RdBu_r", vmin=-peak, vmax=peak, interpolation="nearest", aspect="auto"
            )
        else:
            colours = LinearSegmentedColormap.from_list("heat", HEAT)
            picture = axes.imshow(shown, cmap=colours, interpolation="nearest", aspect="auto")
        axes.set_xlabel(self.x, fontsize=9, color=MUTED)
        axes.set_ylabel(self.y, fontsize=9, color=MUTED)
        axes.tick_params(colors=MUTED, labelsize=8, length=2)
        bar = axes.figure.colorbar(picture, ax=axes, fraction=0.046, pad=0.03)
        bar.outline.set_visible(False)
        bar.ax.tick_params(colors=MUTED, labelsize=8, length=2)


@dataclass(frozen=True)
class Bars:
    """One bar for each name, with its deviation if there is one."""

    title: str
    y: str
    names: Sequence[str]
    values: Float[np.ndarray, " names"]
    spread: Float[np.ndarray, " names"] | None = None
    figures: bool = False
    """Write the value above each bar."""

    def draw(self, axes: Any) -> None:
        quiet(axes)
        places = np.arange(len(self.names))
        axes.bar(places, self.values, 0.75, color=SERIES[0])
        if self.spread is not None:
            axes.errorbar(places, self.values, self.spread, fmt="none", ecolor=MUTED, elinewidth=1)
        axes.set_xticks(places, self.names, rotation=0 if len(self.names) < 12 else 90)
        axes.set_ylabel(self.y, fontsize=9, color=MUTED)
        if self.figures:
            for place, value in zip(places, self.values, strict=True):
                axes.text(place, value, f"{value:.3g}", ha="center", va="bottom", fontsize=8, color=MUTED)


def panel_page(
    panels: Sequence[Lines | Matrix | Bars], path: FilePath, *, title: str, says: str, columns: int = 2
) -> None:
    """All panels on one page, under a title and a sentence that says how to read them."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    width, height = columns * (WIDE + GAP) + 20, rows * (HIGH + GAP) + 70
    figure = new_figure(width, height)
    _head(figure, title, says, height, width)
    for place, panel in enumerate(panels):
        row, column = divmod(place, columns)
        left = 70 + column * (WIDE + GAP)
        bottom = height - 70 - (row + 1) * (HIGH + GAP) + 50
        axes = figure.add_axes((left / width, bottom / height, (WIDE - 20) / width, HIGH / height))
        panel.draw(axes)
        axes.set_title(panel.title, fontsize=10, color=INK, loc="left", pad=6)
    save(figure, path)


def image_page(
    rows: Sequence[tuple[str, Num[np.ndarray, "images height width 3"]]],
    path: FilePath,
    *,
    title: str,
    says: str,
    heads: Sequence[str] = (),
    panels: Sequence[Lines | Bars] = (),
    tile: int = 72,
) -> None:
    """Rows of images with a name in front of each and, if given, a head over each column; panels side by side below."""
    label, across = 150, max(len(images) for _, images in rows)
    width = max(label + across * (tile + 4) + 20, 640, len(panels) * (WIDE + GAP) + 20)
    high = len(rows) * (tile + 4)
    below = HIGH + GAP if panels else 0
    height = 84 + high + below
    figure = new_figure(width, height)
    _head(figure, title, says, height, width)
    top = height - 74
    for row, (name, images) in enumerate(rows):
        y = top - (row + 1) * (tile + 4)
        figure.text(
            16 / width, (y + tile / 2) / height, name, fontsize=9, color=INK, va="center", parse_math=False
        )
        for column, image in enumerate(images):
            left = label + column * (tile + 4)
            figure.figimage(_enlarged(image, tile), left, y, origin="upper")
            if row == 0 and column < len(heads):
                middle, above = (left + tile / 2) / width, (top + 6) / height
                figure.text(middle, above, heads[column], fontsize=8, color=MUTED, ha="center", va="center")
    wide = min(560, (width - 10) // max(len(panels), 1) - 100)
    for place, panel in enumerate(panels):
        left = 70 + place * (wide + GAP)
        axes = figure.add_axes((left / width, 50 / height, wide / width, HIGH / height))
        panel.draw(axes)
        axes.set_title(panel.title, fontsize=10, color=INK, loc="left", pad=6)
    save(figure, path)


def _enlarged(image: Num[np.ndarray, "height width 3"], tile: int) -> Num[np.ndarray, "_ _ 3"]:
    """Every pixel a square of whole screen pixels, `tile` in all or the nearest size that this makes; large images by
    every n-th pixel."""
    pixels = image if image.dtype == np.uint8 else np.round(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    side = max(pixels.shape[:2])
    if side > tile:
        step = -(-side // tile)
        return pixels[::step, ::step]
    return pixels.repeat(tile // side, axis=0).repeat(tile // side, axis=1)


def _head(figure: Any, title: str, says: str, height: int, width: int) -> None:
    place = {"va": "center", "parse_math": False}
    figure.text(16 / width, 1 - 20 / height, title, fontsize=12, color=INK, weight="bold", **place)
    figure.text(16 / width, 1 - 42 / height, says, fontsize=9, color=MUTED, **place)
