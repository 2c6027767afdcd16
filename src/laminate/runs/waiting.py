"""What a person sees while something takes its time: a bar or a clock on a terminal, and afterwards how long it was."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from laminate.parallel.hosts import is_first
from laminate.runs.exit_codes import say

WORTH_SAYING = 5.0
"""Seconds from which on it is said how long something took."""


def progress_bar(*, counts: bool = True, transient: bool = False) -> Progress:
    """A bar for tasks of rich, on the terminal of the first host; with `counts`, of how many and how long it will be.

    `transient` takes it away at its end.
    """
    console = Console(stderr=True)
    counted: list[ProgressColumn] = [MofNCompleteColumn(), TimeRemainingColumn()] if counts else []
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn(), *counted)
    hidden = not (is_first() and console.is_terminal)
    return Progress(*columns, console=console, transient=transient, disable=hidden)


@contextmanager
def waiting(what: str, total: int | None = None) -> Generator[Callable[[int], None]]:
    """Shows `what` while it lasts, on the first host; yields what counts further ones of `total`."""
    began = time.monotonic()
    with progress_bar(counts=total is not None, transient=True) as bar:
        yield partial(bar.advance, bar.add_task(what, total=total))
    if (seconds := time.monotonic() - began) >= WORTH_SAYING:
        say(f"{what}: {seconds:,.0f} s", primary=is_first())


def counted(images: Iterable[np.ndarray], what: str, total: int) -> Iterator[np.ndarray]:
    """The images, some at a time, with a bar of how many of them have passed."""
    with waiting(what, total) as advance:
        for some in images:
            yield some
            advance(len(some))


def counted_batches(
    batches: Iterable[dict[str, np.ndarray]], what: str, total: int, *, global_batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Global batches of `total` examples, with a bar of how many of these have passed."""
    with waiting(what, total) as advance:
        for place, batch in enumerate(batches):
            yield batch
            advance(min(global_batch_size, total - place * global_batch_size))
