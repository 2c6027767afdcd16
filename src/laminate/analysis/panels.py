"""Pages of plain panels: curves, matrices, histograms, rows of images, with words that say how to read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from laminate.analysis.figures import (
    DPI,
    HEAT,
    INK,
    MUTED,
    SERIES,
    FilePath,
    new_figure,
    plain_ticks,
    quiet,
    save,
)
from laminate.analysis.headings import MARGIN, Heading, fitted, wrapped

WIDE, HIGH, GAP = 312, 240, 98
"""Of one panel: small, so that a page is still read where it is shown at half its width."""
LABEL, _LEFT = 120, 80
"""Pixels left of rows of images, and of a panel."""
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
        _name_axes(axes, self.x, self.y)
        if self.log_x:
            axes.set_xscale("log")
            plain_ticks(axes.xaxis)
        if self.log_y:
            axes.set_yscale("log")
            plain_ticks(axes.yaxis)
        if self.above:
            columns = 2 if len(self.series) > 3 else 1
            place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.1}
            found = axes.legend(frameon=False, fontsize=9, ncols=columns, labelspacing=0.3, **place)
            room = axes.get_window_extent().width / columns - 40
            for text in found.get_texts():
                text.set_text(fitted(text.get_text(), room, size=9))
                text.set_parse_math(False)

    @property
    def above(self) -> int:
        """Pixels that its legend takes above the axes, where it hides no curve."""
        lines = -(-len(self.series) // 2) if len(self.series) > 3 else len(self.series)
        return 17 * lines + 4 if len(self.series) > 1 else 0


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
        from matplotlib.ticker import MaxNLocator

        shown = np.ma.masked_invalid(self.values)
        if self.around_zero:
            finite = np.abs(self.values[np.isfinite(self.values)])
            peak = float(finite.max(initial=0.0)) or 1.0
            picture = axes.imshow(
                shown, cmap="RdBu_r", vmin=-peak, vmax=peak, interpolation="nearest", aspect="auto"
            )
        else:
            colours = LinearSegmentedColormap.from_list("heat", HEAT)
            picture = axes.imshow(shown, cmap=colours, interpolation="nearest", aspect="auto")
        _name_axes(axes, self.x, self.y)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(7, integer=True))
        axes.tick_params(colors=MUTED, labelsize=9, length=2)
        bar = axes.figure.colorbar(picture, ax=axes, fraction=0.046, pad=0.03)
        bar.outline.set_visible(False)
        bar.ax.tick_params(colors=MUTED, labelsize=9, length=2)


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
    x: str = ""
    """What the names are the names of, if they do not say it."""

    def draw(self, axes: Any) -> None:
        quiet(axes)
        places = np.arange(len(self.names))
        axes.bar(places, self.values, 0.75, color=SERIES[0])
        if self.spread is not None:
            axes.errorbar(places, self.values, self.spread, fmt="none", ecolor=MUTED, elinewidth=1)
        axes.set_xticks(places, self.names, rotation=0 if len(self.names) < 12 else 90)
        _name_axes(axes, self.x, self.y)
        if self.figures:
            for place, value in zip(places, self.values, strict=True):
                axes.text(place, value, f"{value:.3g}", ha="center", va="bottom", fontsize=9, color=MUTED)


def panel_page(
    panels: Sequence[Lines | Matrix | Bars], path: FilePath, *, title: str, says: str, columns: int = 2
) -> None:
    """All panels on one page, under a title and a sentence that says how to read them."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    width = columns * (WIDE + GAP) + 20
    heading = Heading(title, says, width)
    height = rows * (HIGH + GAP) + heading.height
    figure = new_figure(width, height)
    heading.draw(figure, height)
    for place, panel in enumerate(panels):
        row, column = divmod(place, columns)
        bottom = height - heading.height - (row + 1) * (HIGH + GAP) + 60
        _place(figure, panel, (_LEFT + column * (WIDE + GAP), bottom, WIDE, HIGH), (width, height))
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
    most: int = 11,
) -> None:
    """Rows of images with a name in front of each and, if given, a head over each column; panels side by side below.

    Of more than `most` columns the rest stand below, in a further band of all rows.
    """
    columns = max(len(images) for _, images in rows)
    bands = -(-columns // most)
    across = -(-columns // bands)
    width = max(LABEL + across * (tile + 4) + 20, 640, len(panels) * (WIDE + GAP) + 20)
    heading = Heading(title, says, width)
    ahead = 22 if heads else 0
    high = ahead + len(rows) * (tile + 4) + 8
    height = heading.height + bands * high + (HIGH + GAP if panels else 10)
    figure = new_figure(width, height)
    heading.draw(figure, height)
    for band in range(bands):
        some = slice(band * across, (band + 1) * across)
        top = height - heading.height - band * high
        _band(figure, [(name, images[some]) for name, images in rows], heads[some], tile, top, ahead)
    each = (width - 20) // max(len(panels), 1) - GAP
    for place, panel in enumerate(panels):
        box = (_LEFT + place * (min(each, 560) + GAP), 50, min(each, 560), HIGH)
        _place(figure, panel, box, (width, height))
    save(figure, path)


def _band(
    figure: Any, rows: Sequence[tuple[str, np.ndarray]], heads: Sequence[str], tile: int, top: int, ahead: int
) -> None:
    width, height = figure.get_size_inches() * figure.dpi
    for column, head in enumerate(heads):
        middle = (LABEL + column * (tile + 4) + tile / 2) / width
        style = {"fontsize": 9, "color": MUTED, "ha": "center", "va": "center", "parse_math": False}
        figure.text(middle, (top - ahead / 2) / height, fitted(head, tile + 4, size=9), **style)
    for row, (name, images) in enumerate(rows):
        y = top - ahead - (row + 1) * (tile + 4)
        lines = "\n".join(wrapped(name, LABEL - MARGIN - 4, size=9))
        style = {"fontsize": 9, "color": INK, "va": "center", "parse_math": False}
        figure.text(MARGIN / width, (y + tile / 2) / height, lines, **style)
        for column, image in enumerate(images):
            figure.figimage(_enlarged(image, tile), LABEL + column * (tile + 4), y, origin="upper")


def _place(
    figure: Any, panel: Lines | Matrix | Bars, box: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    """The panel at left, bottom, width and height in pixels of a figure of that size."""
    left, bottom, wide, high = box
    above = panel.above if isinstance(panel, Lines) else 0
    wide -= 20 if isinstance(panel, Matrix) else 0  # the numbers of its colour bar
    inside = (left, bottom, wide, high - above)
    axes = figure.add_axes(tuple(pixels / whole for pixels, whole in zip(inside, 2 * size, strict=True)))
    panel.draw(axes)
    title = "\n".join(wrapped(panel.title, wide + GAP - _LEFT, size=11))
    pad = (8 + above) * 72 / DPI
    axes.set_title(title, fontsize=11, color=INK, loc="left", pad=pad, parse_math=False)


def _name_axes(axes: Any, x: str, y: str) -> None:
    box = axes.get_window_extent()
    across, up = ("\n".join(wrapped(*one, size=10)) for one in ((x, box.width), (y, box.height)))
    axes.set_xlabel(across, fontsize=10, color=MUTED, parse_math=False)
    axes.set_ylabel(up, fontsize=10, color=MUTED, parse_math=False)


def _enlarged(image: Num[np.ndarray, "height width 3"], tile: int) -> Num[np.ndarray, "_ _ 3"]:
    """Every pixel a square of whole screen pixels, `tile` in all or the nearest size that this makes; large images by
    every n-th pixel."""
    pixels = image if image.dtype == np.uint8 else np.round(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    side = max(pixels.shape[:2])
    if side > tile:
        step = -(-side // tile)
        return pixels[::step, ::step]
    return pixels.repeat(tile // side, axis=0).repeat(tile // side, axis=1)
