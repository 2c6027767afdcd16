"""What `analyse.py` leaves of each answer: NAME.json with all numbers, NAME.png, and one page of all of them."""

import json
import math
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from laminate.analysis.report import Picture, Report, write_report
from laminate.runs.analyses.subject import Finding, Seen, Subject
from laminate.runs.find_checkpoint import run_of
from laminate.runs.provenance import provenance
from laminate.storage.strict_json import read_json
from laminate.storage.writing import make_folder, write_atomically

FORMAT = 1


def default_folder(asked: Path | None, run: str) -> epath.Path:
    """The folder asked for; else `analysis` in the run, if it is one here; else here."""
    if asked is not None:
        return epath.Path(asked).expanduser()
    place = Path(os.path.expanduser(run_of(run)[0]))
    return epath.Path(place / "analysis" if place.is_dir() else "analysis")


def write_finding(out: epath.Path, name: str, found: Finding, subject: Subject, seen: Seen) -> None:
    """Its picture and further files, then its numbers: a JSON is there once all of it is."""
    make_folder(out)
    found.draw(out / f"{name}.png")
    for file, write in found.files.items():
        write(out / file)
    held = {
        "format": FORMAT,
        "what": name,
        "summary": found.summary,
        "remarks": list(found.remarks),
        "tokenizer": {"place": subject.name, "sha256": subject.loaded.identity.sha256},
        "images": seen.count,
        "numbers": plain(found.numbers),
        "software": dict(provenance(None)),
        "command": f"python {shlex.join(sys.argv)}",
    }
    write_atomically(out / f"{name}.json", json.dumps(held, allow_nan=False) + "\n")


def write_page(out: epath.Path, subject: Subject, order: tuple[str, ...]) -> epath.Path:
    """report.html of all answers that lie in the folder and are of this tokenizer."""
    pictures: list[Picture] = []
    for name in order:
        file = out / f"{name}.json"
        if not file.exists():
            continue
        held = read_json(file)
        if held["tokenizer"]["sha256"].text() == subject.loaded.identity.sha256:
            pictures.append(
                Picture(f"{name}.png", name.replace("-", " ").capitalize(), held["summary"].text())
            )
    return write_report(
        out,
        Report(
            title=f"Analysis of {subject.loaded.identity.name}",
            summary="Each answer has its numbers in a JSON beside this page.",
            headlines=(),
            facts=(("tokenizer", f"{subject.name}: {subject.loaded.identity}"), *provenance(None)),
            command=f"python {shlex.join(sys.argv)}",
            pictures=tuple(pictures),
            files=tuple((f"{picture.file.removesuffix('.png')}.json", picture.title) for picture in pictures),
        ),
    )


def plain(value: Any) -> Any:
    """Arrays and numbers as JSON has them; what is not finite in words."""
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    return value
