"""The training loop. It knows steps, logs, validations and checkpoints, and nothing of what is trained."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jaxtyping import Array, PyTree

from laminate.storage.writing import UnwritableError
from laminate.train.checkpoint import Checkpoints
from laminate.train.manifest import CheckpointError
from laminate.train.progress import Progress
from laminate.train.run_folder import RunFolder
from laminate.train.signals import StopRequest
from laminate.train.state import TrainState
from laminate.train.trackers import Trackers
from laminate.types import Metrics

TIMED = 2  # first steps of a process that are waited for: one that compiles, one that does not
MOST_FAILED_SAVES = 2  # one may be passing (a full disk that somebody clears), two in a row are not


class DivergedError(ArithmeticError):
    """The loss or its gradient is no longer finite: `found` says where, and what is saved; `advice` what to do."""

    def __init__(self, found: str, advice: str):
        super().__init__(f"{found} {advice}")
        self.found, self.advice = found, advice


class OutOfMemory(MemoryError):
    """A step does not fit the memory of a device; says what to ask for instead."""


@dataclasses.dataclass(frozen=True)
class LoopPlan:
    """How long, and what happens every so many completed updates. `extra_saves` are steps with a checkpoint too.

    `validate` returns the host's metrics, of which `metric` (the lowest, or the `highest`) chooses the best checkpoint,
    or None if it was asked to stop. `position` says where in the data a step is. `profile` is a first and a last step.
    `stop_after` is a step at which to leave before the end, None for none. `also_validate` says of a step between the
    validations that something is due there. `timed` is told the seconds of the second step of this process: the first
    one compiles as well.
    """

    steps: int
    log_every: int
    validate_every: int
    checkpoint_every: int
    validate: Callable[[TrainState], dict[str, float] | None]
    position: Callable[[int], dict[str, Any]]
    learning_rate: Callable[[int], float]
    metric: str = "val/loss"
    highest: bool = False
    extra_saves: frozenset[int] = frozenset()
    profile: tuple[int, int] | None = None
    stop_after: int | None = None
    also_validate: Callable[[int], bool] = lambda step: False
    timed: Callable[[float], None] = lambda seconds: None

    @property
    def last(self) -> int:
        """The step at which this process leaves."""
        return self.steps if self.stop_after is None else min(self.steps, self.stop_after)


@dataclasses.dataclass(frozen=True)
class Sinks:
    """Where a run's results go. `checkpoints` is None in a run that keeps none."""

    folder: RunFolder
    checkpoints: Checkpoints | None
    progress: Progress
    trackers: Trackers

    def write(self, step: int, values: dict[str, float]) -> None:
        self.folder.log(step, values)
        self.trackers.log(step, values)


def fit(
    step: Callable[[TrainState, PyTree, dict[str, Array]], tuple[TrainState, Metrics]],
    state: TrainState,
    frozen: PyTree,
    batches: Iterator[dict[str, Array]],
    *,
    plan: LoopPlan,
    sinks: Sinks,
    stop: StopRequest,
) -> TrainState:
    """Train from `state.step` to `plan.last`, or until `stop` is requested; what was reached is saved either way.

    The device works on the next step while the host looks at an earlier one: metrics are read one step late, and
    only those that are logged.

    With several hosts, all of them run this in step: `stop` is one for all, and so is every save. From the end of the
    first step there is something unsaved, and `stop` knows it.

    Raises `DivergedError` at a loss or gradient that is not finite, `CheckpointError` if checkpoints cannot be
    written; both name the last good checkpoint.
    """
    first = done = saved = int(state.step)
    log = _Log(plan, sinks)
    metrics: Metrics = {}
    while done < plan.last and not stop.poll():
        _profile(plan, sinks, done)
        batch = next(batches)
        if done - first < TIMED:
            state, metrics = _timed(step, state, frozen, batch, done - first, plan=plan, log=log, sinks=sinks)
            stop.unsaved = True
        else:
            state, metrics = step(state, frozen, batch)
        done += 1
        log.flush()
        sinks.progress.at(done)
        if done % plan.log_every == 0 or done == plan.steps:
            log.hold(done, metrics)
        if sinks.folder.failure is not None:
            stop.received = stop.received or "a full disk"
        validating = done % plan.validate_every == 0 or done == plan.steps or plan.also_validate(done)
        saving = done % plan.checkpoint_every == 0 or done == plan.steps or done in plan.extra_saves
        if validating or saving:
            with log.pause():
                _require_finite(done, metrics, sinks)
                values = _validate(state, done, plan, sinks) if validating else None
                if saving and not stop.requested:
                    wait = done == plan.steps
                    saved = done if _save(state, done, values, plan, sinks, wait=wait) else saved
    log.flush()
    _end_profile(plan, first, done)
    if done != saved:
        _require_finite(done, metrics, sinks)
        _save(state, done, None, plan, sinks, wait=True)
    if sinks.checkpoints is not None:
        sinks.checkpoints.wait()
    if sinks.folder.failure is not None:
        raise UnwritableError(f"{sinks.folder.failure}. {_last_good(sinks)}")
    return state


def _timed(
    step: Callable[..., tuple[TrainState, Metrics]],
    state: TrainState,
    frozen: PyTree,
    batch: dict[str, Array],
    number: int,
    *,
    plan: LoopPlan,
    log: "_Log",
    sinks: Sinks,
) -> tuple[TrainState, Metrics]:
    """One of the first steps, waited for. That of `number` 0 compiles, which is left out of every other time."""
    began = time.perf_counter()
    with sinks.progress.compiling() if number == 0 else contextlib.nullcontext():
        state, metrics = step(state, frozen, batch)
        jax.block_until_ready(state.step)
    if number == 0:
        log.restart()
        sinks.progress.restart(int(state.step))
    else:
        plan.timed(time.perf_counter() - began)
    return state, metrics


class _Log:
    """Metrics on their way from the device to the log, and the wall time that belongs to training."""

    def __init__(self, plan: LoopPlan, sinks: Sinks):
        self._plan, self._sinks = plan, sinks
        self._held: tuple[int, Metrics] | None = None
        self._since = time.perf_counter()

    def restart(self) -> None:
        """What came before does not count as training."""
        self._since = time.perf_counter()

    def hold(self, step: int, metrics: Metrics) -> None:
        self._held = (step, metrics)

    def flush(self) -> None:
        if self._held is None:
            return
        (step, metrics), self._held = self._held, None
        read = {f"train/{name}": float(value) for name, value in jax.device_get(metrics).items()}
        _check(step, read, self._sinks)
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        read["train/lr"] = float(self._plan.learning_rate(step - 1))
        self._sinks.progress.log(step, read, seconds=seconds)
        self._sinks.write(step, read)

    def pause(self) -> "_Pause":
        """Time spent inside does not count as training; what is held is written first."""
        self.flush()
        return _Pause(self)

    def shift(self, seconds: float) -> None:
        self._since += seconds


class _Pause:
    def __init__(self, log: _Log):
        self._log = log

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._log.shift(time.perf_counter() - self._began)


def _require_finite(step: int, metrics: Metrics, sinks: Sinks) -> None:
    _check(
        step, {name: float(metrics[name]) for name in metrics if name.endswith(("loss", "grad_norm"))}, sinks
    )


def _check(step: int, values: dict[str, float], sinks: Sinks) -> None:
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise DivergedError(
            f"{', '.join(bad)} not finite at step {step}. {_last_good(sinks)}",
            "Lower the learning rate or clip the gradient harder: --restore begins another run with a checkpoint of "
            "this one.",
        )


def _last_good(sinks: Sinks) -> str:
    if sinks.checkpoints is None:
        return "This run keeps no checkpoints."
    with contextlib.suppress(CheckpointError):  # one may be on its way
        sinks.checkpoints.wait()
    latest = sinks.checkpoints.latest()
    if latest is None:
        return "There is no checkpoint yet."
    return f"The last good checkpoint is {sinks.checkpoints.folder / str(latest)}."


def _validate(state: TrainState, step: int, plan: LoopPlan, sinks: Sinks) -> dict[str, float] | None:
    values = plan.validate(state)
    if values is not None:
        sinks.write(step, values)
        terms = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        sinks.progress.note(f"step {step}  {terms}")
    return values


def _save(
    state: TrainState, step: int, values: dict[str, float] | None, plan: LoopPlan, sinks: Sinks, *, wait: bool
) -> bool:
    """Whether the checkpoint is written or on its way; True in a run that keeps none."""
    checkpoints = sinks.checkpoints
    if checkpoints is None:
        return True
    metric = None if values is None else values.get(plan.metric)
    if metric is not None and plan.highest:
        metric = -metric  # checkpoints are ranked from the lowest
    failures = checkpoints.failures
    started = checkpoints.save(step, state, position=plan.position(step), metric=metric, wait=wait)
    if (
        not started and checkpoints.failures == failures
    ):  # an earlier one is still being written, and none may be lost
        with contextlib.suppress(CheckpointError):
            checkpoints.wait()
        started = checkpoints.save(step, state, position=plan.position(step), metric=metric, wait=wait)
    if checkpoints.failures >= MOST_FAILED_SAVES:
        raise CheckpointError(
            f"{checkpoints.failures} checkpoints in a row could not be written to {checkpoints.folder}. "
            f"{_last_good(sinks)} Free some space and run the same command again."
        )
    return started


def _profile(plan: LoopPlan, sinks: Sinks, step: int) -> None:
    if plan.profile is None:
        return
    if step == plan.profile[0]:
        jax.profiler.start_trace(str(sinks.folder.path / "profile"))
    elif step == plan.profile[1]:
        jax.profiler.stop_trace()


def _end_profile(plan: LoopPlan, first: int, done: int) -> None:
    if plan.profile is not None and first <= plan.profile[0] < done <= plan.profile[1]:
        jax.profiler.stop_trace()
