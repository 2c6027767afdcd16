"""What an experiment trains, apart from data, devices and folder: the same for a training and for its plan."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree

from laminate.recipes.training import Optimizer, Schedule, StepCounts
from laminate.train import schedules
from laminate.train.gan_objectives import GanObjectives
from laminate.train.gan_step import make_gan_step
from laminate.train.optim import adamw, muon, schedule_free
from laminate.train.state import GanState, TrainState, init_gan_state, init_state
from laminate.train.step import GlobalBatch, Objective, make_step
from laminate.types import Metrics

Step = Callable[[Any, PyTree, GlobalBatch], tuple[Any, Metrics]]


@dataclasses.dataclass(frozen=True)
class Task:
    """`build(key=...)` is trained by `objective`, beside `frozen`, as `optim` and the schedule say.

    `trained(model)` picks the parts that are trained; None is all of them (`train.state.init_state`).
    """

    build: Callable[..., Any]
    frozen: PyTree
    objective: Objective
    optim: Optimizer
    trained: Callable[[Any], Any] | None = None

    def optimizer(self, schedule: optax.Schedule, counts: StepCounts) -> optax.GradientTransformation:
        """The update rule of the recipe."""
        return update_rule(self.optim, schedule)

    def init_state(self, optimizer: optax.GradientTransformation) -> Callable[[Any, Any], TrainState]:
        """A function of two keys, those of the initial weights and of the run, to the state before the first step."""

        def init(init_key: Any, run_key: Any) -> TrainState:
            return init_state(
                self.build(key=init_key),
                optimizer,
                averaged=_is_averaged(self.optim),
                key=run_key,
                trained=self.trained,
            )

        return init

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


class Rules(NamedTuple):
    """The update rules of two players, and the objectives of a training of that length."""

    decoder: optax.GradientTransformation
    discriminator: optax.GradientTransformation
    objectives: GanObjectives


@dataclasses.dataclass(frozen=True)
class GanTask:
    """As `Task`, of which it has every method, with two players: what `build` and `build_discriminator` make is trained
    as `objectives(counts)` says.

    The learning rate of the discriminator is `rate` times the decoder's at the same step of the run, whenever it
    begins.
    """

    build: Callable[..., Any]
    build_discriminator: Callable[..., Any]
    frozen: PyTree
    objectives: Callable[[StepCounts], GanObjectives]
    optim: Optimizer
    discriminator_optim: Optimizer
    rate: float = 1.0
    trained: Callable[[Any], Any] | None = None

    def optimizer(self, schedule: optax.Schedule, counts: StepCounts) -> Rules:
        """The update rules of the recipe."""
        objectives = self.objectives(counts)
        later = lambda count: self.rate * schedule(count + objectives.discriminator_start)
        return Rules(
            update_rule(self.optim, schedule), update_rule(self.discriminator_optim, later), objectives
        )

    def init_state(self, optimizer: Rules) -> Callable[[Any, Any], GanState]:
        """As that of `Task`, for the state of both."""

        def init(init_key: Any, run_key: Any) -> GanState:
            k_decoder, k_discriminator = jax.random.split(init_key)
            averaged = _is_averaged(self.optim), _is_averaged(self.discriminator_optim)
            decoder = init_state(
                self.build(key=k_decoder),
                optimizer.decoder,
                averaged=averaged[0],
                key=run_key,
                trained=self.trained,
            )
            discriminator = init_state(
                self.build_discriminator(key=k_discriminator),
                optimizer.discriminator,
                averaged=averaged[1],
                key=run_key,
            )
            return init_gan_state(decoder, discriminator)

        return init

    def step(
        self,
        optimizer: Rules,
        state: GanState,
        *,
        mesh: Mesh,
        micro_batches: int,
        compute_dtype: jnp.dtype,
    ) -> Step:
        """The compiled update of both."""
        return make_gan_step(
            optimizer.objectives,
            optimizer.decoder,
            optimizer.discriminator,
            state,
            self.frozen,
            mesh=mesh,
            micro_batches=micro_batches,
            ema_decay=self.optim.ema_decay,
            discriminator_ema_decay=self.discriminator_optim.ema_decay,
            compute_dtype=compute_dtype,
        )


def update_rule(optim: Optimizer, schedule: optax.Schedule) -> optax.GradientTransformation:
    """What `optim` says, with the learning rates of `schedule`."""
    rules = {"adamw": adamw, "muon": muon, "schedule-free": schedule_free}
    return rules[optim.kind](
        schedule,
        b1=optim.betas[0],
        b2=optim.betas[1],
        weight_decay=optim.weight_decay,
        clip_norm=optim.clip_norm,
    )


def _is_averaged(optim: Optimizer) -> bool:
    return optim.ema_decay is not None or optim.kind == "schedule-free"


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
