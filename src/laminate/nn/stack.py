"""Depth as an axis: layers of one shape, stacked and scanned."""

import copy
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from laminate.types import GATHERED, RandomKey, Scalar, Scanned, is_lazy, resolve

Remat = Literal["none", "products", "dots", "block", "attention"]
C = TypeVar("C")
T = TypeVar("T")


class Stack(Scanned):
    """`depth` layers applied in turn, held as one layer whose arrays have a leading depth axis.

    The layers are traced and compiled once, whatever the depth. `Lazy` (sharded) leaves are resolved inside the
    scan, so one layer at a time is whole, and again in the backward pass. `remat` says what else the backward pass
    recomputes: nothing, all but the results of products and kernels (`"products"`: no product is computed twice, and a
    fifth of the memory is kept), all but those of matrix products with weights (`"dots"`: attention is computed again),
    or everything within a layer (`"block"`). `"attention"` is for the layers themselves: `nn.Attention` recomputes its
    probabilities.

    With `unroll` the layers are written out one after the other, for a few layers of convolutions, which a CPU computes
    many times slower inside a loop.

    `drop_path_rate` is the rate of the last layer; layer `i` has `i / (depth - 1)` of it, and the first has none.
    """

    layers: PyTree
    depth: int = eqx.field(static=True)
    drop_path_rate: float = eqx.field(static=True)
    remat: Remat = eqx.field(static=True)
    unroll: bool = eqx.field(static=True)

    def __init__(
        self,
        make_layer: Callable[[RandomKey], eqx.Module],
        depth: int,
        *,
        drop_path_rate: float = 0.0,
        remat: Remat = "none",
        unroll: bool = False,
        key: RandomKey,
    ):
        if depth < 1:
            raise ValueError(f"A stack needs depth >= 1, got depth={depth}.")
        self.layers = jax.vmap(make_layer)(jax.random.split(key, depth))
        self.depth = depth
        self.drop_path_rate = drop_path_rate
        self.remat = remat
        self.unroll = unroll

    def __call__(self, x: Array, *args: Any, key: RandomKey | None = None) -> Array:
        """`x` after every layer; `args` go to each of them."""

        def call(layer: Any, x: Array, rate: Scalar | None, k_layer: RandomKey | None) -> tuple[Array, None]:
            if rate is None:
                return layer(x, *args, key=k_layer), None
            return layer(x, *args, drop_rate=rate, key=k_layer), None

        return self.scan(call, x, key=key)[0]

    def with_remat(self, remat: Remat) -> "Stack":
        """The same layers, of which the backward pass computes again what `remat` says."""
        other = copy.copy(self)
        object.__setattr__(other, "remat", remat)
        return other

    def taps(self, x: Array, layers: tuple[int, ...], *args: Any) -> tuple[Array, Array]:
        """`x` after every layer, and after each of `layers`, stacked in the order asked for; deterministic.

        Layers are counted from 0, or from the end if negative. Only what was asked for is kept.
        Raises ValueError for a layer that the stack does not have.
        """
        wrong = [layer for layer in layers if not -self.depth <= layer < self.depth]
        if wrong:
            raise ValueError(f"This stack has layers 0 to {self.depth - 1}, and {wrong} were asked for.")
        numbers = jnp.asarray([layer % self.depth for layer in layers], jnp.int32)

        def call(
            layer: Any, carry: tuple[Array, Array, Array], rate: Scalar | None, k_layer: RandomKey | None
        ) -> tuple[tuple[Array, Array, Array], None]:
            x, kept, number = carry
            x = layer(x, *args)
            here = (numbers == number).reshape(-1, *(1,) * x.ndim)
            kept = jnp.where(jnp.broadcast_to(here, kept.shape), jnp.broadcast_to(x, kept.shape), kept)
            return (x, kept, number + 1), None

        # Every place is overwritten. It begins as `x`, so that a sharded step sees it vary over devices as `x` does.
        kept = jnp.broadcast_to(x, (len(layers), *x.shape))
        (x, kept, _), _ = self.scan(call, (x, kept, jnp.zeros((), jnp.int32)))
        return x, kept

    def scan(
        self,
        call: Callable[[Any, C, Scalar | None, RandomKey | None], tuple[C, PyTree]],
        x: C,
        *,
        key: RandomKey | None = None,
    ) -> tuple[C, PyTree]:
        """Fold `call(layer, x, drop_rate, key) -> (x, output)` over the layers; the outputs come back stacked."""

        def body(x: C, layer_inputs: tuple[PyTree, Scalar | None, RandomKey | None]) -> tuple[C, PyTree]:
            layer, rate, k_layer = layer_inputs
            return call(resolve(layer), x, rate, k_layer)

        sharded = any(is_lazy(leaf) for leaf in jax.tree.leaves(self.layers, is_leaf=is_lazy))
        body = _rematerialize(body, self.remat, sharded, in_loop=not self.unroll)
        keys = None if key is None else jax.random.split(key, self.depth)
        rates = None
        if key is not None and self.drop_path_rate > 0.0:
            rates = jnp.asarray(np.linspace(0.0, self.drop_path_rate, self.depth), jnp.float32)
        if not self.unroll:
            return jax.lax.scan(body, x, (self.layers, rates, keys))
        outputs: list[PyTree] = []
        for number in range(self.depth):
            x, output = body(x, jax.tree.map(lambda a, n=number: a[n], (self.layers, rates, keys)))
            outputs.append(output)
        return x, jax.tree.map(lambda *each: jnp.stack(each), *outputs)


def recomputing(tree: T, remat_of: Callable[[int], Remat]) -> T:
    """`tree`, whose stacks compute again what `remat_of` says of their depth.

    For frozen networks, which are built before it is known what fits. Where no gradient passes, that changes nothing.
    """
    return jax.tree.map(
        lambda node: node.with_remat(remat_of(node.depth)) if isinstance(node, Stack) else node,
        tree,
        is_leaf=lambda node: isinstance(node, Stack),
    )


def recomputed(layer: Callable[..., Array], remat: Remat) -> Callable[..., Array]:
    """`layer`, of which the backward pass computes everything again, unless `remat` has layers kept.

    For what stands between stacks and is large, as the steps from one size of an image to the next are.
    """
    return layer if remat in ("none", "attention") else eqx.filter_checkpoint(layer)


def _rematerialize(
    body: Callable[..., Any], remat: Remat, sharded: bool, *, in_loop: bool
) -> Callable[..., Any]:
    apart = not in_loop  # from what a loop computes, nothing outside can be taken for the same
    if remat == "block":
        return jax.checkpoint(body, prevent_cse=apart)
    if remat == "products":
        return jax.checkpoint(body, prevent_cse=apart, policy=_is_product)
    if remat == "dots":
        return jax.checkpoint(
            body, prevent_cse=apart, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable
        )
    if sharded:
        # Keeping every activation must not mean keeping every gathered weight: that would undo the sharding.
        keep = jax.checkpoint_policies.save_anything_except_these_names(GATHERED)
        return jax.checkpoint(body, prevent_cse=apart, policy=keep)
    return body


def _is_product(primitive: Any, *_: Any, **__: Any) -> bool:
    """Whether a value is worth its memory: it comes from a product, a convolution or a kernel written by hand."""
    return primitive.name in (
        "dot_general",
        "conv_general_dilated",
        "pallas_call",
        "dot_product_attention_fwd",
    )
