"""Ours beside the paper's: what is counted, and what results hold that lie in the runs or below `--results`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from etils import epath

from laminate.evals.protocols import Protocol, deviations, named
from laminate.evals.results import FILE, read_result
from laminate.runs.paper.exhibit import Analysed, Beside, Cell, Command, Counted, Evaluated, Exhibit, Figure
from laminate.storage.strict_json import read_json

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Filled:
    """A cell, ours in it (None if it is not measured), where that is from or what would give it, and the same of what
    is here."""

    cell: Cell
    ours: Figure | None
    said: str
    here: Figure | None = None


def fill(exhibit: Exhibit, results: Path | None) -> list[Filled]:
    """Every cell of an exhibit. Raises ValueError for a result that is damaged."""
    return [_filled(cell, exhibit, results) for cell in exhibit.cells]


def looked_at(filled: list[Filled], numbers: Mapping[str, Any]) -> list[Filled]:
    """The cells that an analysis answers, with what it found here."""
    return [
        replace(one, here=one.cell.ours.take(numbers)) if isinstance(one.cell.ours, Analysed) else one
        for one in filled
    ]


def place_of(command: Command, results: Path | None) -> Path:
    """The folder that a command leaves its result in."""
    return Path(command.leaves) if results is None else results / command.key


def text_of(command: Command, results: Path | None) -> str:
    """The command as it is typed."""
    return command.text.replace("{out}", f"{place_of(command, results)}")


def beside(one: Beside, run: str) -> tuple[str, list[tuple[str, str, Figure | None]]]:
    """(what was measured, in words; (measure, what it stands in for, value)) of the evaluation of a run here.

    Values are None, and the words say the command, if there is none. Raises ValueError for a damaged one.
    """
    file = epath.Path(run).expanduser() / "evaluation" / one.what / FILE
    if not file.exists():
        words = f"{NOT_MEASURED}: {one.command} --{one.kind} {run}"
        return words, [(measure, said, None) for measure, said in one.measures]
    held = read_result(file)
    rows = [
        (measure, said, held[measure]["value"] if measure in held else None) for measure, said in one.measures
    ]
    return _subject(file), rows


def _filled(cell: Cell, exhibit: Exhibit, results: Path | None) -> Filled:
    ours = cell.ours
    if ours is None:
        return Filled(cell, None, cell.why)
    if isinstance(ours, Counted):
        return Filled(cell, ours.value, "counted")
    found = [number for number, one in enumerate(exhibit.commands, 1) if one.key == ours.command]
    if not found:
        return Filled(cell, None, NOT_MEASURED)
    command = exhibit.commands[found[0] - 1]
    folder = epath.Path(place_of(command, results)).expanduser()
    if isinstance(ours, Evaluated):
        value, said = _evaluated(folder / FILE, ours)
    else:
        assert exhibit.question is not None
        value, said = _analysed(folder / f"{exhibit.question.name}.json", ours)
    return Filled(cell, value, said or f"{NOT_MEASURED}: command {found[0]}")


def _evaluated(file: epath.Path, wanted: Evaluated) -> tuple[Figure | None, str]:
    """A measure and what it was measured on; nothing without the file."""
    if not file.exists():
        return None, ""
    held = read_result(file)
    if wanted.measure not in held:
        return None, f"{NOT_MEASURED}: {file} has no {wanted.measure}"
    one = held[wanted.measure]
    said = _subject(file)
    if wanted.protocol:
        off = deviations(_protocol(one["protocol"]), named(wanted.protocol).protocol)
        said += f"; not {wanted.protocol}: {'; '.join(off)}" if off else f"; {wanted.protocol}"
    return one["value"], said


def _analysed(file: epath.Path, wanted: Analysed) -> tuple[Figure | None, str]:
    if not file.exists():
        return None, ""
    held = read_json(file)
    try:
        value = wanted.take(held["numbers"].members())
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"{file}: its numbers are not those of an analysis ({error}): run it again."
        ) from error
    place, images = held["tokenizer"]["place"].text(), held["images"].integer(least=1)
    return value, f"{place}, {images:,} images"


def _subject(file: epath.Path) -> str:
    """What a result is of, in words."""
    held = read_json(file)["subject"].members()
    parts = [f"{held[name]}" for name in ("tokenizer", "generator", "samples") if name in held]
    return ", ".join([*parts, f"on {held['data']}"] if "data" in held else parts)


def _protocol(held: Mapping[str, Any]) -> Protocol:
    known = {field.name for field in fields(Protocol)}
    fitting: dict[str, Any] = {name: value for name, value in held.items() if name in known}
    fitting["options"] = tuple((name, float(value)) for name, value in dict(held.get("options", {})).items())
    return Protocol(**fitting)
