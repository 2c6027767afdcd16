"""One update of two players, what makes images and its discriminator, with the outer signature of `step.make_step`.

Both losses are averaged over the mesh before they are differentiated. What the frozen networks say of a batch is
computed once, for both players.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from laminate.parallel.mesh import AXES, compiler_options
from laminate.parallel.sharding import layout, replicated, specs
from laminate.train.gan_gradients import GanSetting, decoder_gradients, discriminator_gradients
from laminate.train.gan_objectives import DecoderExample, GanObjectives
from laminate.train.state import GanState, TrainState
from laminate.train.step import GlobalBatch, update
from laminate.types import BatchStatistics, Metrics

SCOPES = (
    "prepare",
    "decoder",
    "reconstruct",
    "generator_loss",
    "see_fake",
    "see_real",
    "discriminator_loss",
)

Step = Any  # jitted, which has no type of its own


def make_gan_step(
    objectives: GanObjectives,
    optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    state: GanState,
    frozen: PyTree,
    *,
    mesh: Mesh,
    micro_batches: int = 1,
    ema_decay: float | None = None,
    discriminator_ema_decay: float | None = None,
    compute_dtype: jnp.dtype = jnp.dtype(jnp.float32),
) -> "GanStep":
    """`step(state, frozen, batch) -> (state, metrics)`, compiled for the mesh; as `step.make_step`.

    The decoder descends `reconstruct + weight * balance * generator_loss` (Esser et al. 2021), where the balance is one
    number for the global batch, whatever the mesh and the number of parts. Then, on images of the decoder just updated
    from the same inputs, the discriminator descends `discriminator_loss`, with the mean gradient of the whole mesh; its
    power iterations and running statistics go on once for the generated and once for the real images. What of the
    decoder is trained, the state says (`init_state`).

    Metrics: `loss`, `grad_norm`, `reconstruction_loss` and the terms of `reconstruct`; `adversarial_loss` and
    `adversarial_weight` (the balance); `discriminator_loss`, `discriminator_grad_norm` and the terms of
    `discriminator_loss`. What does not act yet is 0.

    In profiles and in the compiled program the parts are the named scopes of `SCOPES`.

    Raises ValueError for several parts and a discriminator with batch norm, whose statistics would be those of a part.
    """
    _require_whole_batch(state, micro_batches)
    setting = GanSetting(objectives, (state, frozen), mesh, micro_batches, compute_dtype)
    discriminate = jax.shard_map(
        lambda s, f, examples: discriminator_gradients(setting, s, f, examples),
        mesh=mesh,
        in_specs=(specs(state, mesh), specs(frozen, mesh), P(AXES)),
        out_specs=(specs(state.discriminator.params, mesh), P(), P()),
    )

    def discriminated(
        state: GanState, frozen: PyTree, examples: DecoderExample
    ) -> tuple[TrainState, Metrics]:
        grads, buffers, metrics = discriminate(state, frozen, examples)
        d = update(state.discriminator, grads, discriminator_optimizer, discriminator_ema_decay)
        d = TrainState(d.params, buffers, d.opt_state, d.ema, d.step, d.key)
        return d, {**metrics, "discriminator_grad_norm": optax.tree.norm(grads)}

    def compiled(acting: _Acting) -> Step:
        decode = jax.shard_map(
            lambda s, f, b: decoder_gradients(setting, s, f, b, adversarial=acting.adversary),
            mesh=mesh,
            in_specs=(specs(state, mesh), specs(frozen, mesh), P(AXES)),
            out_specs=(specs(state.params, mesh), P(), P(AXES)),
        )

        def step(state: GanState, frozen: PyTree, batch: GlobalBatch) -> tuple[GanState, Metrics]:
            grads, metrics, examples = decode(state, frozen, batch)
            metrics = {**metrics, "grad_norm": optax.tree.norm(grads)}
            new = update(state, grads, optimizer, ema_decay)
            whole = lambda step, d: GanState(
                new.params, new.buffers, new.opt_state, new.ema, step, new.key, d
            )
            # The discriminator's turn still has the number of this step: keys of both belong together.
            decoded = whole(state.step, state.discriminator)
            if acting.discriminator:
                discriminator, terms = discriminated(decoded, frozen, examples)
            else:
                terms = jax.eval_shape(discriminated, decoded, frozen, examples)[1]
                terms = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), terms)
                discriminator = state.discriminator
            return whole(new.step, discriminator), {**metrics, **terms}

        return jax.jit(
            step,
            donate_argnums=0,
            out_shardings=(layout(state, mesh), replicated(mesh)),
            compiler_options=compiler_options(mesh),
        )

    return GanStep(objectives, compiled)


def _require_whole_batch(state: GanState, micro_batches: int) -> None:
    is_of_batch = lambda node: isinstance(node, BatchStatistics)
    found = jax.tree.leaves(state.discriminator.params, is_leaf=is_of_batch)
    if micro_batches > 1 and any(map(is_of_batch, found)):
        raise ValueError(
            f"A discriminator with batch norm is trained on the statistics of the global batch, and this one comes in "
            f"{micro_batches} parts: take more devices or a larger --device-batch-size, or another norm."
        )


class _Acting(NamedTuple):
    """Which has an effect in a step: the adversary on the images, the discriminator's own training."""

    adversary: bool
    discriminator: bool


class GanStep:
    """`step(state, frozen, batch) -> (state, metrics)`: a function for each phase of the training, compiled when the
    training comes to it.

    A condition inside one compiled function would cost more than it saves: a CPU computes convolutions under it many
    times slower.
    """

    def __init__(self, objectives: GanObjectives, compiled: Callable[[_Acting], Step]):
        self._objectives, self._compiled = objectives, cache(compiled)
        self._returned: GanState | None = None
        self._number = 0

    def __call__(self, state: GanState, frozen: PyTree, batch: GlobalBatch) -> tuple[GanState, Metrics]:
        # Of a state that came from here the number is known, and the device need not be waited for.
        number = self._number if state is self._returned else int(state.step)
        acting = _Acting(
            number >= self._objectives.adversarial_start, number >= self._objectives.discriminator_start
        )
        state, metrics = self._compiled(acting)(state, frozen, batch)
        self._returned, self._number = state, number + 1
        return state, metrics

    def lower(self, state: GanState, frozen: PyTree, batch: dict[str, Any]) -> Any:
        """The step in which both players act, on arrays or their shapes, before it is compiled."""
        return self.trace(state, frozen, batch).lower()

    def trace(self, state: GanState, frozen: PyTree, batch: dict[str, Any]) -> Any:
        """The same before it is lowered: its `jaxpr`."""
        return self._compiled(_Acting(True, True)).trace(state, frozen, batch)
