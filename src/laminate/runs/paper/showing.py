"""A table of a paper on the terminal, as JSON, and as a picture where one helps."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from rich.console import Console
from rich.table import Table

from laminate.analysis.panels import Bars, panel_page
from laminate.runs.analyses.results import plain
from laminate.runs.paper.costs import CHIPS, RECORDS, TOPOLOGY, cost_of
from laminate.runs.paper.exhibit import Exhibit, Figure
from laminate.runs.paper.exhibits import EXHIBITS
from laminate.runs.paper.filling import NOT_MEASURED, Filled, text_of
from laminate.runs.provenance import provenance
from laminate.storage.writing import make_folder, write_atomically

FORMAT = 1
WIDTH = 200


def console() -> Console:
    """As wide as the terminal, or wide enough for every line of a table in a file."""
    return Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False, markup=False, emoji=False)


def show_list(to: Console) -> None:
    """Every exhibit: its name, of which work, what it shows, and what can be computed of it."""
    table = Table("name", "of", "what it shows", "here", box=None, pad_edge=False)
    for one in EXHIBITS.values():
        table.add_row(one.name, one.work, one.shows, one.computed)
    to.print(table)
    to.print(
        "\npython experiments/paper.py NAME prints ours beside the paper's, and the commands for what is missing."
    )


def figure_text(value: Figure | None, form: str) -> str:
    """A figure as a table has it."""
    if value is None:
        return NOT_MEASURED
    return value if isinstance(value, str) else format(value, form)


def show_cells(to: Console, exhibit: Exhibit, filled: Sequence[Filled], here: str) -> None:
    """The paper's beside ours; `here` says on what the last column of ours was measured, if there is one."""
    to.print(f"{exhibit.work}, {exhibit.title}: {exhibit.shows}\n")
    table = Table("", "", f"{exhibit.work} prints", "ours", box=None, pad_edge=False)
    if here:
        table.add_column("here")
    table.add_column("where ours is from")
    former = ""
    for one in filled:
        cell = one.cell
        row = [cell.row if cell.row != former else "", cell.quantity, figure_text(cell.paper, cell.form)]
        row.append("" if one.ours is None else figure_text(one.ours, cell.form))
        if here:
            row.append("" if one.here is None else figure_text(one.here, cell.form))
        table.add_row(*row, one.said)
        former = cell.row
    to.print(table)
    if here:
        to.print(f"\nhere: {here}")


def show_beside(to: Console, said: str, rows: Sequence[tuple[str, str, Figure | None]]) -> None:
    """The same measurement on what is here, under a head that says on what."""
    to.print(
        f"\nThe same on what is here ({said}), by the network in the package: comparable with nothing published."
    )
    table = Table("measure", "stands in for", "ours", box=None, pad_edge=False)
    for measure, stands, value in rows:
        table.add_row(measure, stands, figure_text(value, ".4g"))
    to.print(table)


def show_commands(to: Console, exhibit: Exhibit, results: Path | None) -> None:
    """The commands in order, with what they need and cost."""
    if exhibit.commands:
        to.print("\nCommands of the paper's size, in order:")
        hours = 0.0
        for number, one in enumerate(exhibit.commands, 1):
            to.print(f"{number:>3}  {text_of(one, results)}", soft_wrap=True)
            if one.cost is not None:
                cost = cost_of(one.cost)
                hours += cost.hours or 0.0
                to.print(f"     costs {cost}", soft_wrap=True)
        if hours:
            to.print(
                f"     together {hours:,.0f} chip hours where a plan says, {hours / CHIPS:,.0f} h of {TOPOLOGY} "
                f"({RECORDS}: compiled, never measured)",
                soft_wrap=True,
            )
    for need in exhibit.needs:
        to.print(f"needs {need}", soft_wrap=True)
    for note in exhibit.notes:
        to.print(f"note: {note}", soft_wrap=True)


def write_json(
    out: epath.Path,
    exhibit: Exhibit,
    filled: Sequence[Filled],
    *,
    here: str,
    stands_in: tuple[str, Sequence[tuple[str, str, Figure | None]]] | None,
    results: Path | None,
) -> epath.Path:
    """Everything that was printed, as numbers."""
    make_folder(out)
    cells = [
        {
            "row": one.cell.row,
            "quantity": one.cell.quantity,
            "paper": one.cell.paper,
            "ours": one.ours,
            "from": one.said,
            **({"here": one.here} if here else {}),
        }
        for one in filled
    ]
    held: dict[str, Any] = {
        "format": FORMAT,
        "what": exhibit.name,
        "of": exhibit.work,
        "shows": exhibit.shows,
        "cells": cells,
        "here": here,
        "commands": [text_of(one, results) for one in exhibit.commands],
        "needs": list(exhibit.needs),
        "notes": list(exhibit.notes),
        "software": dict(provenance(None)),
        "command": f"python {shlex.join(sys.argv)}",
    }
    if stands_in is not None:
        said, rows = stands_in
        held["beside"] = {
            "of": said,
            "measures": [
                {"name": name, "stands_in_for": stands, "value": value} for name, stands, value in rows
            ],
        }
    file = out / f"{exhibit.name}.json"
    write_atomically(file, json.dumps(plain(held), indent=2, allow_nan=False) + "\n")
    return file


def draw(out: epath.Path, exhibit: Exhibit, filled: Sequence[Filled]) -> epath.Path | None:
    """A picture of what is counted beside what is printed, if the exhibit has one."""
    if exhibit.bars is None:
        return None
    quantity, unit = exhibit.bars
    rows = [one for one in filled if one.cell.quantity == quantity and isinstance(one.ours, float)]
    names = [_short(one.cell.row) for one in rows]
    ours = np.asarray([float(one.ours or 0.0) for one in rows])
    printed = np.asarray([float(one.cell.paper) for one in rows])
    panels = [
        Bars("Counted here", unit, names, ours, figures=True),
        Bars("As printed", unit, names, printed, figures=True),
    ]
    file = out / f"{exhibit.name}.png"
    says = f"{exhibit.shows}. One multiply-add is one FLOP."
    panel_page(panels, file, title=f"{exhibit.work}, {exhibit.title}", says=says)
    return file


def _short(row: str) -> str:
    """What fits under a bar: the network, and what it runs on."""
    first, second, *_ = row.replace("DiT^DH", "DH").replace(" on ", ", ").split(", ")
    return f"{first}\n{second}"
