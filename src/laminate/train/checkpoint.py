"""Checkpoints that are whole or not there: the one adapter over `orbax.checkpoint.v1`.

Orbax writes and reads the arrays (sharded, asynchronous, through a temporary folder). Its `Checkpointer` is
not used, only `save_async` and `load`, because its list of steps believes in folders (an empty one, a
half-deleted one, a failing save of the older interface) and it skips a save without a word. Here a step
exists when ``manifest.json`` stands in its folder, which is written last and removed first. The file also
holds the fingerprint of every array, as Orbax restores a flipped bit silently, and every dtype, as Orbax
casts silently.

On a disk, everything is made visible by rename. In an object store (``gs://``) Orbax marks the complete
array folder with a file of its own, and the manifest is one put, so the same order of events holds without
any rename.

With several processes all of them call the same methods in the same order; only the one with `primary`
touches manifests and deletes. The host functions `barrier` and `any_host` come from outside.
"""

import contextlib
import logging
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from os import PathLike
from types import TracebackType
from typing import Any, NamedTuple

import jax
from etils import epath

from laminate.storage.writing import cause
from laminate.train.array_store import load_arrays, restored_like, save_arrays
from laminate.train.durable import absolute, differences, plain_json, remove_tree
from laminate.train.fingerprint import Started, named_leaves, read_fingerprints, start_fingerprints
from laminate.train.manifest import (
    CheckpointError,
    CheckpointManifest,
    DamagedCheckpoint,
    Differences,
    Leaf,
    check_files,
    check_fingerprints,
    check_leaves,
    check_recipe,
    damaged,
    is_complete,
    make_room,
    read_manifest,
    remove_checkpoint,
    remove_leftovers,
    seal_files,
    step_of,
    write_manifest,
)
from laminate.train.retention import best_steps, kept_steps

_log = logging.getLogger(__name__)


class Restored(NamedTuple):
    """What a checkpoint gives back: the state, the position in the data, and the step."""

    state: Any
    position: dict[str, Any]
    step: int


@dataclass
class _Pending:
    step: int
    future: Future[None]


class Checkpoints:
    """The checkpoints in one folder, ``<folder>/<step>/``.

    `recipe` is stored in every checkpoint and compared at restore by `differences(saved, current)`; None
    compares nothing (for readers). Kept are the newest `keep_last`, the `keep_best` of lowest metric, and
    the steps of `protect`. Opening a folder changes nothing in it, so a reader may look at a run that goes
    on.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        *,
        recipe: dict[str, Any] | None,
        keep_last: int = 2,
        keep_best: int = 1,
        protect: frozenset[int] = frozenset(),
        differences: Differences = differences,
        primary: bool = True,
        barrier: Callable[[str], None] = lambda name: None,
        any_host: Callable[[bool], bool] = lambda flag: flag,
    ):
        self.folder = absolute(folder)
        self.failures = 0
        self._recipe = None if recipe is None else plain_json(recipe)
        self._keep_last, self._keep_best, self._protect = keep_last, keep_best, protect
        self._differences = differences
        self._primary, self._barrier, self._any_host = primary, barrier, any_host
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: _Pending | None = None
        self._failure: CheckpointError | None = None
        self._sound: set[int] = set()  # written or verified by this object
        self._unsound: set[int] = set()  # found damaged by this object
        self._clean = False

    def steps(self) -> list[int]:
        """The steps of all complete checkpoints, oldest first, less those this object found damaged."""
        if not self.folder.exists():
            return []
        listed = {step for entry in self.folder.iterdir() if (step := step_of(entry.name)) is not None}
        return sorted(step for step in listed - self._unsound if is_complete(self._place(step)))

    def latest(self) -> int | None:
        """The newest step, or None."""
        return max(self.steps(), default=None)

    def best(self) -> int | None:
        """The step of lowest metric; the newest one if none has a metric; None if there is no checkpoint."""
        metrics = self._metrics()
        return next(iter(best_steps(metrics)), max(metrics, default=None))

    def save(
        self,
        step: int,
        state: Any,
        *,
        position: dict[str, Any],
        metric: float | None = None,
        wait: bool = False,
    ) -> bool:
        """Starts to write `state`; returns whether the checkpoint of `step` is written or on its way.

        The arrays are safe in host memory when this returns, so the caller may donate them. While an earlier save is
        still running, this one is skipped, logged, and False is returned; with `wait` it waits for the earlier one,
        and for its own end. A step that this object wrote or restored already is not written again.

        A failed save (a full disk) removes what it wrote, leaves the earlier checkpoints, is logged at the
        latest at the next call, and counts in `failures`, which a save that succeeds sets back to 0. With
        `wait` it raises `CheckpointError`. Raises `ValueError` for a leaf that is no JAX array.
        """
        self.settle()
        if self._any_host(self._pending is not None):
            if not wait:  # all agreed on it, so one says it
                level = logging.WARNING if self._primary else logging.DEBUG
                _log.log(level, "step %d: checkpoint skipped, the earlier one is still being written", step)
                return False
            self._finish()
        if not self._clean:
            self.clean_up()
        started = not self._any_host(step not in self._sound or not is_complete(self._place(step)))
        if not started:
            started = self._start(step, state, plain_json(position), metric)
        if wait:
            self.wait()
        return started

    def settle(self) -> int:
        """Takes note of a save that has ended, without waiting; returns `failures`. Cheap: poll it."""
        if self._pending is not None and self._pending.future.done():
            self._finish()
        return self.failures

    def wait(self) -> None:
        """Waits until the save that runs is complete. Raises `CheckpointError` if the last save failed."""
        self._finish()
        self._barrier("checkpoint")
        failure, self._failure = self._failure, None
        if self._any_host(failure is not None):
            raise failure or CheckpointError(
                f"another process could not write its part of a checkpoint in {self.folder}"
            )

    def close(self) -> None:
        """`wait`, and ends the background thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def restore(self, step: int, like: Any, *, within: str = "") -> Restored:
        """The checkpoint of `step`, on the shardings of `like`, bit for bit what was saved.

        `like` has the structure of the state with a `jax.ShapeDtypeStruct` (or an array) for each leaf;
        without a sharding, the first local device is taken. `within`, such as ``.ema``, restores only the
        part of the state under that path, and `like` is that part.

        Raises `FileNotFoundError` if the step is not there, `DamagedCheckpoint` if a file or a value is not
        what was written, `MismatchedCheckpoint` if the recipe, a leaf's name, shape or dtype differs.
        Nothing is cast.
        """
        self._finish()
        complete = self.steps()
        if step not in complete:
            raise FileNotFoundError(f"no checkpoint of step {step} in {self.folder}; there are: {complete}")
        place = self._place(step)
        manifest = read_manifest(place)
        check_recipe(place, manifest.recipe, self._recipe, self._differences)
        wanted = {within + name: restored_like(leaf) for name, leaf in named_leaves(like).items()}
        saved = {name: leaf for name, leaf in manifest.leaves.items() if name.startswith(within)}
        check_leaves(place, saved, {name: (leaf.shape, str(leaf.dtype)) for name, leaf in wanted.items()})
        loaded = self._load(place, manifest, wanted)
        check_fingerprints(place, saved, read_fingerprints(start_fingerprints(loaded)))
        self._sound.add(step)
        state = jax.tree.unflatten(jax.tree.structure(like), [loaded[name] for name in wanted])
        return Restored(state, manifest.position, step)

    def restore_newest_good(self, like: Any, *, within: str = "") -> Restored:
        """The newest checkpoint that is not damaged; the damaged ones are named in the log and left where
        they are.

        Raises `FileNotFoundError` if there is no checkpoint, `DamagedCheckpoint` if all are damaged, and
        `MismatchedCheckpoint` as `restore` does.
        """
        last_error: DamagedCheckpoint | None = None
        for step in reversed(self.steps()):
            try:
                return self.restore(step, like, within=within)
            except DamagedCheckpoint as error:
                _log.warning("step %d is passed over: %s", step, error)
                self._unsound.add(step)
                last_error = error
        if last_error is not None:
            raise last_error
        raise FileNotFoundError(f"no complete checkpoint in {self.folder}")

    def clean_up(self) -> None:
        """Removes what killed saves and deletions left behind; the first `save` does it if nobody did before.

        Only folders that this class makes are removed. Call it only where no other process writes into the
        folder.
        """
        self._finish()
        self._clean = True
        if self._primary and self.folder.exists():
            remove_leftovers(self.folder)

    def _place(self, step: int) -> epath.Path:
        return self.folder / str(step)

    def _load(
        self, place: epath.Path, manifest: CheckpointManifest, wanted: dict[str, jax.ShapeDtypeStruct]
    ) -> dict[str, jax.Array]:
        """The arrays, seen to be readable by all processes before any of them goes on to compare values."""
        loaded, failure = dict[str, jax.Array](), None
        try:
            check_files(place, manifest)
            loaded = load_arrays(place, wanted)
        except DamagedCheckpoint as error:
            failure = error
        if self._any_host(failure is not None):
            raise failure or damaged(place, "another process cannot read its part")
        return loaded

    def _start(self, step: int, state: Any, position: dict[str, Any], metric: float | None) -> bool:
        leaves = named_leaves(state)
        fingerprints = start_fingerprints(leaves)
        place = self._place(step)
        try:
            if self._primary:
                make_room(place)
            arrays_written = save_arrays(place, leaves)
        except OSError as error:
            self._note_failure(step, error)
            return False
        manifest = CheckpointManifest(
            step=step,
            metric=metric if metric is not None and math.isfinite(metric) else None,
            position=position,
            recipe=self._recipe,
            leaves={name: Leaf(x.shape, str(x.dtype), 0) for name, x in leaves.items()},
            files={},
        )
        future = self._thread.submit(self._commit, arrays_written, manifest, fingerprints)
        self._pending = _Pending(step, future)
        return True

    def _commit(self, written: Callable[[], None], manifest: CheckpointManifest, started: Started) -> None:
        """In the background: waits for the arrays, makes them a checkpoint, deletes those that must go."""
        place = self._place(manifest.step)
        with contextlib.ExitStack() as undo:
            undo.callback(self._free, manifest.step)
            found = read_fingerprints(started)
            written()
            if self._primary:
                leaves = {n: replace(leaf, fingerprint=found[n]) for n, leaf in manifest.leaves.items()}
                write_manifest(place, replace(manifest, leaves=leaves, files=seal_files(place)))
            undo.pop_all()
        if self._primary:
            self._retain()

    def _free(self, step: int) -> None:
        """Gives back the space of a save that failed."""
        if self._primary:
            for entry in list(self.folder.glob(f"{step}.orbax-checkpoint-tmp*")):
                remove_tree(entry)
            remove_checkpoint(self._place(step))

    def _finish(self) -> None:
        """Waits for the save that runs and takes note of how it ended."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        error = pending.future.exception()
        if error is not None:
            self._note_failure(pending.step, error)
            return
        self.failures = 0
        self._failure = None
        self._sound.add(pending.step)
        self._unsound.discard(pending.step)

    def _note_failure(self, step: int, error: BaseException) -> None:
        self.failures += 1
        self._failure = CheckpointError(
            f"the checkpoint of step {step} was not written to {self.folder}: {cause(error)}; free space or "
            f"mend the folder. Complete earlier steps: {self.steps()}"
        )
        self._failure.__cause__ = error
        _log.error("%s", self._failure)

    def _metrics(self) -> dict[int, float | None]:
        metrics: dict[int, float | None] = {}
        for step in self.steps():
            try:
                metrics[step] = read_manifest(self._place(step)).metric
            except CheckpointError:
                metrics[step] = None
        return metrics

    def _retain(self) -> None:
        metrics = self._metrics()
        kept = kept_steps(
            metrics, keep_last=self._keep_last, keep_best=self._keep_best, protect=self._protect
        )
        for step in sorted(metrics.keys() - kept):
            try:
                remove_checkpoint(self._place(step))
            except OSError as error:
                _log.warning("step %d could not be removed: %s", step, error)
