"""Trackers: they refuse at the start, never during training, and a resumed run continues."""

import sys
import threading
import time
import types

import numpy as np
import pytest
from PIL import Image

from laminate.train.trackers import (
    MissingExtra,
    Resilient,
    TensorBoard,
    TrackerError,
    Trackers,
    Wandb,
    start_tracker,
)


class Recorder:
    """A tracker that remembers its calls and fails in those listed."""

    def __init__(self, fails=()):
        self.calls, self.fails = [], fails

    def _call(self, *call):
        self.calls.append(call)
        if len(self.calls) - 1 in self.fails:
            raise ConnectionError("no route to host")

    def log(self, step, metrics):
        self._call("log", step, dict(metrics))

    def figure(self, name, path, step):
        self._call("figure", name, path.name, step)

    def close(self):
        self._call("close")


def drive(tracker, tmp_path):
    tracker.log(20, {"train/loss": 0.5})
    tracker.figure("reconstructions", tmp_path / "a.png", 20)
    tracker.log(40, {"train/loss": 0.25})
    tracker.close()


@pytest.mark.parametrize("fails", [(), (0,), (1, 2), (0, 1, 2, 3)])
def test_a_failing_tracker_warns_once_and_is_still_called(fails, tmp_path):
    warnings, tracker = [], Recorder(fails)
    drive(Resilient(tracker, warnings.append), tmp_path)
    assert [call[0] for call in tracker.calls] == ["log", "figure", "log", "close"]
    assert len(warnings) == bool(fails)
    assert all("Recorder failed" in text and "no route to host" in text for text in warnings)


def test_interrupts_are_no_tracker_failure(tmp_path):
    class Interrupted(Recorder):
        def log(self, step, metrics):
            raise KeyboardInterrupt

    tracker = Resilient(Interrupted(), [].append)
    with pytest.raises(KeyboardInterrupt):
        tracker.log(1, {})
        tracker.close()


class Hanging(Recorder):
    """A tracker whose own thread has died, so that it waits for room in its queue for ever."""

    def __init__(self, hangs):
        super().__init__()
        self.hangs, self.never = hangs, threading.Event()

    def _call(self, *call):
        super()._call(*call)
        if call[0] in self.hangs:
            self.never.wait()


@pytest.mark.parametrize("hangs", [("log",), ("figure",), ("close",), ("log", "figure", "close")])
def test_a_tracker_that_hangs_is_given_up_with_one_line_and_nothing_waits_for_it(hangs, tmp_path):
    warnings, began = [], time.monotonic()
    tracker = Resilient(Hanging(hangs), warnings.append, waiting=5, seconds=0.2)
    for step in range(1000):
        tracker.log(step, {"train/loss": 0.5})
        tracker.figure("samples", tmp_path / "a.png", step)
        time.sleep(0.0001)
    tracker.close()
    assert time.monotonic() - began < 5.0
    assert len(warnings) == 1 and "Hanging" in warnings[0] and "training goes on without it" in warnings[0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_tensorboard_whose_disk_is_full_stops_nothing(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")

    def full(event):
        raise OSError(28, "No space left on device")

    warnings, board = [], TensorBoard(tmp_path)
    monkeypatch.setattr(board._writer.file_writer.event_writer._ev_writer, "write_event", full)
    tracker = Resilient(board, warnings.append, waiting=5, seconds=0.2)
    for step in range(200):
        tracker.log(step, {"train/loss": 0.5})
        time.sleep(0.001)
    tracker.close()
    assert len(warnings) == 1 and "training goes on without it" in warnings[0]


def test_what_a_tracker_is_given_reaches_it_in_order_and_as_it_was(tmp_path):
    sound, values = Recorder(), {"train/loss": 0.0}
    tracker = Resilient(sound, [].append)
    for step in range(50):
        values["train/loss"] = float(step)
        tracker.log(step, values)
    tracker.close()
    assert sound.calls == [("log", step, {"train/loss": float(step)}) for step in range(50)] + [("close",)]


@pytest.mark.parametrize(
    "error", [RuntimeError("api_key not configured (no-tty)"), OSError(28, "No space"), KeyError()]
)
def test_a_tracker_that_cannot_be_started_is_one_line_that_names_its_flag(error):
    def start():
        raise error

    with pytest.raises(TrackerError, match=r"cannot be started .*leave --wandb out") as caught:
        start_tracker("Weights & Biases", "--wandb", start)
    assert "\n" not in str(caught.value)


def test_one_failing_tracker_takes_no_other_with_it(tmp_path):
    broken, sound, warnings = Recorder(range(9)), Recorder(), []
    drive(Trackers([broken, sound], warnings.append), tmp_path)
    assert sound.calls == broken.calls and len(sound.calls) == 4 and len(warnings) == 1


@pytest.mark.parametrize(
    ("package", "start"),
    [
        ("tensorboardX", lambda folder: TensorBoard(folder)),
        ("wandb", lambda folder: Wandb(folder, project="p", name="n", config={})),
    ],
)
def test_a_missing_package_is_named_before_training(package, start, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=f"package {package} is not installed") as error:
        start(tmp_path)
    assert "pip install -e '.[" in str(error.value)


def test_tensorboard_writes_event_files(tmp_path):
    pytest.importorskip("tensorboardX")
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(tmp_path / "a.png")
    events = tmp_path / "events"
    drive(TensorBoard(events), tmp_path)
    assert sum(path.stat().st_size for path in events.iterdir()) > 100


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for the package, which the tests do not install: it remembers what it was asked."""

    class Run:
        def __init__(self):
            self.logged, self.axes, self.finished = [], [], False

        def define_metric(self, name, step_metric):
            self.axes.append((name, step_metric))

        def log(self, values):
            self.logged.append(values)

        def finish(self):
            self.finished = True

    module = types.ModuleType("wandb")
    module.started, module.Image = [], lambda path: ("image", path)

    def init(**options):
        run = Run()
        module.started.append((options, run))
        return run

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_wandb_resumes_the_run_of_its_folder_and_starts_another_elsewhere(wandb, tmp_path):
    (tmp_path / "other").mkdir()
    for folder in (tmp_path, tmp_path, tmp_path / "other"):
        drive(Wandb(folder, project="flatdino", name="fast", config={"dim": 3}), folder)
    first, again, other = (options for options, _ in wandb.started)
    assert first == again and first["resume"] == "allow" and first["config"] == {"dim": 3}
    assert other["id"] != first["id"]


def test_wandb_plots_against_the_training_step(wandb, tmp_path):
    drive(Wandb(tmp_path, project="flatdino", name="fast", config={}), tmp_path)
    ((_, run),) = wandb.started
    assert run.axes == [("*", "step")] and run.finished
    assert [values["step"] for values in run.logged] == [20, 20, 40]
    assert run.logged[0] == {"step": 20, "train/loss": 0.5}
