"""The folder of one run: ``recipe.json``, ``metrics.jsonl``, ``checkpoints/<step>/``, ``lock``, the report.

On a disk, metrics are appended and flushed line by line, and the lock is the kernel's: it ends with the
process, however that ends, so a lock file left behind by a dead process locks nothing. An object store can
neither append nor lock: there, the metrics are written again as a whole at most every 30 seconds and at the
end, and nothing stops two processes from training in one folder.
"""

import fcntl
import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from etils import epath

from laminate.storage.strict_json import JsonError, parse_json, read_json
from laminate.storage.writing import UnwritableError, cause, is_local, open_own, write_atomically, writing
from laminate.train.durable import absolute, differences, plain_json

_log = logging.getLogger(__name__)
_OWN_NAMES = {
    "recipe.json",
    "recipe.json.partial",
    "metrics.jsonl",
    "metrics.jsonl.partial",
    "lock",
    "checkpoints",
}
_REMOTE_EVERY = 30.0  # seconds between two writes of the metrics to an object store

Differences = Callable[[dict[str, Any], dict[str, Any]], list[str]]


class RunFolder:
    """One run's folder. `open` it before training, `close` it after; or use it as a context manager once
    opened.

    `primary=False` (every process but the first) makes `open`, `log` and `close` do nothing.
    """

    def __init__(self, path: str | os.PathLike[str], *, primary: bool = True):
        self.path = absolute(path)
        self.recipe_path = self.path / "recipe.json"
        self.metrics_path = self.path / "metrics.jsonl"
        self.checkpoints_path = self.path / "checkpoints"
        self._primary = primary
        self._lock: int | None = None
        self._lines: list[str] = []  # the whole of metrics.jsonl, kept for an object store only
        self._written = -math.inf
        self._unwritten: list[str] = []  # lines for which there was no room
        self.failure: UnwritableError | None = None

    def open(
        self, recipe: dict[str, Any], *, fresh: bool = False, differences: Differences = differences
    ) -> None:
        """Makes the folder ready for a run of `recipe`, and locks it.

        With `fresh`, an earlier run in the folder is first moved to ``<folder>.previous``, in place of what
        was there. `differences(saved, current)` names the fields in which two recipes differ in a way that
        matters.

        Raises `OSError` if the folder cannot be written or another process trains in it, `ValueError` if it
        holds a run of another recipe or, with `fresh`, if it holds something else than a run.
        """
        if not self._primary:
            return
        recipe = plain_json(recipe)
        self._create_and_lock()
        try:
            if fresh and self._move_away():
                self._create_and_lock()
            if self.recipe_path.exists():
                self._check_recipe(recipe, differences)
            else:
                write_atomically(self.recipe_path, json.dumps(recipe, indent=2) + "\n")
            self._lines = [] if is_local(self.path) else self._read_metrics()
        except BaseException:
            self.close()
            raise

    def holder(self) -> str:
        """What the process that trains in this folder wrote into its lock; "" if it never had one."""
        lock = self.path / "lock"
        return lock.read_bytes().decode("utf-8", "replace") if lock.exists() else ""

    def read_recipe(self) -> dict[str, Any]:
        """The recipe of the run. Raises `FileNotFoundError` or `ValueError` if there is none to read."""
        if not self.recipe_path.exists():
            raise FileNotFoundError(
                f"{self.path} is no run folder: it holds no recipe.json; give the folder of a run"
            )
        try:
            return read_json(self.recipe_path).members()
        except JsonError as error:
            raise ValueError(
                f"{self.recipe_path} is damaged ({error.within(self.recipe_path)}); restore it from a copy, or "
                "start over with --fresh"
            ) from error

    def rewind_metrics(self, step: int) -> None:
        """Drops the metrics after `step`, the restored one, so that the file will hold each step once."""
        if not self._primary:
            return
        lines = [line for line in self._read_metrics() if _step_of_line(line) <= step]
        write_atomically(self.metrics_path, "".join(lines))
        self._lines = [] if is_local(self.path) else lines

    def log(self, step: int, values: Mapping[str, float | int | str]) -> None:
        """Appends one line ``{"step": step, ...}`` to the metrics; a NaN or an infinity becomes null.

        A disk that is full raises nothing, since the state is not saved yet: `failure` then says so, and the line is
        written with the next one.
        """
        if not self._primary:
            return
        finite = {name: None if _is_not_finite(value) else value for name, value in values.items()}
        self._unwritten.append(json.dumps({"step": step, **finite}, allow_nan=False) + "\n")
        if is_local(self.path):
            self._append()
            return
        self._lines, self._unwritten = self._lines + self._unwritten, []
        if time.monotonic() - self._written > _REMOTE_EVERY:
            self._write_remote_metrics()

    def _append(self) -> None:
        """Lines that do not fit stay in memory for the next call, and `failure` says why."""
        try:
            with writing(self.metrics_path):
                _append(self.metrics_path, "".join(self._unwritten).encode())
        except UnwritableError as error:
            self.failure = error
        else:
            self._unwritten, self.failure = [], None

    def close(self) -> None:
        """Writes what is not written yet, if it can be, and lets the next process in."""
        if self._unwritten:
            self._append()
        if self._lines and not is_local(self.path):
            self._write_remote_metrics()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_remote_metrics(self) -> None:
        try:
            write_atomically(self.metrics_path, "".join(self._lines))
        except UnwritableError as error:
            self.failure = error
        else:
            self.failure = None
        self._written = time.monotonic()

    def _create_and_lock(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not is_local(self.path):
                (self.path / "lock").write_text(f"{os.getpid()}\n")
                return
            lock = open_own(self.path / "lock")
        except OSError as error:
            raise OSError(
                f"cannot write to the run folder {self.path}: {cause(error)}; choose another folder, or make this one "
                "writable"
            ) from error
        self._take_lock(lock)

    def _take_lock(self, lock: int) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(lock, 64, 0).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise OSError(
                f"process {owner} trains in {self.path} already; wait for it, stop it, or choose another "
                "folder"
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        if self._lock is not None:
            os.close(self._lock)
        self._lock = lock

    def _read_metrics(self) -> list[str]:
        """The lines that are there; what is no text, a disk's or an editor's doing, does not stop a run."""
        if not self.metrics_path.exists():
            return []
        text = self.metrics_path.read_bytes().decode("utf-8", "replace")
        return [line + "\n" for line in text.split("\n") if line]

    def _move_away(self) -> bool:
        """Moves the run in the folder, if there is one, to its place of safety; returns whether there was."""
        previous = self.path.with_name(self.path.name + ".previous")
        for folder in (self.path, previous):
            foreign = _foreign_name(folder)
            if foreign:
                raise ValueError(
                    f"--fresh: {folder} is no run folder (it has no recipe.json but {foreign!r}); nothing "
                    "was removed; choose another run folder, or move that one yourself"
                )
        if {entry.name for entry in self.path.iterdir()} == {"lock"}:
            return False
        if previous.exists():
            previous.rmtree()
        self.path.rename(previous)
        _log.warning("the earlier run was moved to %s", previous)
        return True

    def _check_recipe(self, recipe: dict[str, Any], differences: Differences) -> None:
        lines = differences(self.read_recipe(), recipe)
        if lines:
            raise ValueError(
                f"{self.path} holds a run of another recipe: {'; '.join(lines)}; give the same recipe, "
                "choose another run folder, or start over with --fresh"
            )


def _foreign_name(folder: epath.Path) -> str:
    """A name in `folder` that shows it to be no run folder; "" for a run, and for an empty or absent one."""
    names = {entry.name for entry in folder.iterdir()} if folder.exists() else set[str]()
    return "" if "recipe.json" in names else min(names - _OWN_NAMES, default="")


def _is_not_finite(value: float | int | str) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _step_of_line(line: str) -> int | float:
    """The step of a line of metrics; infinity for a line that a killed process left incomplete."""
    try:
        entry = parse_json(line, "")
    except JsonError:
        return math.inf
    step = entry.get("step") if isinstance(entry, dict) else None
    return step if type(step) is int else math.inf


def _append(path: epath.Path, data: bytes) -> None:
    """Append all of `data` to the file, or nothing. Raises OSError."""
    descriptor = open_own(path, append=True)
    try:
        size = os.fstat(descriptor).st_size
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
