"""A plan as a picture: the memory of one device, and what a step spends its time on.

Matplotlib is imported when a picture is drawn, and never its global state.
"""

import io
import os
from typing import Any

from laminate.planning.plan import Plan
from laminate.storage.writing import write_bytes

DPI = 100
INK, MUTED = "#1c2733", "#67727e"
COLOURS = ("#1f6feb", "#e8710a", "#2a9d6f", "#8b5cf6", "#d4a72c", "#67727e", "#c2410c")
GIB = 2**30


def draw_plan(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write the picture of `plan` as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.8), dpi=DPI, facecolor="white")
    above, below = figure.subplots(2, 1)
    figure.suptitle(
        f"{plan.name} on {plan.topology}, mesh {plan.setting.mesh}", x=0.02, ha="left", color=INK, fontsize=11
    )
    capacity = plan.capacity_bytes / GIB
    _bar(above, [(name, count / GIB) for name, count in _memory(plan)], "GiB on one device")
    above.axvline(capacity, color=INK, linewidth=1.2)
    above.text(capacity, 0.0, f"{capacity:.0f} GiB there ", color=INK, fontsize=8, va="center", ha="right")
    above.set_xlim(0, 1.04 * max(capacity, plan.needed_bytes / GIB))
    if plan.measured is None:
        below.set_axis_off()
        below.text(
            0.0, 0.5, f"Does not fit: {plan.needed_bytes / GIB:.1f} GiB are needed.", color=INK, fontsize=10
        )
    else:
        _times(below, plan)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    write_bytes(path, buffer.getvalue())


def _memory(plan: Plan) -> list[tuple[str, int]]:
    held = plan.held
    parts = [
        ("parameters", held.parameters),
        ("optimiser", held.optimizer),
        ("average", held.average),
        ("frozen, batch", held.frozen + held.batch),
    ]
    if plan.measured is None:
        return [*parts, ("temporaries", plan.needed_bytes - held.total)]
    return [
        *parts,
        ("activations, gradients", plan.measured.activation_bytes),
        ("collectives", plan.measured.gathered_bytes),
    ]


def _bar(axes: Any, parts: list[tuple[str, float]], unit: str) -> None:
    left = 0.0
    for colour, (name, width) in zip(COLOURS, parts, strict=False):
        if width > 0:
            axes.barh(0, width, left=left, height=0.6, color=colour, label=name)
            left += width
    axes.set_yticks([])
    axes.set_xlabel(unit, fontsize=9, color=MUTED)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.45), ncols=6, fontsize=8, frameon=False)
    _quiet(axes)


def _times(axes: Any, plan: Plan) -> None:
    assert plan.measured is not None
    lines = plan.measured.roofline
    times = [("compute", lines.compute), ("memory", lines.memory), ("interconnect", lines.interconnect)]
    times += [("network", lines.network)] if lines.network else []
    times += [("estimated step", lines.step)]
    names, seconds = zip(*reversed(times), strict=True)
    axes.barh(range(len(names)), [1000 * one for one in seconds], color=COLOURS[0], height=0.6)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("ms a step, each if it were alone", fontsize=9, color=MUTED)
    _quiet(axes)


def _quiet(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=MUTED, labelsize=8)
