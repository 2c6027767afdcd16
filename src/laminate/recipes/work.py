"""What an experiment trains, apart from data, devices and folder: the same for a training and for its plan."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree

from laminate.recipes.training import Optimizer, Schedule, StepCounts
from laminate.train import schedules
from laminate.train.optim import adamw, muon, schedule_free
from laminate.train.state import TrainState, init_state
from laminate.train.step import Batch, Objective, make_step
from laminate.types import Metrics

Step = Callable[[TrainState, PyTree, Batch], tuple[TrainState, Metrics]]


@dataclasses.dataclass(frozen=True)
class Work:
    """`build(key)` is trained by `objective`, beside `frozen`, as `optim` and the schedule say.

    An experiment of another kind of step overrides `fresh` and `step`.
    """

    build: Callable[[Any], Any]
    frozen: PyTree
    objective: Objective
    optim: Optimizer

    def optimizer(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        """The update rule of the recipe."""
        rules = {"adamw": adamw, "muon": muon, "schedule-free": schedule_free}
        rule = rules[self.optim.kind]
        return rule(
            schedule,
            b1=self.optim.betas[0],
            b2=self.optim.betas[1],
            weight_decay=self.optim.weight_decay,
            clip_norm=self.optim.clip_norm,
        )

    def fresh(self, optimizer: optax.GradientTransformation) -> Callable[[Any, Any], TrainState]:
        """`fresh(init_key, run_key)` is the state before the first step."""

        def fresh(init_key: Any, run_key: Any) -> TrainState:
            averaged = self.optim.ema_decay is not None or self.optim.kind == "schedule-free"
            return init_state(self.build(init_key), optimizer, averaged=averaged, key=run_key)

        return fresh

    def step(
        self,
        optimizer: optax.GradientTransformation,
        state: TrainState,
        *,
        mesh: Mesh,
        micro_batches: int,
        compute_dtype: jnp.dtype,
    ) -> Step:
        """The compiled update of a state like `state` (arrays or their shapes) on `mesh`."""
        return make_step(
            self.objective,
            optimizer,
            state,
            self.frozen,
            mesh=mesh,
            micro_batches=micro_batches,
            ema_decay=self.optim.ema_decay,
            compute_dtype=compute_dtype,
        )


def learning_rate(schedule: Schedule, counts: StepCounts) -> optax.Schedule:
    """The schedule of a recipe, in steps."""
    peak, start, final = schedule.peak, schedule.start, schedule.final
    if schedule.kind == "wsd":
        return schedules.wsd(
            counts.total,
            peak,
            start,
            final,
            warmup_steps=counts.warmup,
            decay_steps=counts.decay,
            shape=schedule.decay_shape,
        )
    if schedule.kind == "warmup_cosine":
        return schedules.warmup_cosine(counts.total, peak, start, final, warmup_steps=counts.warmup)
    if schedule.kind == "linear_decay":
        return schedules.linear_decay(counts.total, peak, start, final, warmup_steps=counts.warmup)
    return schedules.constant(peak)
