"""Where metrics and figures go besides the run folder: TensorBoard and Weights & Biases, both optional.

A tracker whose package is missing refuses to start, with a clear message; once training runs, `Resilient`
keeps its failures from stopping it.
"""

import importlib.util
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from etils import epath
from PIL import Image

RUN_ID_FILE = "wandb-run-id"


@runtime_checkable
class Tracker(Protocol):
    """Receives floats and PNG files. `step` is the number of completed optimiser updates."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def figure(self, name: str, path: Path, step: int) -> None: ...

    def close(self) -> None: ...


class MissingExtra(ValueError):
    """A tracker was asked for whose package is not installed."""


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
    """A tracker that cannot stop training: the first failure is told to `warn`, later ones are silent.

    It keeps trying after a failure, since a network comes back.
    """

    def __init__(self, tracker: Tracker, warn: Callable[[str], None]):
        self._tracker = tracker
        self._warn = warn
        self._warned = False

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._attempt(lambda: self._tracker.log(step, metrics))

    def figure(self, name: str, path: Path, step: int) -> None:
        self._attempt(lambda: self._tracker.figure(name, path, step))

    def close(self) -> None:
        self._attempt(self._tracker.close)

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        # Broad on purpose: a tracker talks to disks and networks through packages that raise anything, and a
        # week of training is worth more than a curve that metrics.jsonl holds as well.
        except Exception as error:
            if not self._warned:
                self._warned = True
                self._warn(
                    f"{type(self._tracker).__name__} failed and training goes on without it "
                    f"({type(error).__name__}: {error}); metrics.jsonl keeps every value."
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
        f"run `pip install 'laminate-jax[{extra}]'`, or leave the tracker out."
    )
