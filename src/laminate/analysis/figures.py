"""Pictures of a run as PNG files: one palette, a white ground, labels that can be read at their own size.

Matplotlib is imported when a picture is drawn, and never its global state.
"""

import colorsys
import io
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, Num

from laminate.storage.writing import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FilePath = str | os.PathLike[str]

DPI = 100
INK = "#1c2733"
MUTED = "#67727e"
GRID = "#e6e9ed"
SERIES = ("#1f6feb", "#e8710a", "#2a9d6f", "#8b5cf6")
HEAT = ("#f6f8fb", "#c6d8f5", "#7aa6ea", "#1f6feb", "#123a86", "#081d49")
GOLDEN_RATIO = 0.618034
LONGEST_NAME = 32  # letters in front of a row


def new_figure(width: int, height: int) -> "Figure":
    """An empty white figure of that many pixels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")


def as_png(figure: "Figure") -> bytes:
    """`figure` as the contents of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def save(figure: "Figure", path: FilePath) -> None:
    """Write `figure` as a PNG, through memory so that a remote folder works too."""
    write_bytes(path, as_png(figure))


def quiet(axes: Any) -> None:
    """Axes with a light grid behind, and only a left and a bottom line."""
    axes.set_axisbelow(True)
    axes.grid(True, color=GRID, linewidth=0.8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#b8c0c9")
    axes.tick_params(which="both", colors=MUTED, labelsize=9, length=3, width=0.8)


def plain_ticks(axis: Any) -> None:
    """Numbers of a logarithmic `axis` as people write them, closer together where few decades are spanned."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    spread = high / low
    subs = (1.0,) if spread > 100 else (1.0, 2.0, 5.0) if spread > 4 else tuple(np.arange(1.0, 10.0, 0.5))
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def reconstruction_grid(
    originals: Num[np.ndarray, "examples height width 3"],
    reconstructions: Num[np.ndarray, "_ _ _ 3"],
    path: FilePath,
    *,
    captions: Sequence[str] = (),
    columns: int = 8,
    tile: int = 96,
    labels: tuple[str, str] = ("original", "rebuilt"),
    tokens: Num[np.ndarray, "examples rows columns 3"] | None = None,
) -> None:
    """Each original above its reconstruction, every pixel an exact square of whole screen pixels.

    Between them stand the `tokens`, if they are given, which fill as much room with their colours.

    Images are uint8, or floats in [0, 1] that are clipped. `tile` is the wanted width of one in screen
    pixels: smaller images are enlarged by a whole factor, larger ones stay as they are. `captions` stand
    below, in as many lines as they have.

    Raises:
        ValueError: no image, two shapes, a caption count that does not fit, or tokens of other images or too many.
    """
    if not len(originals) or originals.shape != reconstructions.shape:
        raise ValueError(
            f"a reconstruction grid needs at least one image and two arrays of one shape; "
            f"got {originals.shape} and {reconstructions.shape}."
        )
    if captions and len(captions) != len(originals):
        raise ValueError(f"got {len(captions)} captions for {len(originals)} images.")
    scale = max(1, round(tile / originals.shape[2]))
    above, below = (_enlarged(images, scale) for images in (originals, reconstructions))
    rows, (high, wide) = [(labels[0], above), (labels[1], below)], above.shape[1:3]
    if tokens is not None:
        count, down, across = tokens.shape[:3]
        if count != len(originals) or down > high or across > wide:
            raise ValueError(f"tokens {tokens.shape} do not fit {len(originals)} images of {high} x {wide}.")
        squares = tokens[:, np.arange(high) * down // high][:, :, np.arange(wide) * across // wide]
        rows.insert(1, ("tokens", _enlarged(squares, 1)))
    columns = min(columns, len(originals))
    gap = 6
    tall = len(rows) * (high + gap) - gap
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    margin, label, between = 16, 76, 22 + 14 * lines
    bands = -(-len(originals) // columns)
    width = margin + label + columns * (wide + gap) - gap + margin
    height = margin + bands * (tall + between) - between + margin + 16 * lines
    figure = new_figure(width, height)
    for index in range(len(originals)):
        band, column = divmod(index, columns)
        top = height - margin - band * (tall + between)
        left = margin + label + column * (wide + gap)
        for row, (name, images) in enumerate(rows):
            bottom = top - (row + 1) * high - row * gap
            figure.figimage(images[index], left, bottom, origin="upper")
            if column == 0:
                _text(figure, margin, bottom + high // 2, name, va="center", color=INK, size=10)
        if captions:
            line = top - tall - 4
            _text(figure, left + wide / 2, line, captions[index], va="top", ha="center", color=MUTED, size=8)
    save(figure, path)


def sample_grid(
    images: Num[np.ndarray, "examples height width 3"],
    *,
    columns: int,
    rows: Sequence[str] = (),
    tile: int = 64,
) -> bytes:
    """A PNG of images in rows of `columns`, the last perhaps shorter, with a name in front of each row if given.

    Images are as in `reconstruction_grid`.

    Raises:
        ValueError: no image, or another number of names than of rows.
    """
    down = -(-len(images) // max(columns, 1))
    if not len(images) or columns < 1 or (rows and len(rows) != down):
        raise ValueError(
            f"a sample grid needs images, columns and a name for each row: got {len(images)} images in {columns} "
            f"columns and {len(rows)} names."
        )
    rows = [_short(name) for name in rows]
    shown = _enlarged(images, max(1, round(tile / images.shape[2])))
    high, wide = shown.shape[1:3]
    margin, gap = 16, 4
    label = 12 + 9 * max((len(name) for name in rows), default=-2)
    width = 2 * margin + max(label, 0) + columns * (wide + gap) - gap
    height = 2 * margin + down * (high + gap) - gap
    figure = new_figure(width, height)
    for index, image in enumerate(shown):
        row, column = divmod(index, columns)
        bottom = height - margin - row * (high + gap) - high
        figure.figimage(image, margin + max(label, 0) + column * (wide + gap), bottom, origin="upper")
        if rows and column == 0:
            _text(figure, margin, bottom + high // 2, rows[row], va="center", color=INK, size=9)
    return as_png(figure)


def ablation_map(
    heat: Float[np.ndarray, "latents rows columns"], path: FilePath, *, unit: str = "L2"
) -> None:
    """Where each latent token acts: `heat` per token on one colour scale, and which token matters most where.

    `heat` is how far each patch moves when a token is zeroed, (latents, grid rows, grid columns). In the left
    map a patch has the number and colour of the token that moves it most; the paler, the less that token
    stands out.

    Raises:
        ValueError: no token, or heat that is negative or not finite.
    """
    if not heat.size or not np.isfinite(heat).all() or heat.min() < 0:
        raise ValueError(
            f"an ablation map needs finite heat >= 0 of at least one token; got shape {heat.shape}."
        )
    latents, rows, columns = heat.shape
    across = int(np.ceil(np.sqrt(latents * 1.4)))
    down = -(-latents // across)
    cell = min(104, 880 // across)
    side = max(300, min(down * (cell + 24), 460))
    height = max(side, down * (cell + 24)) + 86
    figure = new_figure(24 + side + 40 + across * (cell + 8) + 84, height)
    top = height - 62
    _text(figure, 24, height - 20, "Which token matters most where", va="top", color=INK, size=11)
    winners = _axes(figure, 24, top - side, side, side)
    _winner_map(winners, heat, side / max(rows, columns))
    left = 24 + side + 40
    _text(
        figure,
        left,
        height - 20,
        f"How far patches move without each token ({unit})",
        va="top",
        color=INK,
        size=11,
    )
    note = "number, and its share of all movement"
    _text(figure, left, height - 40, note, va="top", color=MUTED, size=9)
    _text(figure, 24, height - 40, "paler where no token stands out", va="top", color=MUTED, size=9)
    share, peak = heat.sum((1, 2)) / max(heat.sum(), 1e-10), max(float(heat.max()), 1e-10)
    for token in range(latents):
        row, column = divmod(token, across)
        axes = _axes(figure, left + column * (cell + 8), top - 18 - cell - row * (cell + 24), cell, cell)
        picture = axes.imshow(heat[token], vmin=0.0, vmax=peak, cmap=_heat_colours(), interpolation="nearest")
        axes.set_title(f"{token} · {share[token]:.0%}", fontsize=9, color=INK, pad=3)
        if token == 0:
            bar_left, bar_high = left + across * (cell + 8) + 8, min(side - 18, 240)
            bar = figure.colorbar(picture, cax=_axes(figure, bar_left, top - 18 - bar_high, 12, bar_high))
            bar.outline.set_visible(False)
            bar.ax.tick_params(colors=MUTED, labelsize=8, length=2)
    save(figure, path)


def level_map(levels: Float[np.ndarray, "channels levels"], path: FilePath, *, codebooks: int = 1) -> None:
    """How often each channel of a code takes each of its levels: one row a channel, levels that it lacks left white.

    With several codebooks rows are low, and without figures.
    """
    cell, high = 34, 34 if codebooks == 1 else 6
    channels, most = levels.shape
    width, height = 96 + most * cell + 24, 40 + channels * high + 44
    figure = new_figure(max(width, 360), height)
    axes = _axes(figure, 96, 44, most * cell, channels * high)
    shown = np.ma.masked_invalid(levels)
    axes.imshow(
        shown,
        vmin=0.0,
        vmax=float(np.nanmax(levels)),
        cmap=_heat_colours(),
        interpolation="nearest",
        aspect="auto",
    )
    for (row, column), share in np.ndenumerate(levels if codebooks == 1 else levels[:0]):
        if np.isfinite(share):
            dark = share > 0.55 * float(np.nanmax(levels))
            axes.text(
                column,
                row,
                f"{share:.0%}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else INK,
            )
    rows, what = (channels, "channel") if codebooks == 1 else (codebooks, "codebook")
    each = channels // rows
    middles = [row * each + (each - 1) / 2 for row in range(rows)]
    axes.set_yticks(middles, [f"{what} {row}" for row in range(rows)])
    axes.set_xticks(range(most), [str(level) for level in range(most)])
    axes.set_xlabel("level", fontsize=9, color=MUTED)
    axes.tick_params(colors=MUTED, labelsize=9, length=0)
    save(figure, path)


def _winner_map(axes: Any, heat: Float[np.ndarray, "latents rows columns"], cell: float) -> None:
    winner: Int[np.ndarray, "rows columns"] = heat.argmax(0)
    colours = np.array(
        [colorsys.hls_to_rgb(index * GOLDEN_RATIO % 1, 0.6, 0.6) for index in range(len(heat))]
    )
    share = heat.max(0) / np.maximum(heat.sum(0), 1e-10)
    floor = 1 / len(heat)
    strength = np.clip((share - floor) / max(float(share.max()) - floor, 1e-10), 0.0, 1.0)[..., None]
    strength = 0.2 + 0.8 * strength
    axes.imshow(strength * colours[winner] + (1 - strength), interpolation="nearest")
    if cell >= 14:
        for (row, column), token in np.ndenumerate(winner):
            axes.text(
                column, row, str(token), ha="center", va="center", color=INK, fontsize=min(11.0, 0.34 * cell)
            )


def _axes(
    figure: "Figure", left: float | int, bottom: float | int, width: float | int, height: float | int
) -> Any:
    """Axes at a place in pixels, without ticks, with a thin frame."""
    total_width, total_height = figure.get_size_inches() * DPI
    axes = figure.add_axes(
        (left / total_width, bottom / total_height, width / total_width, height / total_height)
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(GRID)
    return axes


def _short(name: str) -> str:
    """`name` on one line of a width that leaves room for pictures."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    return plain if len(plain) <= LONGEST_NAME else f"{plain[: LONGEST_NAME - 3]}..."


def _text(figure: "Figure", x: float | int, y: float | int, text: str, **style: Any) -> None:
    total_width, total_height = figure.get_size_inches() * DPI
    # Not for Matplotlib to parse: a class may be called `$x_$`.
    figure.text(x / total_width, y / total_height, text, parse_math=False, **style)


def _heat_colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("heat", HEAT)


def _enlarged(images: Num[np.ndarray, "examples height width 3"], scale: int) -> Any:
    if images.dtype != np.uint8:
        images = np.round(np.clip(images, 0.0, 1.0) * 255.0).astype(np.uint8)
    return images.repeat(scale, axis=1).repeat(scale, axis=2)
