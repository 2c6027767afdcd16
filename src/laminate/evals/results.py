"""Results as files: one JSON with every figure, how it was measured, and what made it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etils import epath

from laminate.evals.set_measures import Measured
from laminate.storage.strict_json import Field, read_json
from laminate.storage.writing import write_atomically

FORMAT = 1
FILE = "evaluation.json"
OPEN = "not stated"


@dataclass(frozen=True)
class Difference:
    """A field of the protocols of one measure in which results differ, and what each has."""

    measure: str
    field: str
    values: tuple[str, ...]


def as_json(measured: Measured) -> dict[str, Any]:
    """A figure and all that it depends on."""
    return {
        "name": measured.name,
        "value": number(measured.value),
        "spread": number(measured.spread),
        "spread_over": measured.spread_over,
        "floor": number(measured.floor),
        "follows": list(measured.follows),
        "remarks": list(measured.remarks),
        "diagnostics": {name: number(value) for name, value in measured.diagnostics.items()},
        "protocol": measured.protocol.plain(),
    }


def number(value: float | None) -> float | str | None:
    """A float as JSON has it; what is not finite in words."""
    if value is None:
        return None
    return float(value) if math.isfinite(value) else repr(float(value))


def write_result(
    file: epath.Path,
    what: str,
    measured: Sequence[Measured],
    *,
    subject: Mapping[str, Any],
    software: Sequence[tuple[str, str]],
    command: str,
    more: Mapping[str, Any],
) -> None:
    """Write a result, whole or not at all. `more` is what has no protocol, such as figures of single images."""
    held = {
        "format": FORMAT,
        "what": what,
        "subject": dict(subject),
        "results": [as_json(one) for one in measured],
        **more,
        "software": dict(software),
        "command": command,
    }
    write_atomically(file, json.dumps(held, indent=2, allow_nan=False) + "\n")


def read_result(file: epath.Path) -> dict[str, dict[str, Any]]:
    """The results of a file by the names of their measures. Raises ValueError for what is none, OSError if none."""
    held = read_json(file)
    if held["format"].integer(least=1) > FORMAT:
        raise ValueError(
            f"{file} is of a later version of laminate: its format is {held['format'].integer()}."
        )
    return {one["name"].text(): _checked(one) for one in held["results"].items()}


def differences(results: Sequence[Mapping[str, dict[str, Any]]]) -> list[Difference]:
    """Where the protocols of measures that several results have are not the same."""
    found: list[Difference] = []
    for name in dict.fromkeys(name for one in results for name in one):
        protocols = [one[name]["protocol"] for one in results if name in one]
        for field in dict.fromkeys(field for protocol in protocols for field in protocol):
            values = tuple(_text(protocol.get(field)) for protocol in protocols)
            if len(set(values)) > 1:
                found.append(Difference(name, field.replace("_", " "), values))
    return found


def _checked(one: Field) -> dict[str, Any]:
    one["protocol"].members()
    return one.members()


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {held:g}" for name, held in value.items()) or OPEN
    return OPEN if value in (None, "", 0) else str(value)
