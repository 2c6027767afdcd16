"""What `evaluate.py` leaves: a table on the terminal, one JSON, one picture; and results laid side by side."""

import dataclasses
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from etils import epath
from rich.console import Console
from rich.table import Table

from laminate.cli.evaluate_flags import Measuring
from laminate.evals.protocols import PROTOCOLS, deviations, named
from laminate.evals.results import FILE, differences, read_result, write_result
from laminate.evals.set_measures import Measured
from laminate.parallel.hosts import is_first
from laminate.runs.exit_codes import say
from laminate.runs.find_checkpoint import run_of
from laminate.runs.provenance import provenance
from laminate.storage.writing import make_folder

PICTURE = "evaluation.png"


@dataclass(frozen=True)
class Outcome:
    """Results, what they are about, what draws the picture, the run that was measured, figures without protocol, and
    what is done once all of it is written."""

    results: list[Measured]
    subject: dict[str, Any]
    picture: Callable[[epath.Path], None] | None
    run: str | None
    more: dict[str, Any] = field(default_factory=dict[str, Any])
    table: Table | None = None
    """What the terminal shows in place of the table of all results."""
    after: Callable[[], None] | None = None


def conclude(what: str, flags: Measuring, outcome: Outcome) -> None:
    """Hold the results against `--protocol`, write them and draw the picture; the first host does.

    Raises ValueError if the protocol is not followed and `--inexact` does not allow it.
    """
    results = followed(outcome.results, flags.protocol, inexact=flags.inexact)
    if not is_first():
        return
    out = folder_of(flags, outcome.run, what)
    make_folder(out)
    if outcome.picture is not None:
        outcome.picture(out / PICTURE)
    write_result(
        out / FILE,
        what,
        results,
        subject=outcome.subject,
        software=provenance(None),
        command=f"python {shlex.join(sys.argv)}",
        more=outcome.more,
    )
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(results_table(results) if outcome.table is None else outcome.table)
    picture = f", {PICTURE}" if outcome.picture is not None else ""
    say(f"{headline(results)}: {out}/{FILE}{picture}", primary=True)
    if outcome.after is not None:
        outcome.after()


def followed(results: Sequence[Measured], protocol: str | None, *, inexact: bool) -> list[Measured]:
    """The results, those of the protocol's measure with a remark on each deviation from it.

    Raises ValueError if none of them follows it, unless `inexact` allows that, or nothing of its kind was measured.
    """
    if protocol is None:
        return list(results)
    wanted = named(protocol).protocol
    found: list[Measured] = []
    exact, nearest = False, None
    for one in results:
        off = deviations(one.protocol, wanted)
        if one.protocol.measure != wanted.measure:
            found.append(one)
            continue
        exact |= not off
        nearest = off if nearest is None or len(off) < len(nearest) else nearest
        remarks = tuple(f"not {protocol}: {text}" for text in off)
        found.append(dataclasses.replace(one, remarks=(*one.remarks, *remarks)))
    if nearest is None:
        kinds = ", ".join(sorted({one.protocol.measure for one in results}))
        raise ValueError(f"--protocol {protocol} is for {wanted.measure}, and what was measured is {kinds}.")
    if not exact and not inexact:
        raise ValueError(
            f"--protocol {protocol} is not followed: {'; '.join(nearest)}. --inexact measures in spite of it."
        )
    return found


def folder_of(flags: Measuring, run: str | None, what: str) -> epath.Path:
    """The folder asked for; else `evaluation/WHAT` in the run that is measured, if it is one here; else here."""
    if flags.out is not None:
        return epath.Path(flags.out).expanduser()
    if run is not None:
        place = Path(os.path.expanduser(run_of(run)[0]))
        if place.is_dir():
            return epath.Path(place / "evaluation" / what)
    return epath.Path("evaluation") / what


def headline(results: Sequence[Measured]) -> str:
    """The first figures in one line."""
    shown = [f"{one.name} {one.value:.4g}" for one in results[:4]]
    return ", ".join(shown)


def results_table(results: Sequence[Measured]) -> Table:
    """Names, values, how sure they are, the same of real images, and protocols that they follow."""
    floors = any(one.floor is not None for one in results)
    table = Table(
        "measure", "value", "±", *(["held-out images"] if floors else []), "remarks", box=None, pad_edge=False
    )
    for one in results:
        spread = "" if one.spread is None else f"{one.spread:.2g}"
        floor = [] if not floors else ["" if one.floor is None else f"{one.floor:.4g}"]
        said = "; ".join([*(f"= {name}" for name in one.follows), *one.remarks])
        table.add_row(one.name, f"{one.value:.4g}", spread, *floor, said)
    return table


def show_protocols(names: Sequence[str]) -> None:
    """All protocols by name, or some of them with every field. Raises ValueError for an unknown name."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    if not names:
        table = Table("protocol", "measure", "samples", "who measures so", box=None, pad_edge=False)
        for name, one in PROTOCOLS.items():
            count = f"{one.protocol.samples:,}" if one.protocol.samples else "any"
            table.add_row(name, one.protocol.measure, count, one.said)
        console.print(table)
        return
    for name in names:
        one = named(name)
        table = Table(name, one.said, box=None, pad_edge=False)
        for label, value in one.protocol.plain().items():
            table.add_row(f"  {label.replace('_', ' ')}", _text(value))
        console.print(table)


def show_results(files: Sequence[epath.Path]) -> None:
    """Results side by side, then what differs between how they were measured. Raises ValueError and OSError."""
    if not files:
        raise ValueError(
            "evaluate.py show takes the results to show: evaluation.json files, or their folders."
        )
    paths = [file / FILE if file.is_dir() else file for file in files]
    held = [read_result(path) for path in paths]
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table("measure", *(_short(path) for path in paths), box=None, pad_edge=False)
    for name in dict.fromkeys(name for one in held for name in one):
        table.add_row(name, *(_value(one.get(name)) for one in held))
    console.print(table)
    found = differences(held)
    if not found:
        say("measured alike: every field of their protocols is the same", primary=True)
        return
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for one in found:
        alike.setdefault((one.field, one.values), []).append(one.measure)
    for (what, values), measures in alike.items():
        shown = " | ".join(value if len(value) <= 60 else f"{value[:57]}..." for value in values)
        console.print(f"not alike: {what} of {', '.join(measures)}: {shown}", markup=False, highlight=False)


def _short(path: epath.Path) -> str:
    return os.fspath(path.parent if path.name == FILE else path)


def _value(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "-"
    value, spread = one.get("value"), one.get("spread")
    shown = f"{value:.4g}" if isinstance(value, int | float) else str(value)
    return f"{shown} ± {spread:.2g}" if isinstance(spread, int | float) else shown


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:g}" for name, number in value.items()) or "any"
    return "any" if value in (None, "", 0) else str(value)
