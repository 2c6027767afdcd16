"""What a training is asked while it runs: measures of held-out data, and anything else that looks at its state."""

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from laminate.data.augment import Augment
from laminate.data.records import Records
from laminate.runs.setup import Run
from laminate.train.moments import Moments
from laminate.train.signals import StopRequest
from laminate.train.state import TrainState
from laminate.train.step import Measure, make_evaluation

Metrics = dict[str, float]
AT_THE_END = 2**31
"""An `Evaluation.every` that no training reaches."""
Ask = Callable[[TrainState], Metrics | None]


@dataclass(frozen=True, kw_only=True)
class Evaluation(abc.ABC):
    """One question, put to the state when it is due and at the end, by all hosts."""

    every: int = 1

    def due(self, step: int, validate_every: int) -> bool:
        """Whether it is put to the state after `step`: at every `every`-th validation."""
        return step % (self.every * validate_every) == 0

    @abc.abstractmethod
    def asked(self, run: Run, state: TrainState, frozen: PyTree, stop: StopRequest) -> Ask:
        """A function of a state like `state` to its figures; None if it was asked to stop on the way."""


@dataclass(frozen=True, kw_only=True)
class Measured(Evaluation):
    """`measure` of every record, summed, of which `summarise` makes figures that bear names such as `val/loss`.

    `records` are the run's held-out ones unless others are given, in the `view` of validation unless it is another.
    """

    measure: Measure
    summarise: Callable[[dict[str, Any]], Metrics]
    records: Records | None = None
    view: Augment | None = None

    def asked(self, run: Run, state: TrainState, frozen: PyTree, stop: StopRequest) -> Ask:
        evaluate = make_evaluation(
            self.measure, state.averaged, frozen, mesh=run.mesh, compute_dtype=run.dtype
        )
        records = run.validation if self.records is None else self.records

        def ask(state: TrainState) -> Metrics | None:
            total: dict[str, Any] = {}
            for batch in run.evaluation_batches(records, self.view):
                if stop.poll():
                    return None
                sums = jax.device_get(evaluate(state.averaged, frozen, batch))
                for name, value in sums.items():
                    wide = value if isinstance(value, Moments) else np.asarray(value, np.float64)
                    total[name] = total.get(name, 0.0) + wide
            return self.summarise(total)

        return ask


@dataclass(frozen=True, kw_only=True)
class Looked(Evaluation):
    """`look` at the state, to draw how far it is or to measure what is no sum over records."""

    look: Callable[[TrainState], Metrics | None]

    def asked(self, run: Run, state: TrainState, frozen: PyTree, stop: StopRequest) -> Ask:
        return lambda state: self.look(state) or {}


def ask_all(
    evaluations: Sequence[Evaluation],
    run: Run,
    state: TrainState,
    frozen: PyTree,
    stop: StopRequest,
    every: int,
) -> Ask:
    """All figures of a state that are due, where a validation is each `every` steps; None if asked to stop."""
    asks = [(one, one.asked(run, state, frozen, stop)) for one in evaluations]

    def ask(state: TrainState) -> Metrics | None:
        figures: Metrics = {}
        step = int(state.step)
        for one, asked in asks:
            if not one.due(step, every) and step != run.counts.total:
                continue
            found = asked(state)
            if found is None:
                return None
            figures |= found
        return figures

    return ask
