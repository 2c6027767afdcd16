"""The loop: when it logs, validates, saves and stops, with a step that only counts."""

import io
import json
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console

from laminate.storage.writing import UnwritableError
from laminate.train import loop
from laminate.train.checkpoint import Checkpoints
from laminate.train.loop import DivergedError, LoopPlan, Sinks, fit
from laminate.train.manifest import CheckpointError
from laminate.train.progress import Progress
from laminate.train.run_folder import RunFolder
from laminate.train.signals import StopRequest
from laminate.train.state import TrainState
from laminate.train.trackers import Trackers


class Reads(dict):
    """Metrics that note when the host takes them."""

    taken: list[str]

    def note(self) -> None:
        self.taken.append("read")


def _flatten(metrics: Reads) -> tuple[list[Any], tuple[str, ...]]:
    metrics.note()
    return list(metrics.values()), tuple(metrics)


jax.tree_util.register_pytree_node(
    Reads, _flatten, lambda names, values: dict(zip(names, values, strict=True))
)


class Saves(Checkpoints):
    """Checkpoints that only note what they were asked to write."""

    def __init__(self, folder: Any, *, failing: bool = False, skipping: tuple[int, ...] = ()) -> None:
        super().__init__(folder, recipe=None)
        self.made: list[tuple[int, float | None, dict[str, Any]]] = []
        self.failing, self.skipping, self.waited = failing, skipping, 0

    def steps(self) -> list[int]:
        return [step for step, _, _ in self.made]

    def save(self, step: int, state: Any, *, position: Any, metric: Any = None, wait: bool = False) -> bool:
        if self.failing:
            self.failures += 1
            return False
        if step in self.skipping and not wait:
            return False
        self.made.append((step, metric, position))
        return True

    def wait(self) -> None:
        self.waited += 1


class Run:
    """One training with a counting step; `events` is what happened, in order."""

    def __init__(
        self, folder: Any, *, losses: dict[int, float] | None = None, stop_at: int = -1, **options: Any
    ):
        self.events: list[str] = []
        self.stop = StopRequest()
        self.losses, self.stop_at = losses or {}, stop_at
        self.checkpoints = options.pop("checkpoints", None) or Saves(folder)
        start = options.pop("start", 0)
        self.state = TrainState({"w": jnp.zeros(())}, {}, (), None, jnp.int32(start), jax.random.key(0))
        plan = {"steps": 10, "log_every": 4, "validate_every": 100, "checkpoint_every": 100} | options
        self.plan = LoopPlan(
            validate=lambda state: self._validate(),
            position=lambda step: {"row": 8 * step},
            learning_rate=lambda step: step / 10,
            **plan,
        )
        self.said = io.StringIO()
        progress = Progress(10, global_batch_size=8, console=Console(file=self.said, width=200))
        self.folder = RunFolder(folder)
        self.folder.open({})
        self.sinks = Sinks(self.folder, self.checkpoints, progress, Trackers([], lambda text: None))

    def fit(self) -> TrainState:
        with self.folder:
            return fit(
                self._step,
                self.state,
                None,
                iter([{}] * 50),
                plan=self.plan,
                sinks=self.sinks,
                stop=self.stop,
            )

    def _step(self, state: TrainState, frozen: Any, batch: Any) -> tuple[TrainState, Any]:
        number = int(state.step) + 1
        self.events.append(f"step {number}")
        self.stop.requested = self.stop.requested or number == self.stop_at
        loss = self.losses.get(number, 1.0 / number)
        metrics = Reads(loss=jnp.float32(loss), grad_norm=jnp.float32(1.0))
        metrics.taken = self.events
        return TrainState(state.params, {}, (), None, state.step + 1, state.key), metrics

    def _validate(self) -> dict[str, float] | None:
        self.events.append("validate")
        return None if self.stop.requested else {"val/loss": 0.5}

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.folder.metrics_path.read_text().splitlines()]


def test_metrics_are_logged_at_their_steps_with_the_rate_that_made_them(tmp_path):
    run = Run(tmp_path / "run")
    assert int(run.fit().step) == 10
    training = [line for line in run.lines() if "train/loss" in line]
    assert [line["step"] for line in training] == [4, 8, 10]
    assert [line["train/loss"] for line in training] == pytest.approx([1 / 4, 1 / 8, 1 / 10])
    assert [line["train/lr"] for line in training] == pytest.approx([0.3, 0.7, 0.9])


def test_the_host_reads_only_what_it_logs_and_one_step_late(tmp_path, monkeypatch):
    run = Run(tmp_path / "run")
    monkeypatch.setattr(loop, "_require_finite", lambda step, metrics, sinks: run.events.append("read"))
    run.fit()
    before_the_end = run.events[: run.events.index("step 10")]
    # One device_get walks over the metrics more than once.
    before_the_end = [
        event
        for last, event in zip(["", *before_the_end], before_the_end, strict=False)
        if (last, event) != ("read", "read")
    ]
    steps = [f"step {i}" for i in range(1, 10)]
    assert before_the_end == [*steps[:5], "read", *steps[5:9], "read"]


def test_checkpoints_keep_their_cadence_and_the_extra_steps(tmp_path):
    run = Run(tmp_path / "run", checkpoint_every=4, validate_every=8, extra_saves=frozenset({3, 5}))
    run.fit()
    assert run.checkpoints.made == [
        (3, None, {"row": 24}),
        (4, None, {"row": 32}),
        (5, None, {"row": 40}),
        (8, 0.5, {"row": 64}),
        (10, 0.5, {"row": 80}),
    ]
    assert [line["step"] for line in run.lines() if "val/loss" in line] == [8, 10]
    assert run.checkpoints.waited


def test_a_run_starts_where_its_state_is_and_a_complete_one_does_nothing(tmp_path):
    run = Run(tmp_path / "run", start=7)
    run.fit()
    assert [event for event in run.events if event.startswith("step")] == ["step 8", "step 9", "step 10"]
    done = Run(tmp_path / "done", start=10)
    done.fit()
    assert done.events == [] and done.checkpoints.made == []


def test_a_stop_request_saves_what_was_reached_and_leaves(tmp_path):
    run = Run(tmp_path / "run", stop_at=5)
    assert int(run.fit().step) == 5
    assert run.checkpoints.made == [(5, None, {"row": 40})]
    assert [line["step"] for line in run.lines()] == [4]


def test_a_stop_during_validation_saves_once(tmp_path):
    run = Run(tmp_path / "run", stop_at=6, validate_every=6, checkpoint_every=6)
    run.fit()
    assert run.checkpoints.steps() == [6] and run.checkpoints.made[0][1] is None


def test_a_stop_at_the_start_writes_nothing_that_is_there_already(tmp_path):
    saves = Saves(tmp_path / "run")
    saves.made.append((7, None, {}))
    run = Run(tmp_path / "run", start=7, checkpoints=saves)
    run.stop.requested = True
    run.fit()
    assert run.events == [] and saves.steps() == [7]


def test_a_skipped_save_is_made_up_for_when_the_run_is_stopped(tmp_path):
    class StopsAfterSkipping(Saves):
        def save(
            self, step: int, state: Any, *, position: Any, metric: Any = None, wait: bool = False
        ) -> bool:
            run.stop.requested = True
            return super().save(step, state, position=position, metric=metric, wait=wait)

    run = Run(
        tmp_path / "run", checkpoint_every=4, checkpoints=StopsAfterSkipping(tmp_path / "run", skipping=(4,))
    )
    run.fit()
    assert run.checkpoints.steps() == [4]


def test_a_loss_that_is_not_finite_stops_with_the_last_good_checkpoint_named(tmp_path):
    run = Run(tmp_path / "run", losses={8: float("nan")}, checkpoint_every=3)
    with pytest.raises(
        DivergedError, match=r"loss not finite at step 8\. The last good checkpoint is .*/6\."
    ):
        run.fit()
    assert run.checkpoints.steps() == [3, 6]
    assert "NaN" not in run.folder.metrics_path.read_text()


def test_a_state_that_diverged_is_never_saved(tmp_path):
    run = Run(tmp_path / "run", losses={6: float("inf")}, checkpoint_every=6, log_every=50)
    with pytest.raises(DivergedError, match=r"loss not finite at step 6\. There is no checkpoint yet\."):
        run.fit()
    assert run.checkpoints.made == []


def test_two_failed_saves_in_a_row_stop_the_run(tmp_path):
    run = Run(tmp_path / "run", checkpoint_every=2, checkpoints=Saves(tmp_path / "run", failing=True))
    with pytest.raises(
        CheckpointError, match=r"2 checkpoints in a row could not be written to .*Free some space"
    ):
        run.fit()
    assert run.events[-1] != "step 5" and "step 4" in run.events


def test_a_run_without_checkpoints_trains_to_its_end(tmp_path):
    run = Run(tmp_path / "run", checkpoint_every=2)
    sinks = Sinks(run.folder, None, run.sinks.progress, run.sinks.trackers)
    run.sinks = sinks
    assert int(run.fit().step) == 10


def test_metrics_that_cannot_be_written_stop_the_run_after_the_step_is_saved(tmp_path, monkeypatch):
    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    run = Run(tmp_path / "run")
    monkeypatch.setattr("laminate.train.run_folder.os.write", full)
    with pytest.raises(
        UnwritableError, match=r"metrics.jsonl cannot be written: No space left.*good checkpoint is .*/5"
    ):
        run.fit()
    assert [step for step, _, _ in run.checkpoints.made] == [5]  # step 4 is logged one step late
    assert run.stop.signal == "a full disk"


def test_the_first_step_which_compiles_counts_in_no_time_and_from_its_end_something_is_unsaved(
    tmp_path, monkeypatch
):
    """Under a clock that only steps move: 1000 s for the first, 3 s for each other."""
    now, told, unsaved = [0.0], [], []
    run = Run(tmp_path, log_every=5, timed=told.append)
    step, run.stop.unsaved = run._step, False

    def slow(state, frozen, batch):
        unsaved.append(run.stop.unsaved)
        now[0] += 1000.0 if int(state.step) == 0 else 3.0
        return step(state, frozen, batch)

    run._step = slow
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    run.fit()
    assert told == [3.0]
    assert unsaved == [False, *[True] * 9]
    first = run.said.getvalue().splitlines()[0]
    assert (
        "3750.0 ms/step  19s left" in first
    )  # of step 5, read when step 6 is done: five times 3 s for four steps
