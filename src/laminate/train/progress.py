"""What a person sees while a model trains: a bar on a terminal, one plain line per log elsewhere."""

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

COMPILING = 10.0  # seconds from which on a first step is explained
SMOOTHING = 0.3  # weight of the newest interval in the time per step behind the remaining time


@dataclasses.dataclass(frozen=True)
class RunHeader:
    """What runs, where, how big and how long: (label, value) rows under a title, shown once."""

    title: str
    rows: tuple[tuple[str, str], ...]

    def show(self, *, primary: bool = True, console: Console | None = None) -> None:
        """Write the header to `console` (standard error if None); only the primary process does."""
        if not primary:
            return
        console = _console(console)
        console.print(Text(self.title, style="bold"))
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column(overflow="fold")
        for label, value in self.rows:
            table.add_row(Text(f"  {label}"), Text(value))
        console.print(table)


class Progress:
    """The state of a run as it trains, from floats that are already on the host; nothing here reads a device.

        with Progress(steps, start_step=step, global_batch_size=512, shown=("train/loss",)) as progress:
            progress.log(step, {"train/loss": 0.4}, seconds=1.7)

    `seconds` is the wall time since the last `log` (or `restart`, or the start), from which come images/s, ms/step
    and the remaining time. `shown` names the metrics to show, in order; empty shows the first six. Processes
    other than the primary one stay silent.
    """

    def __init__(
        self,
        steps: int,
        *,
        start_step: int = 0,
        global_batch_size: int,
        shown: Sequence[str] = (),
        primary: bool = True,
        console: Console | None = None,
    ):
        self.steps = steps
        self.global_batch_size = global_batch_size
        self.shown = tuple(shown)
        self._console = _console(console)
        self._primary = primary
        self._last_step = start_step
        self._seconds_per_step = math.nan
        self._bar = Bar(
            TextColumn("step {task.completed:>6.0f}/{task.total:.0f}"),
            BarColumn(bar_width=None, complete_style="blue", finished_style="green"),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.description}"),
            expand=True,
        )
        self._task = self._bar.add_task("compiling", total=steps, completed=start_step)
        self._live: Live | None = None

    def __enter__(self) -> "Progress":
        if self._primary and self._console.is_terminal:
            self._live = Live(self._bar, console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the terminal back; from any thread."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    @contextlib.contextmanager
    def compiling(self, patience: float = COMPILING) -> Generator[None]:
        """The body is the first step. If it takes longer than `patience` seconds, what it does is said, and at its end
        how long it took."""
        began, step = time.monotonic(), self._last_step + 1
        said = f"step {step} is compiling, which is done once ({duration(patience)} so far)"
        timer = threading.Timer(patience, self.note, (said,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
        took = time.monotonic() - began
        if took > patience:
            self.note(f"step {step} took {duration(took)} with compiling; the times below are without that")

    def restart(self, step: int) -> None:
        """What came before `step` does not count towards the time per step."""
        self._last_step = step
        self._bar.update(self._task, completed=step, description="")

    def at(self, step: int) -> None:
        """Move the bar to `step` (completed updates) between two logs."""
        if self._live is not None:
            self._bar.update(self._task, completed=step)

    def log(self, step: int, metrics: Mapping[str, float], *, seconds: float) -> None:
        """Show `metrics` at `step` completed updates, `seconds` after the last log."""
        if not self._primary:
            return
        speed, terms = self._speed(step, seconds), _terms(metrics, self.shown)
        if self._live is None:
            percent = 100 * step // max(self.steps, 1)
            self.note(f"step {step:>{len(str(self.steps))}}/{self.steps}  {percent:3d}%  {terms}  {speed}")
            return
        self._bar.update(self._task, completed=step, description=speed)
        self._live.update(
            Group(self._bar, Text(f"  {terms}", style="dim", overflow="ellipsis", no_wrap=True))
        )

    def note(self, text: str) -> None:
        """One line that stays: above the bar on a terminal, as it is elsewhere."""
        if self._primary:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _speed(self, step: int, seconds: float) -> str:
        steps = step - self._last_step
        self._last_step = step
        if steps <= 0 or seconds <= 0.0:
            return ""
        newest = seconds / steps
        known = math.isfinite(self._seconds_per_step)
        smoothed = SMOOTHING * newest + (1 - SMOOTHING) * self._seconds_per_step if known else newest
        self._seconds_per_step = smoothed
        left = duration(smoothed * max(self.steps - step, 0))
        return f"{self.global_batch_size / newest:,.0f} images/s  {1000 * newest:.1f} ms/step  {left} left"


def duration(seconds: float) -> str:
    """`seconds` as a person says it: 9s, 4m05s, 3h07m, 2d04h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def _terms(metrics: Mapping[str, float], shown: Sequence[str]) -> str:
    names = [name for name in shown if name in metrics] if shown else list(metrics)[:6]
    return "  ".join(f"{name.removeprefix('train/')} {metrics[name]:.4g}" for name in names)


def _console(console: Console | None) -> Console:
    return Console(stderr=True) if console is None else console
