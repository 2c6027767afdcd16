"""`--evaluate NAME=N`: a training's figures by name, measured as `evaluate.py` measures them."""

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from jaxtyping import PyTree

from laminate.analysis.sampling import NotFiniteError
from laminate.evals.figure_names import FigureName
from laminate.evals.results import FILE, write_result
from laminate.evals.set_measures import Measured
from laminate.parallel.hosts import is_first
from laminate.runs.asked_networks import Asked
from laminate.runs.evaluations import Ask, Evaluation, Metrics
from laminate.runs.exit_codes import say
from laminate.runs.provenance import provenance
from laminate.runs.setup import Run
from laminate.storage.writing import make_folder
from laminate.train.signals import StopRequest
from laminate.train.state import TrainState

FOLDER = "evaluation/training"
T = TypeVar("T")


@dataclass(frozen=True)
class Way:
    """How some figures are measured together: their rounding ("" for the usual one) and number of samples (0 for the
    usual one), and the kinds of measures that are wanted."""

    rounding: str
    samples: int
    kinds: frozenset[str]


Measure = Callable[[TrainState, Way, Callable[[Iterable[Any]], Iterator[Any]]], Sequence[Measured]]
"""`measure(state, way, until_stopped)`: all hosts come here, and go through their batches by `until_stopped`."""


class _Stopped(Exception):
    """All hosts were asked to stop on the way."""


@dataclass(frozen=True, kw_only=True)
class AskedFigures(Evaluation):
    """What `--evaluate` asks for, of what `measure` finds; each figure when it is due, and at the end."""

    figures: Asked
    measure: Measure

    def due(self, step: int, validate_every: int) -> bool:
        return bool(self.figures.due(step))

    def asked(self, run: Run, state: TrainState, frozen: PyTree, stop: StopRequest) -> Ask:
        said: set[str] = set()

        def until_stopped(batches: Iterable[T]) -> Iterator[T]:
            for batch in batches:
                if stop.poll():
                    raise _Stopped
                yield batch

        def ask(state: TrainState) -> Metrics | None:
            step = int(state.step)
            due = self.figures.figures if step == run.counts.total else self.figures.due(step)
            found: list[tuple[str, Measured]] = []
            try:
                for way, figures in by_way(due).items():
                    results = self.measure(state, way, until_stopped)
                    for figure in figures:
                        found += named(figure, results)
            except _Stopped:
                return None
            except NotFiniteError:  # the next step says what diverged
                return {}
            _report(run, step, found, said)
            return {f"val/{name}": one.value for name, one in found}

        return ask


def by_way(figures: Iterable[FigureName]) -> dict[Way, list[FigureName]]:
    """Figures that are measured together, by how they are."""
    together: dict[tuple[str, int], list[FigureName]] = {}
    for one in figures:
        together.setdefault((one.protocol.rounding, one.protocol.samples), []).append(one)
    return {Way(*how, frozenset(one.measure for one in mine)): mine for how, mine in together.items()}


def named(figure: FigureName, results: Sequence[Measured]) -> list[tuple[str, Measured]]:
    """What `figure` asks for among the results, by the name that it has among the metrics; a result that is measured
    otherwise than a protocol says remarks on it.

    Raises ValueError if nothing of its kind was measured.
    """
    exact = [one for one in results if one.name == figure.name]
    alike = exact or [one for one in results if one.protocol.measure == figure.measure]
    least = min((len(figure.off(one.protocol)) for one in alike), default=0)
    best = [one for one in alike if len(figure.off(one.protocol)) == least]
    if not best:
        there = ", ".join(one.name for one in results)
        raise ValueError(f"--evaluate {figure.name}: it cannot be measured here; what can is {there}.")
    remarked = [_with_remarks(figure, one) for one in best]
    if len(best) == 1:
        return [(figure.name, remarked[0])]
    return [(f"{figure.name}/{one.name.partition('@')[0]}", one) for one in remarked]


def _with_remarks(figure: FigureName, one: Measured) -> Measured:
    off = tuple(f"not {figure.name}: {text}" for text in figure.off(one.protocol))
    return replace(one, remarks=(*one.remarks, *off))


def _report(run: Run, step: int, found: Sequence[tuple[str, Measured]], said: set[str]) -> None:
    """Write how the figures were measured, and say once where that is not what their protocols have."""
    if not is_first() or not found:
        return
    folder = run.folder.path / FOLDER
    make_folder(folder)
    for name, one in found:
        off = [text.partition(": ")[2] for text in one.remarks if text.startswith("not ")]
        if off and name not in said:
            say(f"val/{name} is not measured as the protocol has it: {'; '.join(off)}", primary=True)
        said.add(name)
    write_result(
        folder / FILE,
        "training",
        [replace(one, name=name) for name, one in found],
        subject={"run": str(run.folder.path), "step": step},
        software=provenance(None),
        command=f"python {shlex.join(sys.argv)}",
        more={},
    )
