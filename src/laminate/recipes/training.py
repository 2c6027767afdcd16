"""Recipes of the training: learning-rate schedule, optimiser."""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from laminate.recipes.checks import above, at_least, one_of, rate, within
from laminate.train.phases import phases_from_epochs

Unit = Literal["epochs", "steps"]
ScheduleKind = Literal["wsd", "warmup_cosine", "constant", "linear_decay"]
OptimizerKind = Literal["adamw", "muon", "schedule-free"]
DecayShape = Literal["cosine", "linear", "exponential"]


@dataclass(frozen=True)
class StepCounts:
    """A schedule in optimiser steps."""

    total: int
    warmup: int
    decay: int
    validate_every: int
    per_epoch: int

    @property
    def decay_start(self) -> int:
        return self.total - self.decay


@dataclass(frozen=True)
class Schedule:
    """Length of the training and its learning rate."""

    length: int
    """Length of the training, in `unit`."""
    warmup: int
    """Linear growth from `start` to `peak`, in `unit`."""
    decay: int
    """Final decay from `peak` to `final` of a `wsd` schedule, in `unit`."""
    validate_every: int
    """Distance between two validations, in `unit`."""
    unit: Unit = "epochs"
    """What the four numbers above count."""
    kind: ScheduleKind = "wsd"
    """Warm-up, stable, decay (`wsd`); warm-up then cosine; constant; warm-up then linear decay."""
    decay_shape: DecayShape = "cosine"
    """Shape of the final decay of `wsd`: cosine (the paper), linear (the released code) or exponential (ViTok)."""
    start: float = 1e-6
    """Learning rate of the first step."""
    peak: float = 1e-4
    """Learning rate after the warm-up."""
    final: float = 1e-8
    """Learning rate of the last step."""

    def __post_init__(self) -> None:
        one_of("schedule.unit", self.unit, get_args(Unit))
        one_of("schedule.kind", self.kind, get_args(ScheduleKind))
        one_of("schedule.decay_shape", self.decay_shape, get_args(DecayShape))
        at_least("schedule.length", self.length, 1)
        at_least("schedule.validate_every", self.validate_every, 1)
        at_least("schedule.warmup", self.warmup, 0)
        at_least("schedule.decay", self.decay, 0)
        above("schedule.peak", self.peak, 0.0)
        within("schedule.start", self.start, 0.0, self.peak)
        within("schedule.final", self.final, 0.0, self.peak)
        if self.decay_shape == "exponential":
            above("schedule.final of an exponential decay", self.final, 0.0)
        if self.warmup + self.decay > self.length:
            raise ValueError(
                f"schedule.warmup + schedule.decay must not exceed schedule.length, "
                f"got {self.warmup} + {self.decay} > {self.length} {self.unit}."
            )

    def counts(self, *, examples: int, global_batch_size: int) -> StepCounts:
        """The schedule in steps, for a training set of `examples` images.

        total = ⌊examples · epochs / batch⌋; one epoch is ⌊total / epochs⌋ steps, and warm-up and decay are
        whole epochs. Raises `ValueError` if an epoch is shorter than one step.
        """
        if self.unit == "steps":
            per_epoch = max(1, examples // global_batch_size)
            return StepCounts(self.length, self.warmup, self.decay, self.validate_every, per_epoch)
        phases = phases_from_epochs(
            examples, self.length, global_batch_size, warmup_epochs=self.warmup, decay_epochs=self.decay
        )
        per_epoch = phases.steps // self.length
        if per_epoch < 1:
            raise ValueError(
                f"An epoch of {examples} images is shorter than one global batch of {global_batch_size}. "
                f"Use a global batch of at most {examples}, or give the length in steps."
            )
        return StepCounts(
            phases.steps, phases.warmup_steps, phases.decay_steps, per_epoch * self.validate_every, per_epoch
        )

    def in_steps(self, steps: int) -> "Schedule":
        """The same schedule squeezed or stretched to `steps` optimiser steps."""
        at_least("steps", steps, 1)
        return replace(
            self,
            unit="steps",
            length=steps,
            warmup=self.warmup * steps // self.length,
            decay=self.decay * steps // self.length,
            validate_every=max(1, self.validate_every * steps // self.length),
        )

    def at_peak(self, peak: float) -> "Schedule":
        """The same schedule with another peak; the first and the last rate keep their share of it."""
        share = peak / self.peak
        return replace(
            self, peak=peak, start=min(peak, share * self.start), final=min(peak, share * self.final)
        )


@dataclass(frozen=True)
class Optimizer:
    """An update from the mean gradient of a global batch, with its norm clipped."""

    kind: OptimizerKind = "adamw"
    """AdamW (the paper); Muon for matrices and Adam for the rest: fewer steps, each a little dearer; or AdamW that
    averages its own weights, which a constant rate suits (schedule-free)."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the running mean and of the running square of the gradient."""
    weight_decay: float = 0.02
    """Decoupled weight decay, on matrices only."""
    clip_norm: float | None = 10.0
    """Largest global norm of the gradient; None does not clip."""
    ema_decay: float | None = None
    """Decay of the averaged weights; None keeps no average. `schedule-free` keeps its own instead."""

    def __post_init__(self) -> None:
        one_of("optimizer.kind", self.kind, get_args(OptimizerKind))
        for beta in self.betas:
            rate("optimizer.betas", beta)
        at_least("optimizer.weight_decay", self.weight_decay, 0.0)
        if self.clip_norm is not None:
            above("optimizer.clip_norm", self.clip_norm, 0.0)
        if self.ema_decay is not None:
            rate("optimizer.ema_decay", self.ema_decay)

    def in_steps(self, steps: int, schedule: Schedule) -> "Optimizer":
        """The same rule for a training of `steps` in place of `schedule`: a shorter one averages over fewer steps.

        The initial weights keep their share of the average at the end, `ema_decay ** length`. A schedule in epochs
        does not say how many steps they are: their share is then at most that of the epochs' own average, e^-10.
        """
        if self.ema_decay is None or self.ema_decay == 0.0:
            return self
        if schedule.unit == "steps":
            share = self.ema_decay ** max(schedule.length / steps, 1.0)
        else:
            share = min(self.ema_decay, math.exp(-10.0 / steps))
        return replace(self, ema_decay=share)
