"""Learning rates as functions of s, the number of completed optimiser updates.

Every function returns an optax schedule: an integer (or int32 array) goes in, a float32 scalar comes out, and
beyond the last step the final value stays.
"""

from typing import Literal

import jax.numpy as jnp
import optax
from optax import Schedule

from laminate.train.phases import Phases

DecayShape = Literal["cosine", "linear", "exponential"]


def constant(peak: float) -> Schedule:
    """lr(s) = peak."""
    return _float32(optax.constant_schedule(_rate("peak", peak)))


def wsd(
    steps: int,
    peak: float,
    start: float,
    final: float,
    *,
    warmup_steps: int,
    decay_steps: int | None = None,
    shape: DecayShape = "cosine",
) -> Schedule:
    """Warm-up, stable, decay: start -> peak linearly, peak, then peak -> final over the last `decay_steps`.

    With u = (s - decay_start) / decay_steps the decay is final + (peak - final) (1 + cos(pi u)) / 2 for
    "cosine" (the FlatDINO paper), peak + (final - peak) u for "linear" (its released code) or
    peak (final / peak)^u for "exponential" (ViTok), which needs a final rate above 0.
    `decay_steps=None` decays over all that the warm-up leaves; a longer decay is cut to that.
    """
    phases = Phases(steps, warmup_steps, steps if decay_steps is None else decay_steps)
    rise = optax.linear_schedule(_rate("start", start), _rate("peak", peak), max(warmup_steps, 1))
    if phases.decay_steps == 0:
        return _float32(optax.join_schedules([rise, optax.constant_schedule(peak)], [warmup_steps]))
    pieces = [rise, optax.constant_schedule(peak), _decay(peak, _rate("final", final), phases, shape)]
    return _float32(optax.join_schedules(pieces, [warmup_steps, phases.decay_start]))


def warmup_cosine(steps: int, peak: float, start: float, final: float, *, warmup_steps: int) -> Schedule:
    """start -> peak linearly over `warmup_steps`, then a half cosine to `final` at `steps`."""
    return wsd(steps, peak, start, final, warmup_steps=warmup_steps, shape="cosine")


def linear_decay(steps: int, peak: float, start: float, final: float, *, warmup_steps: int) -> Schedule:
    """start -> peak linearly over `warmup_steps`, then linearly to `final` at `steps`.

    With start = peak the warm-up is flat: the rate stays at the peak until `warmup_steps`.
    """
    return wsd(steps, peak, start, final, warmup_steps=warmup_steps, shape="linear")


def _decay(peak: float, final: float, phases: Phases, shape: DecayShape) -> Schedule:
    if shape == "exponential":
        if not final > 0.0:
            raise ValueError(f"an exponential decay needs a final learning rate above 0, got {final}.")
        return optax.exponential_decay(peak, phases.decay_steps, final / peak, end_value=final)
    if shape == "linear" or peak == 0.0:  # optax states the cosine's floor as a fraction of the peak
        return optax.linear_schedule(peak, final, phases.decay_steps)
    return optax.cosine_decay_schedule(peak, phases.decay_steps, alpha=final / peak)


def _rate(name: str, value: float) -> float:
    if not 0.0 <= value < float("inf"):
        raise ValueError(f"the {name} learning rate is {value}; it must be finite and at least 0.")
    return value


def _float32(schedule: Schedule) -> Schedule:
    # A float step, exact to 2^24 updates: optax mixes the two kinds, which strict promotion refuses.
    return lambda step: jnp.asarray(schedule(jnp.asarray(step, jnp.float32)), jnp.float32)
