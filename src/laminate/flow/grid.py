"""The times at which a sampler stops."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class TimeGrid(eqx.Module):
    """Times from 0 upwards; the first `intervals + 1` of them count, the rest repeat the last one.

    Both are arrays and the length is padded, so that one compiled sampler serves every number of steps up to it.
    """

    times: Float[Array, " points"]
    intervals: Int[Array, ""]

    def begun(self, first: int) -> "TimeGrid":
        """The rest of the grid from its point `first` on, for states that are there already: as long an array, so that
        the same compiled sampler serves it. Raises ValueError unless an interval is left."""
        if not 0 <= first < int(self.intervals):
            raise ValueError(f"A grid of {int(self.intervals)} intervals has none left at point {first}.")
        rest = jnp.concatenate([self.times[first:], jnp.repeat(self.times[-1:], first)])
        return TimeGrid(rest, self.intervals - first)


def time_grid(intervals: int, *, time_shift: float = 1.0, last: float = 1.0, capacity: int = 256) -> TimeGrid:
    """`intervals + 1` equally spaced times from 0 to `last`, each moved towards the noise by `shift_time`.

    FlatDINO samples with 50 intervals; RAE with 49, `last=0.999` and the shift of its training; LightningDiT with
    249 and `time_shift=1/0.3`. The grid is padded to a multiple of `capacity` intervals.

    Raises ValueError for fewer than one interval, `time_shift <= 0`, or `last` outside (0, 1].
    """
    if intervals < 1:
        raise ValueError(f"A sampler needs at least one step, got {intervals}.")
    if time_shift <= 0:
        raise ValueError(f"A time shift needs time_shift > 0, got time_shift={time_shift}.")
    if not 0.0 < last <= 1.0:
        raise ValueError(f"The last time must lie in (0, 1], got last={last}.")
    tau = np.linspace(0.0, last, intervals + 1)
    times = tau / (time_shift * (1.0 - tau) + tau)
    padded = np.pad(times, (0, math.ceil(intervals / capacity) * capacity - intervals), mode="edge")
    return TimeGrid(jnp.asarray(padded, jnp.float32), jnp.asarray(intervals, jnp.int32))
