"""The gradients of the two players of `gan_step` on one device's share of a batch, and what they measure."""

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from laminate.parallel.collectives import mesh_mean, rows_of_this_device, zeros_as
from laminate.parallel.sharding import mesh_norm, per_device, resolve_outside_scans, wrap_shards
from laminate.train.gan_objectives import DecoderExample, DiscriminatorInputs, GanObjectives
from laminate.train.state import GanState, TrainState
from laminate.train.step import GlobalBatch, accumulate, in_parts
from laminate.types import Image, Metrics, RandomKey, Scalar, join_buffers, split_buffers


class GanSetting(NamedTuple):
    """What both halves of the step need beside their arguments."""

    objectives: GanObjectives
    like: tuple[GanState, PyTree]
    mesh: Mesh
    parts: int
    dtype: jnp.dtype

    def whole(self, tree: PyTree, like: PyTree) -> Any:
        """The frozen networks of local pieces."""
        return resolve_outside_scans(wrap_shards(tree, like, self.mesh, None))

    def model(self, halves: "_Halves | TrainState", like: "_Halves | TrainState") -> Any:
        """The module of local pieces: of its parameters, and of the rest of it."""
        params = wrap_shards(halves.params, like.params, self.mesh, self.dtype)
        buffers = wrap_shards(halves.buffers, like.buffers, self.mesh, self.dtype)
        return resolve_outside_scans(join_buffers(params, buffers))


class _Halves(NamedTuple):
    """A module: what is differentiated, and the rest of it."""

    params: PyTree
    buffers: PyTree


class _Keys(NamedTuple):
    """The keys of the examples of a part, by use."""

    prepare: Array
    decoder: Array
    generated: Array
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
    adversarial: PyTree


def decoder_gradients(
    setting: GanSetting, state: GanState, frozen: PyTree, batch: GlobalBatch, *, adversarial: bool
) -> tuple[PyTree, Metrics, DecoderExample]:
    """Of this device's share: the global gradients, the metrics, and what the frozen networks said."""
    objectives, parts = setting.objectives, setting.parts
    like_state, like_frozen = setting.like
    share = next(iter(batch.values())).shape[0]
    frozen = setting.whole(frozen, like_frozen)
    critic = setting.model(state.discriminator, like_state.discriminator)
    own, like = _with_last(objectives, state), _with_last(objectives, like_state)
    local, sum_over_devices = jax.vjp(lambda p: per_device(p, like.params, setting.mesh), own.params)
    model = lambda params: setting.model(_Halves(params, own.buffers), like)

    def one_part(batch: GlobalBatch, keys: _Keys) -> tuple[Any, Any, Metrics, DecoderExample]:
        with jax.named_scope("prepare"):
            read = partial(objectives.prepare, frozen, step=state.step)
            examples = jax.lax.stop_gradient(jax.vmap(lambda e, k: read(e, key=k))(batch, keys.prepare))

        @jax.named_scope("decoder")
        def hidden_of(params: PyTree) -> PyTree:
            decoder = model(params)
            one = lambda inputs, key: objectives.hidden(decoder, frozen, inputs, key=key)
            return jax.vmap(one)(examples.inputs, keys.decoder)

        @jax.named_scope("decoder")
        def images_of(params: PyTree, hidden: PyTree) -> Array:
            decoder = model(params)
            return jax.vmap(lambda h: objectives.image(decoder, h))(hidden)

        hidden, pull_hidden = jax.vjp(hidden_of, local)
        images, pull_images = jax.vjp(images_of, local, hidden)
        (rebuilt, aside), metrics = _rebuild(objectives, images, hidden, examples, frozen, state.step)
        fooled, adversarial_loss = zeros_as((images, images[0, 0, 0, 0]))
        if adversarial:
            fooled, adversarial_loss = _fool(objectives, images, critic, frozen, keys.generated)
        at_params, at_hidden = pull_images(rebuilt)
        ends = _Pulled((at_params, jax.tree.map(jnp.add, at_hidden, aside)), pull_images(fooled))
        return ends, pull_hidden, {**metrics, "adversarial_loss": adversarial_loss}, examples

    keys = _keys(state, share)
    if parts == 1:
        ends, pull_hidden, metrics, examples = one_part(batch, keys)
        at_last = _Pulled(ends.rebuild[0], ends.adversarial[0])
        balance = _balance(setting, at_last, like.params) if adversarial else jnp.zeros(())
        total = jax.tree.map(partial(_balanced, objectives.weight * balance), *ends)
        grads = jax.tree.map(jnp.add, total[0], pull_hidden(total[1])[0])
    else:
        # The balance is known after the last part only, so each part is pulled back twice.
        def body(sums: _Pulled, part: Any) -> tuple[_Pulled, Any]:
            ends, pull_hidden, metrics, examples = one_part(*part)
            pulled = _Pulled(*(jax.tree.map(jnp.add, own, pull_hidden(up)[0]) for own, up in ends))
            return jax.tree.map(jnp.add, sums, pulled), (metrics, examples)

        zeros = jax.tree.map(jnp.zeros_like, local)
        sums, (metrics, examples) = jax.lax.scan(body, _Pulled(zeros, zeros), in_parts((batch, keys), parts))
        pulled = jax.tree.map(lambda g: g / parts, sums)
        balance = _balance(setting, pulled, like.params) if adversarial else jnp.zeros(())
        grads = jax.tree.map(partial(_balanced, objectives.weight * balance), *pulled)
        metrics = jax.tree.map(jnp.mean, metrics)
        examples = jax.tree.map(lambda x: x.reshape(share, *x.shape[2:]), examples)
    metrics = {**mesh_mean(metrics), "adversarial_weight": balance}
    weighted = objectives.weight * balance * metrics["adversarial_loss"]
    metrics["loss"] = metrics["reconstruction_loss"] + weighted
    return _where_trained(sum_over_devices(grads)[0], state.params), metrics, examples


def _with_last(objectives: GanObjectives, state: TrainState) -> _Halves:
    """What is differentiated: the parameters and the weight of the last layer, which need not be one of them."""
    last, halves = objectives.last, _Halves(state.params, state.buffers)
    if last(state.params) is not None:
        return halves
    return _Halves(
        eqx.tree_at(last, halves.params, last(state.buffers), is_leaf=_is_none),
        eqx.tree_at(last, halves.buffers, replace_fn=lambda _: None),
    )


def _where_trained(grads: PyTree, params: PyTree) -> PyTree:
    return jax.tree.map(lambda p, g: None if p is None else g, params, grads, is_leaf=_is_none)


def _is_none(node: Any) -> bool:
    return node is None


def _balanced(weight: Scalar, rebuild: Array, adversarial: Array) -> Array:
    """`rebuild + weight * adversarial`, computed in float32, in the dtype of both: what leaves `hidden` has the
    compute's."""
    wide = rebuild.astype(jnp.float32) + weight * adversarial.astype(jnp.float32)
    return wide.astype(rebuild.dtype)


def _balance(setting: GanSetting, pulled: _Pulled, like: PyTree) -> Scalar:
    """The adaptive balance of the two gradients, by their norms at the decoder's last layer over the whole mesh."""
    last = setting.objectives.last
    return setting.objectives.balance(*(mesh_norm(last(grads), last(like), setting.mesh) for grads in pulled))


def _rebuild(
    objectives: GanObjectives,
    images: Array,
    hidden: PyTree,
    examples: DecoderExample,
    frozen: PyTree,
    step: Array,
) -> tuple[tuple[Array, PyTree], Metrics]:
    """The derivatives of the global mean of `reconstruct` by this device's images, and by `hidden` beside them; its
    terms."""

    @jax.named_scope("reconstruct")
    def mean_loss(images: Array, hidden: PyTree) -> tuple[Scalar, Metrics]:
        one = lambda image, hidden, example: objectives.reconstruct(image, hidden, example, frozen, step=step)
        loss, terms = jax.vmap(one)(images, hidden, examples)
        means = jax.tree.map(jnp.mean, {**terms, "reconstruction_loss": loss})
        return mesh_mean(means["reconstruction_loss"]), means

    return jax.grad(mean_loss, argnums=(0, 1), has_aux=True)(images, hidden)


def _fool(
    objectives: GanObjectives, images: Array, critic: Any, frozen: PyTree, keys: Array
) -> tuple[Array, Scalar]:
    """The derivative of the global mean of `generator_loss` by this device's images, and its mean here."""

    @jax.named_scope("generator_loss")
    def mean_loss(images: Array) -> tuple[Scalar, Scalar]:
        def one(image: Image, key: RandomKey) -> Scalar:
            return objectives.generator_loss(critic(objectives.views(image, frozen, key=key)[0]))

        mean = jnp.mean(jax.vmap(one)(images, keys))
        return mesh_mean(mean), mean

    return jax.grad(mean_loss, has_aux=True)(images)


# The discriminator


def discriminator_gradients(
    setting: GanSetting, state: GanState, frozen: PyTree, examples: DecoderExample
) -> tuple[PyTree, PyTree, Metrics]:
    """Of this device's share: the global gradients, the new buffers, and the metrics."""
    objectives = setting.objectives
    like_state, like_frozen = setting.like
    own, like = state.discriminator, like_state.discriminator
    devices = setting.mesh.devices.size
    share = examples.target.shape[0]
    frozen = setting.whole(frozen, like_frozen)
    decoder = setting.model(state, like_state)
    local, sum_over_devices = jax.vjp(lambda p: per_device(p, like.params, setting.mesh), own.params)

    def mean_loss(
        params: PyTree, examples: DecoderExample, keys: _Keys
    ) -> tuple[Scalar, tuple[Metrics, PyTree]]:
        critic = setting.model(_Halves(params, own.buffers), like)

        @jax.named_scope("decoder")
        def decoded(inputs: PyTree) -> Image:
            hidden = objectives.hidden(decoder, frozen, inputs, key=None)
            return objectives.quantize(objectives.image(decoder, hidden))

        images = jax.lax.stop_gradient(jax.vmap(decoded)(examples.clean))
        see = jax.vmap(lambda image, key: objectives.views(image, frozen, key=key))
        fake = jax.named_scope("see_fake")(see)(images, keys.fake)
        real = jax.named_scope("see_real")(see)(examples.target, keys.real)
        on_fake, critic = critic.training(fake[0], average=mesh_mean, parts=devices)
        on_real, critic = critic.training(real[0], average=mesh_mean, parts=devices)
        judge = lambda real, fake: objectives.discriminator_loss(
            DiscriminatorInputs(on_real, real), DiscriminatorInputs(on_fake, fake)
        )
        loss, terms = jax.named_scope("discriminator_loss")(jax.vmap(judge))(real, fake)
        means = jax.tree.map(jnp.mean, {**terms, "discriminator_loss": loss})
        return mesh_mean(means["discriminator_loss"]), (means, split_buffers(critic)[1])

    # Every part begins with the same buffers, so that their number changes nothing.
    grads, (metrics, buffers) = accumulate(mean_loss, local, (examples, _keys(state, share)), setting.parts)
    return sum_over_devices(grads)[0], mesh_mean(buffers), mesh_mean(metrics)
