"""One update of two players, a decoder of images and its discriminator, with the outer signature of `step.make_step`.

Both losses are averaged over the mesh before they are differentiated. What the frozen networks say of a batch is
computed once, for both players.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, PyTree

from laminate.parallel.collectives import mesh_mean, rows_of_this_device, zeros_as
from laminate.parallel.mesh import AXES, compiler_options
from laminate.parallel.sharding import (
    layout,
    mesh_norm,
    per_device,
    replicated,
    resolve_outside_scans,
    specs,
    wrap_shards,
)
from laminate.train.players import Players, Prepared, Seen
from laminate.train.state import GanState, TrainState
from laminate.train.step import Batch, accumulate, cut, update
from laminate.types import Image, Metrics, RandomKey, Scalar, join_buffers, split_buffers

SCOPES = ("prepare", "decoder", "reconstruct", "fool", "see_fake", "see_real", "judge")

Step = Any  # jitted, which has no type of its own


class _Setting(NamedTuple):
    """What both halves of the step need beside their arguments."""

    players: Players
    like: tuple[GanState, PyTree]
    mesh: Mesh
    parts: int
    dtype: jnp.dtype

    def whole(self, tree: PyTree, like: PyTree, buffers: PyTree = None) -> Any:
        """The module of local pieces."""
        shards = wrap_shards(tree, like, self.mesh, self.dtype)
        return resolve_outside_scans(shards if buffers is None else join_buffers(shards, buffers))


def make_gan_step(
    players: Players,
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

    The decoder descends `reconstruct + weight * balance * fool` (Esser et al. 2021), where the balance is one number
    for the global batch, whatever the mesh and the number of parts. Then, on images of the decoder just updated from
    the same latents, the discriminator descends `discriminate`, with the mean gradient of the whole mesh; its power
    iterations and running statistics go on once for the painted and once for the real images.

    Metrics: `loss`, `grad_norm`, `reconstruction_loss` and the terms of `reconstruct`; `adversarial_loss` and
    `adversarial_weight` (the balance); `discriminator_loss`, `discriminator_grad_norm` and the terms of
    `discriminate`. What does not act yet is 0.

    In profiles and in the compiled program the parts are the named scopes of `SCOPES`.
    """
    setting = _Setting(players, (state, frozen), mesh, micro_batches, compute_dtype)
    judge = jax.shard_map(
        lambda s, f, prepared: _discriminator_gradients(setting, s, f, prepared),
        mesh=mesh,
        in_specs=(specs(state, mesh), specs(frozen, mesh), P(AXES)),
        out_specs=(specs(state.discriminator.params, mesh), P(), P()),
    )

    def judged(state: GanState, frozen: PyTree, prepared: Prepared) -> tuple[TrainState, Metrics]:
        grads, buffers, metrics = judge(state, frozen, prepared)
        d = update(state.discriminator, grads, discriminator_optimizer, discriminator_ema_decay)
        d = TrainState(d.params, buffers, d.opt_state, d.ema, d.step, d.key)
        return d, {**metrics, "discriminator_grad_norm": optax.tree.norm(grads)}

    def compiled(acting: _Acting) -> Step:
        paint = jax.shard_map(
            lambda s, f, b: _decoder_gradients(setting, s, f, b, fools=acting.fools),
            mesh=mesh,
            in_specs=(specs(state, mesh), specs(frozen, mesh), P(AXES)),
            out_specs=(specs(state.params, mesh), P(), P(AXES)),
        )

        def step(state: GanState, frozen: PyTree, batch: Batch) -> tuple[GanState, Metrics]:
            grads, metrics, prepared = paint(state, frozen, batch)
            metrics = {**metrics, "grad_norm": optax.tree.norm(grads)}
            new = update(state, grads, optimizer, ema_decay)
            whole = lambda step, d: GanState(
                new.params, new.buffers, new.opt_state, new.ema, step, new.key, d
            )
            # The discriminator's turn still has the number of this step: keys of both belong together.
            painted = whole(state.step, state.discriminator)
            if acting.judges:
                discriminator, terms = judged(painted, frozen, prepared)
            else:
                terms = jax.eval_shape(judged, painted, frozen, prepared)[1]
                terms = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), terms)
                discriminator = state.discriminator
            return whole(new.step, discriminator), {**metrics, **terms}

        return jax.jit(
            step,
            donate_argnums=0,
            out_shardings=(layout(state, mesh), replicated(mesh)),
            compiler_options=compiler_options(mesh),
        )

    return GanStep(players, compiled)


class _Acting(NamedTuple):
    """Which of the adversary's two effects a step has."""

    fools: bool
    judges: bool


class GanStep:
    """`step(state, frozen, batch) -> (state, metrics)`: a function for each phase of the training, compiled when the
    training comes to it.

    A condition inside one compiled function would cost more than it saves: a CPU computes convolutions under it many
    times slower.
    """

    def __init__(self, players: Players, compiled: Callable[[_Acting], Step]):
        self._players, self._compiled = players, cache(compiled)
        self._returned: GanState | None = None
        self._number = 0

    def __call__(self, state: GanState, frozen: PyTree, batch: Batch) -> tuple[GanState, Metrics]:
        # Of a state that came from here the number is known, and the device need not be waited for.
        number = self._number if state is self._returned else int(state.step)
        acting = _Acting(
            number >= self._players.adversarial_start, number >= self._players.discriminator_start
        )
        state, metrics = self._compiled(acting)(state, frozen, batch)
        self._returned, self._number = state, number + 1
        return state, metrics

    def lower(self, state: GanState, frozen: PyTree, batch: dict[str, Any]) -> Any:
        """The step in which both players act, on arrays or their shapes, before it is compiled."""
        return self._compiled(_Acting(True, True)).lower(state, frozen, batch)


class _Keys(NamedTuple):
    """The keys of the examples of a part, by use."""

    prepare: Array
    decoder: Array
    fool: Array
    fake: Array
    real: Array


def _keys(state: GanState, share: int) -> _Keys:
    step_key = jax.random.fold_in(state.key, state.step)
    of_row = lambda row: jax.random.split(jax.random.fold_in(step_key, row), len(_Keys._fields))
    keys = jax.vmap(of_row)(rows_of_this_device(share))
    return _Keys(*(keys[:, use] for use in range(len(_Keys._fields))))


# The decoder


class _Pulled(NamedTuple):
    """Gradients of the two terms at the decoder's parameters, before they are balanced."""

    rebuild: PyTree
    fool: PyTree


def _decoder_gradients(
    setting: _Setting, state: GanState, frozen: PyTree, batch: Batch, *, fools: bool
) -> tuple[PyTree, Metrics, Prepared]:
    """Of this device's share: the global gradients, the metrics, and what the frozen networks said."""
    players, parts = setting.players, setting.parts
    like_state, like_frozen = setting.like
    share = next(iter(batch.values())).shape[0]
    frozen = setting.whole(frozen, like_frozen)
    critic = setting.whole(
        state.discriminator.params, like_state.discriminator.params, state.discriminator.buffers
    )
    local, sum_over_devices = jax.vjp(lambda p: per_device(p, like_state.params, setting.mesh), state.params)
    model = lambda params: setting.whole(params, like_state.params, state.buffers)

    def one_part(batch: Batch, keys: _Keys) -> tuple[Any, Any, Metrics, Prepared]:
        with jax.named_scope("prepare"):
            prepared = jax.vmap(lambda e, k: players.prepare(frozen, e, key=k))(batch, keys.prepare)
        prepared = jax.lax.stop_gradient(prepared)

        @jax.named_scope("decoder")
        def hidden_of(params: PyTree) -> Array:
            decoder = model(params)
            return jax.vmap(lambda z, k: decoder.hidden(z.astype(setting.dtype), key=k))(
                prepared.latents, keys.decoder
            )

        hidden, pull_hidden = jax.vjp(hidden_of, local)
        paint = jax.named_scope("decoder")(lambda p, h: jax.vmap(model(p).paint)(h))
        images, pull_paint = jax.vjp(paint, local, hidden)
        rebuilt, metrics = _rebuild(players, images, prepared, frozen, state.step)
        fooled, adversarial_loss = zeros_as((images, images[0, 0, 0, 0]))
        if fools:
            fooled, adversarial_loss = _fool(players, images, critic, frozen, keys.fool)
        ends = _Pulled(pull_paint(rebuilt), pull_paint(fooled))
        return ends, pull_hidden, {**metrics, "adversarial_loss": adversarial_loss}, prepared

    keys = _keys(state, share)
    if parts == 1:
        ends, pull_hidden, metrics, prepared = one_part(batch, keys)
        balance = _balance(setting, _Pulled(ends.rebuild[0], ends.fool[0])) if fools else jnp.zeros(())
        total = jax.tree.map(partial(_balanced, players.weight * balance), *ends)
        grads = jax.tree.map(jnp.add, total[0], pull_hidden(total[1])[0])
    else:
        # The balance is known after the last part only, so each part is pulled back twice.
        def body(sums: _Pulled, part: Any) -> tuple[_Pulled, Any]:
            ends, pull_hidden, metrics, prepared = one_part(*part)
            pulled = _Pulled(*(jax.tree.map(jnp.add, own, pull_hidden(up)[0]) for own, up in ends))
            return jax.tree.map(jnp.add, sums, pulled), (metrics, prepared)

        start = jax.tree.map(jnp.zeros_like, local)
        sums, (metrics, prepared) = jax.lax.scan(body, _Pulled(start, start), cut((batch, keys), parts))
        pulled = jax.tree.map(lambda g: g / parts, sums)
        balance = _balance(setting, pulled) if fools else jnp.zeros(())
        grads = jax.tree.map(partial(_balanced, players.weight * balance), *pulled)
        metrics = jax.tree.map(jnp.mean, metrics)
        prepared = jax.tree.map(lambda x: x.reshape(share, *x.shape[2:]), prepared)
    metrics = mesh_mean(metrics)
    metrics["loss"] = metrics["reconstruction_loss"] + players.weight * balance * metrics["adversarial_loss"]
    metrics["adversarial_weight"] = balance
    return sum_over_devices(grads)[0], metrics, prepared


def _balanced(weight: Scalar, rebuild: Array, fool: Array) -> Array:
    """`rebuild + weight * fool`, computed in float32, in the dtype of both: what leaves `hidden` has the compute's."""
    wide = rebuild.astype(jnp.float32) + weight * fool.astype(jnp.float32)
    return wide.astype(rebuild.dtype)


def _balance(setting: _Setting, pulled: _Pulled) -> Scalar:
    """The adaptive balance of the two gradients, by their norms at the decoder's last layer over the whole mesh."""
    like = setting.like[0].params.last.weight
    return setting.players.balance(*(mesh_norm(grads.last.weight, like, setting.mesh) for grads in pulled))


def _rebuild(
    players: Players, images: Array, prepared: Prepared, frozen: PyTree, step: Array
) -> tuple[Array, Metrics]:
    """The derivative of the global mean of `reconstruct` by this device's images, and its terms."""

    @jax.named_scope("reconstruct")
    def mean_loss(images: Array) -> tuple[Scalar, Metrics]:
        loss, terms = jax.vmap(lambda i, p: players.reconstruct(i, p, frozen, step=step))(images, prepared)
        means = jax.tree.map(jnp.mean, {**terms, "reconstruction_loss": loss})
        return mesh_mean(means["reconstruction_loss"]), means

    return jax.grad(mean_loss, has_aux=True)(images)


def _fool(players: Players, images: Array, critic: Any, frozen: PyTree, keys: Array) -> tuple[Array, Scalar]:
    """The derivative of the global mean of `fool` by this device's images, and its mean here."""

    @jax.named_scope("fool")
    def mean_loss(images: Array) -> tuple[Scalar, Scalar]:
        def one(image: Image, key: RandomKey) -> Scalar:
            return players.fool(critic(players.views(image, frozen, key=key)[0]))

        mean = jnp.mean(jax.vmap(one)(images, keys))
        return mesh_mean(mean), mean

    return jax.grad(mean_loss, has_aux=True)(images)


# The discriminator


def _discriminator_gradients(
    setting: _Setting, state: GanState, frozen: PyTree, prepared: Prepared
) -> tuple[PyTree, PyTree, Metrics]:
    """Of this device's share: the global gradients, the new buffers, and the metrics."""
    players = setting.players
    like_state, like_frozen = setting.like
    own, like = state.discriminator, like_state.discriminator
    devices = setting.mesh.devices.size
    share = prepared.target.shape[0]
    frozen = setting.whole(frozen, like_frozen)
    decoder = setting.whole(state.params, like_state.params, state.buffers)
    local, sum_over_devices = jax.vjp(lambda p: per_device(p, like.params, setting.mesh), own.params)

    def mean_loss(params: PyTree, prepared: Prepared, keys: _Keys) -> tuple[Scalar, tuple[Metrics, PyTree]]:
        critic = setting.whole(params, like.params, own.buffers)

        @jax.named_scope("decoder")
        def painted(z: Array) -> Image:
            return players.stored(decoder.paint(decoder.hidden(z.astype(setting.dtype))))

        images = jax.lax.stop_gradient(jax.vmap(painted)(prepared.clean))
        see = jax.vmap(lambda image, key: players.views(image, frozen, key=key))
        fake = jax.named_scope("see_fake")(see)(images, keys.fake)
        real = jax.named_scope("see_real")(see)(prepared.target, keys.real)
        on_fake, critic = critic.training(fake[0], average=mesh_mean, parts=devices)
        on_real, critic = critic.training(real[0], average=mesh_mean, parts=devices)
        judge = lambda real, fake: players.discriminate(Seen(on_real, real), Seen(on_fake, fake))
        loss, terms = jax.named_scope("judge")(jax.vmap(judge))(real, fake)
        means = jax.tree.map(jnp.mean, {**terms, "discriminator_loss": loss})
        return mesh_mean(means["discriminator_loss"]), (means, split_buffers(critic)[1])

    # Every part begins with the same buffers, so that their number changes nothing.
    grads, (metrics, buffers) = accumulate(mean_loss, local, (prepared, _keys(state, share)), setting.parts)
    return sum_over_devices(grads)[0], mesh_mean(buffers), mesh_mean(metrics)
