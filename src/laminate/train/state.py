"""All that a training run carries from one step to the next."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from laminate.types import RandomKey, join_buffers, split_buffers


class TrainState(eqx.Module):
    """Model, optimiser state and average, with the number of completed updates and the key of the run.

    `buffers` are the arrays of the model that are never trained; `params` and `ema` are the others, float32.
    `ema` is None in a run without averaging; with a schedule-free optimiser it is the average that this one keeps.
    """

    params: PyTree
    buffers: PyTree
    opt_state: PyTree
    ema: PyTree | None
    step: Int[Array, ""]
    key: RandomKey

    @property
    def model(self) -> Any:
        """The trained module."""
        return join_buffers(self.params, self.buffers)

    @property
    def averaged(self) -> Any:
        """The module with averaged parameters; the trained one in a run without averaging."""
        return self.model if self.ema is None else join_buffers(self.ema, self.buffers)


class GanState(TrainState):
    """Two players in one state: the fields of a `TrainState` are those of the generating one.

    The `discriminator` has its own updates, average (None for none) and number of completed updates, and its buffers
    change as it trains; its key is not used.
    """

    discriminator: TrainState


def init_state(
    model: Any, optimizer: optax.GradientTransformation, *, averaged: bool, key: RandomKey
) -> TrainState:
    """The state before the first update."""
    params, buffers = split_buffers(model)
    ema = jax.tree.map(jnp.copy, params) if averaged else None
    return TrainState(params, buffers, optimizer.init(params), ema, jnp.zeros((), jnp.int32), key)


def init_gan_state(generator: TrainState, discriminator: TrainState) -> GanState:
    """The state of both before the first update."""
    g = generator
    return GanState(g.params, g.buffers, g.opt_state, g.ema, g.step, g.key, discriminator)
