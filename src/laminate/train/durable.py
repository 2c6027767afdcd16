"""Places and contents of a run's folder: paths made whole, JSON compared, folders removed."""

import json
import logging
import os
import time
from typing import Any

from etils import epath

from laminate.storage.writing import is_local

_log = logging.getLogger(__name__)


def absolute(path: str | os.PathLike[str]) -> epath.Path:
    """`path` with the current folder and `~` resolved now: a later change of folder does not move it."""
    given = epath.Path(path)
    return epath.Path(os.path.abspath(os.path.expanduser(os.fspath(given)))) if is_local(given) else given


def plain_json(value: Any) -> Any:
    """`value` as JSON would give it back: tuples become lists. `ValueError` or `TypeError` if it cannot."""
    return json.loads(json.dumps(value, allow_nan=False))


def differences(
    saved: dict[str, Any],
    current: dict[str, Any],
    path: str = "",
    names: tuple[str, str] = ("saved", "now"),
) -> list[str]:
    """One line per field in which two JSON dictionaries differ: ``optim.rate: 0.1 (saved), 0.2 (now)``."""
    lines: list[str] = []
    for name in sorted(saved.keys() | current.keys()):
        field = f"{path}.{name}" if path else name
        old, new = saved.get(name, "absent"), current.get(name, "absent")
        if isinstance(old, dict) and isinstance(new, dict):
            lines += differences(old, new, field, names)
        elif old != new or type(old) is not type(new):
            lines.append(f"{field}: {old} ({names[0]}), {new} ({names[1]})")
    return lines


def remove_tree(place: epath.Path) -> None:
    """Deletes a folder if it is there; a writer that has just failed may still write for a moment."""
    for wait in (0.05, 0.2, 0.5, 0.0):
        try:
            place.rmtree()
        except FileNotFoundError:
            if not place.exists():
                return
        except OSError as error:
            if not wait:
                _log.warning("%s could not be removed (%s); remove it to free its space", place, error)
        else:
            return
        time.sleep(wait)
