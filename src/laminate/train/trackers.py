"""Where metrics and figures go besides the run folder: TensorBoard and Weights & Biases, both optional.

A tracker whose package is missing, or that cannot be started, is refused with a clear message; once training runs,
`Resilient` keeps its failures from stopping it.
"""

import contextlib
import importlib.util
import queue
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from etils import epath
from PIL import Image

RUN_ID_FILE = "wandb-run-id"
WAITING = 256  # calls that a tracker may be behind
CLOSING = 30.0  # seconds that it may take to end, when everything else is done
_KEPT = "metrics.jsonl keeps every value"


@runtime_checkable
class Tracker(Protocol):
    """Receives floats and PNG files. `step` is the number of completed optimiser updates."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def figure(self, name: str, path: Path, step: int) -> None: ...

    def close(self) -> None: ...


class MissingExtra(ValueError):
    """A tracker was asked for whose package is not installed."""


class TrackerError(ValueError):
    """A tracker that was asked for cannot be started."""


def start_tracker(name: str, flag: str, make: Callable[[], Tracker]) -> Tracker:
    """The tracker that `make` makes. Raises TrackerError, naming the `flag` to leave out, if it cannot be started."""
    try:
        return make()
    except Exception as error:  # broad as below: who is not logged in is told so by an exception of any class
        reason = " ".join(f"{error}".split())[:300] or type(error).__name__
        raise TrackerError(
            f"{name} cannot be started ({reason}): mend that (for W&B `wandb login`, or WANDB_MODE=offline), or leave "
            f"{flag} out."
        ) from error


def require_packages(*, tensorboard: bool, wandb: bool) -> None:
    """Refuse, before anything is written, a tracker that was asked for and is not installed.

    Raises:
        MissingExtra: the package of one of them is missing.
    """
    if tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise MissingExtra(_missing("TensorBoard", "tensorboard", "tensorboardX"))
    if wandb and importlib.util.find_spec("wandb") is None:
        raise MissingExtra(_missing("Weights & Biases", "wandb", "wandb"))


class TensorBoard:
    """Writes event files into `folder` (the extra `tensorboard`).

    Raises:
        MissingExtra: tensorboardX is not installed.
    """

    def __init__(self, folder: epath.PathLike):
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise MissingExtra(_missing("TensorBoard", "tensorboard", "tensorboardX")) from error
        self._writer: Any = SummaryWriter(str(folder))
        # Its queue is one of processes, for which the interpreter waits at its end, for ever if the reader has died.
        with contextlib.suppress(AttributeError):
            self._writer.file_writer.event_writer._event_queue.cancel_join_thread()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def figure(self, name: str, path: Path, step: int) -> None:
        with Image.open(path) as image:
            self._writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """Logs to Weights & Biases (the extra `wandb`).

    The identifier of the run lies in `folder`/wandb-run-id, so that a resumed run continues its curves.
    Metrics are plotted against their own `step`: a run that resumes from an older checkpoint may log a step
    twice, which W&B's internal counter would drop.

    Raises:
        MissingExtra: wandb is not installed.
    """

    def __init__(self, folder: epath.PathLike, *, project: str, name: str, config: Mapping[str, Any]):
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingExtra(_missing("Weights & Biases", "wandb", "wandb")) from error
        self._image: Any = wandb.Image
        self._run: Any = wandb.init(
            project=project,
            name=name,
            config=dict(config),
            dir=str(folder),
            id=_run_id(folder),
            resume="allow",
        )
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log({"step": step, **metrics})

    def figure(self, name: str, path: Path, step: int) -> None:
        self._run.log({"step": step, name: self._image(str(path))})

    def close(self) -> None:
        self._run.finish()


class Resilient:
    """A tracker that cannot stop training, neither by failing nor by waiting: it works in a thread of its own.

    The first failure is told to `warn`, later ones are silent, and it keeps trying, since a network comes back. One
    that does not keep up, because its disk or network hangs or its own thread has died, is given up with one line: it
    may owe `waiting` calls, and take `seconds` to end. No call here waits for it but `close`, so long.
    """

    def __init__(
        self,
        tracker: Tracker,
        warn: Callable[[str], None],
        *,
        waiting: int = WAITING,
        seconds: float = CLOSING,
    ):
        self._tracker = tracker
        self._warn = warn
        self._warned = self._dropped = False
        self._seconds = seconds
        self._fault: BaseException | None = None
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._work, name=type(tracker).__name__, daemon=True)
        self._thread.start()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        values = dict(metrics)
        self._give(lambda: self._tracker.log(step, values))

    def figure(self, name: str, path: Path, step: int) -> None:
        self._give(lambda: self._tracker.figure(name, path, step))

    def close(self) -> None:
        self._give(self._tracker.close)
        self._give(None)
        if not self._dropped:
            self._thread.join(self._seconds)
            if self._thread.is_alive():
                self._drop(f"did not end within {self._seconds:.0f} s")
        self._pass_on()

    def _give(self, call: Callable[[], None] | None) -> None:
        self._pass_on()
        if self._dropped:
            return
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self._drop(f"hangs, and {self._calls.maxsize} calls wait for it")

    def _pass_on(self) -> None:
        """An interrupt in the tracker is one of the training, and no failure."""
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault

    def _drop(self, what: str) -> None:
        self._dropped = True
        self._warn(f"{type(self._tracker).__name__} {what}: training goes on without it; {_KEPT}.")

    def _work(self) -> None:
        while not self._dropped and (call := self._calls.get()) is not None:
            try:
                call()
            # Broad on purpose: a tracker talks to disks and networks through packages that raise anything, and a
            # week of training is worth more than a curve that metrics.jsonl holds as well.
            except Exception as error:
                self._note(error)
            except BaseException as fault:
                self._fault = fault

    def _note(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            self._warn(
                f"{type(self._tracker).__name__} failed and training goes on without it "
                f"({type(error).__name__}: {error}); {_KEPT}."
            )


class Trackers:
    """Several trackers as one; each is `Resilient` on its own, so one that fails takes no other with it."""

    def __init__(self, trackers: Sequence[Tracker], warn: Callable[[str], None]):
        self._trackers = [Resilient(tracker, warn) for tracker in trackers]

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for tracker in self._trackers:
            tracker.log(step, metrics)

    def figure(self, name: str, path: Path, step: int) -> None:
        for tracker in self._trackers:
            tracker.figure(name, path, step)

    def close(self) -> None:
        for tracker in self._trackers:
            tracker.close()


def _run_id(folder: epath.PathLike) -> str:
    path = epath.Path(folder) / RUN_ID_FILE
    if path.exists():
        return path.read_text().strip()
    run_id = secrets.token_hex(4)
    path.write_text(run_id + "\n")
    return run_id


def _missing(tracker: str, extra: str, package: str) -> str:
    return (
        f"{tracker} was asked for, but the package {package} is not installed; "
        f"run `pip install -e '.[{extra}]'`, or leave the tracker out."
    )
