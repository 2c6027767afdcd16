"""The curves of a run, from its metrics.jsonl."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Float

from laminate.analysis.figures import GRID, INK, MUTED, SERIES, FilePath, new_figure, plain_ticks, quiet, save
from laminate.storage.strict_json import JsonError, parse_json

Curve = tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]


@dataclasses.dataclass(frozen=True)
class Panel:
    """One pair of axes: `series` are (metric, label); those that the run did not log are left out.

    `log` asks for a logarithmic axis where every value is positive. `limits` are the lowest and highest value
    worth showing.
    """

    title: str
    series: tuple[tuple[str, str], ...]
    log: bool = True
    limits: tuple[float, float] = (-np.inf, np.inf)


LEARNING_RATE = "train/lr"
PANELS = (
    Panel("Reconstruction loss", (("train/recon_loss", "training"), ("val/loss", "validation"))),
    Panel("R² on held-out data", (("val/r2", "validation"),), log=False, limits=(0.0, 1.0)),
    Panel("Total loss", (("train/loss", "training"),)),
    Panel("KL divergence per latent number (nats)", (("train/kl_nats", "training"),), log=False),
    Panel(
        "Share of the codebook in use", (("train/codebook_usage", "training"),), log=False, limits=(0.0, 1.0)
    ),
)


def read_metrics(path: FilePath) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl, each with its `step`, in order of the step.

    A step that was logged twice (a run that resumed from an older checkpoint) keeps its last values. A last
    line that was cut off is left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a broken line that is not the last.
    """
    lines = epath.Path(path).read_bytes().decode("utf-8", "replace").rstrip("\n").split("\n")
    records: dict[float, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = parse_json(line, f"{path}: line {number}")
            if not isinstance(record, dict) or type(record.get("step")) is not int:
                raise JsonError(f"{path}: line {number} has no step")
        except JsonError as error:
            if number == len(lines):
                break
            raise ValueError(
                f"{path}: line {number} is no JSON record ({error}); remove that line."
            ) from error
        records.setdefault(record["step"], {}).update(record)
    return [records[step] for step in sorted(records)]


def finite_values(records: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """The values of one metric that are finite numbers, in order: one that was none is logged as null."""
    return [float(record[name]) for record in records if _is_finite(record.get(name))]


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def loss_curves(
    records: Sequence[Mapping[str, Any]], path: FilePath, *, panels: Sequence[Panel] = PANELS, x: str = "step"
) -> None:
    """Losses over training: the first panel large above the learning rate, up to three others beside it.

    Panels of which the records hold nothing are left out.

    Raises:
        ValueError: the records hold no metric of any panel.
    """
    present = [panel for panel in panels if any(len(_curve(records, name, x)[0]) for name, _ in panel.series)]
    if not present:
        wanted = ", ".join(name for panel in panels for name, _ in panel.series)
        raise ValueError(f"the records hold none of the metrics to draw ({wanted}).")
    main, others = present[0], present[1:4]
    figure = new_figure(1040 if others else 680, 460)
    columns = [(0.075, 0.575 if others else 0.885), (0.70, 0.275)]
    rate = _curve(records, LEARNING_RATE, x)
    steps = [_curve(records, name, x)[0] for panel in present for name, _ in panel.series]
    span = _span(np.concatenate([*steps, rate[0]]))
    floor = 0.30 if len(rate[0]) else 0.11
    left, width = columns[0]
    _draw(figure.add_axes((left, floor, width, 0.92 - floor)), main, records, x, last=not len(rate[0]))
    if len(rate[0]):
        _learning_rate(figure.add_axes((left, 0.11, width, 0.12)), rate)
    left, width = columns[1]
    gap = 0.11
    high = (0.81 - gap * (len(others) - 1)) / max(len(others), 1)
    for row, panel in enumerate(others):
        axes = figure.add_axes((left, 0.92 - high - row * (high + gap), width, high))
        _draw(axes, panel, records, x, last=row == len(others) - 1)
    for axes in figure.axes:
        axes.set_xlim(*span)  # one axis for all: what happened together stands above each other
    save(figure, path)


def _span(points: np.ndarray) -> tuple[float, float]:
    """From the first to the last point, with a little room."""
    low, high = float(points.min()), float(points.max())
    room = 0.02 * (high - low) or 0.5
    return low - room, high + room


def _draw(axes: Any, panel: Panel, records: Sequence[Mapping[str, Any]], x: str, *, last: bool) -> None:
    quiet(axes)
    axes.set_title(panel.title, fontsize=10, color=INK, loc="left", pad=6)
    lowest, labels = np.inf, 0
    for (name, label), colour in zip(panel.series, SERIES, strict=False):
        steps, values = _curve(records, name, x)
        if not len(steps):
            continue
        lowest, labels = min(lowest, float(values.min())), labels + 1
        _line(axes, steps, values, label, colour, dots=name.startswith("val/"))
    if panel.log and lowest > 0:
        axes.set_yscale("log")
        plain_ticks(axes.yaxis)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, panel.limits[0]), min(high, panel.limits[1]))
    if labels > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    axes.margins(x=0.02)
    _count_axis(axes, last)


def _line(axes: Any, steps: np.ndarray, values: np.ndarray, label: str, colour: str, *, dots: bool) -> None:
    """A curve; one that is long and noisy is drawn pale with its running mean on top."""
    style = {"color": colour, "linewidth": 1.8, "solid_capstyle": "round"}
    if dots:
        axes.plot(steps, values, label=label, marker="o", markersize=4, zorder=3, **style)
    elif len(values) < 60:
        axes.plot(steps, values, label=label, **style)
    else:
        axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.9)
        axes.plot(steps, running_mean(values, len(values) // 25), label=label, **style)


def running_mean(values: Float[np.ndarray, " points"], reach: int) -> Float[np.ndarray, " points"]:
    """The mean over `reach` points on either side.

    Near the start, where losses fall fast, the window shrinks on both sides; at the end only on the right.
    """
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    span = np.minimum(reach, index)
    first, beyond = index - span, np.minimum(index + span + 1, len(values))
    return (total[beyond] - total[first]) / (beyond - first)


def _learning_rate(axes: Any, rate: Curve) -> None:
    quiet(axes)
    axes.grid(False)
    axes.fill_between(rate[0], rate[1], color=GRID, linewidth=0)
    axes.plot(*rate, color=MUTED, linewidth=1.2)
    axes.set_ylim(0.0, 1.15 * float(rate[1].max()) or 1.0)
    axes.set_yticks([float(rate[1].max())], [f"{rate[1].max():.2g}"])
    axes.set_title("Learning rate", fontsize=9, color=MUTED, loc="left", pad=3)
    axes.margins(x=0.02)
    _count_axis(axes, True)


def _count_axis(axes: Any, last: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.tick_params(labelbottom=last)
    if last:
        axes.set_xlabel("optimiser updates", fontsize=9, color=MUTED)


def _curve(records: Sequence[Mapping[str, Any]], name: str, x: str) -> Curve:
    """The finite values of one metric."""
    points = [
        (record[x], record[name])
        for record in records
        if _is_finite(record.get(name)) and _is_finite(record.get(x))
    ]
    pairs = np.asarray(points, np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
