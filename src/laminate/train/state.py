"""All that a training run carries from one step to the next."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from laminate.types import RandomKey, join_buffers, split_buffers


class TrainState(eqx.Module):
    """Model, optimiser state and average, with the number of completed updates and the key of the run.

    `params` are the arrays of the model that are trained, float32; `buffers` are all others. `ema` is the average of
    `params`, None in a run without averaging; with a schedule-free optimiser it is the one that this keeps.
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
    model: Any,
    optimizer: optax.GradientTransformation,
    *,
    averaged: bool,
    key: RandomKey,
    trained: Callable[[Any], Any] | None = None,
) -> TrainState:
    """The state before the first update.

    `trained(model)` picks the parts that are trained, such as `lambda m: m.decoder` or `lambda m: (m.stem, m.decoder)`;
    None is the whole model. The others stay bit for bit as they are: no gradient is taken of them, and neither
    optimiser nor average holds anything of them.
    """
    params, buffers = split_buffers(model)
    if trained is not None:
        params, untrained = split_trained(params, trained)
        buffers = eqx.combine(buffers, untrained)
    ema = jax.tree.map(jnp.copy, params) if averaged else None
    return TrainState(params, buffers, optimizer.init(params), ema, jnp.zeros((), jnp.int32), key)


def split_trained(tree: PyTree, trained: Callable[[Any], Any]) -> tuple[PyTree, PyTree]:
    """What `trained` picks of `tree`, and all else; each has None in the places of the other."""
    chosen = eqx.tree_at(
        trained,
        jax.tree.map(lambda _: False, tree),
        replace_fn=lambda part: jax.tree.map(lambda _: True, part),
        is_leaf=lambda node: node is None,  # a part that this model lacks
    )
    return eqx.partition(tree, chosen)


def init_gan_state(generator: TrainState, discriminator: TrainState) -> GanState:
    """The state of both before the first update."""
    g = generator
    return GanState(g.params, g.buffers, g.opt_state, g.ema, g.step, g.key, discriminator)
