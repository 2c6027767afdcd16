"""Linear maps in whole numbers, for inference: int8 weights and activations with sums in int32."""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8

from laminate.nn.linear import Linear
from laminate.nn.stack import Stack
from laminate.types import Float32Params

M = TypeVar("M")

_LARGEST = 127.0  # symmetric: -128 is not used, so that zero is exactly zero
_LEAST_INPUTS = 17  # a map of fewer numbers gains nothing, and its few rows would lose the most


def rounded(x: Float[Array, "*rows dim"]) -> tuple[Int8[Array, "*rows dim"], Float[Array, "*rows"]]:
    """`x` as whole numbers from -127 to 127 and a float32 scale for each row: `x = numbers * scale` to half a scale.

    The scale is the largest magnitude of the row over 127; a row of zeros has a scale of one.
    """
    wide = x.astype(jnp.float32)
    largest = jnp.max(jnp.abs(wide), axis=-1)
    scale = jnp.where(largest > 0, largest / _LARGEST, jnp.ones_like(largest))
    numbers = jnp.round(wide / jnp.broadcast_to(scale[..., None], wide.shape))
    return jnp.clip(numbers, -_LARGEST, _LARGEST).astype(jnp.int8), scale


class Int8Linear(Linear):
    """`weight @ x + bias` in whole numbers: their sums in int32, times the scale of a row and that of a token.

    Rows of the weight are rounded once, tokens whenever it is called (W8A8, Dettmers et al. 2022, without outliers
    apart). With `s` the scale of a token and `r` that of a row, an output differs from the exact one by at most
    `sum_i (s |w_i| + r |x_i| + s r / 2) / 2`, and by nothing where both are whole multiples of their scales. Scales and
    bias are float32, and the result has the dtype of `x`. There is no derivative through the rounding.
    """

    weight: Int8[Array, "out_dim in_dim"]
    scale: Float[Array, " out_dim"]

    def __init__(self, linear: Linear):
        """`linear`, rounded."""
        self.weight, self.scale = rounded(linear.weight)
        self.bias = None if linear.bias is None else linear.bias.astype(jnp.float32)
        self.in_dim = linear.in_dim
        self.out_dim = linear.out_dim

    @jax.named_scope("int8_linear")
    def product(self, x: Float[Array, "*batch {self.in_dim}"]) -> Float[Array, "*batch {self.out_dim}"]:
        """`weight @ x` alone, in float32."""
        numbers, scale = rounded(x)
        sums = jax.lax.dot_general(
            numbers, self.weight, (((x.ndim - 1,), (1,)), ((), ())), preferred_element_type=jnp.int32
        )
        y = sums.astype(jnp.float32) * jnp.broadcast_to(scale[..., None], sums.shape)
        return y * jnp.broadcast_to(self.scale, y.shape)


def to_int8(model: M) -> M:
    """`model` with every linear map in its stacks of layers as an `Int8Linear`, for inference.

    Those around the stacks (of patches, of latents, of pixels), those of at most 16 numbers, and those that always
    compute in float32 stay what they are, as do convolutions and norms.
    """

    return jax.tree.map(
        lambda node: _rounded_stack(node) if _is_stack(node) else node, model, is_leaf=_is_stack
    )


def _rounded_stack(stack: Stack) -> Stack:
    def rounded_layer(layer: object) -> object:
        return jax.tree.map(
            lambda node: Int8Linear(node) if _is_covered(node) else node, layer, is_leaf=_is_covered
        )

    return eqx.tree_at(lambda s: s.layers, stack, jax.vmap(rounded_layer)(stack.layers))


def _is_stack(node: object) -> bool:
    return isinstance(node, Stack)


def _is_covered(node: object) -> bool:
    """Whether `node` is a linear map that is to be rounded."""
    if not isinstance(node, Linear) or isinstance(node, Int8Linear | Float32Params):
        return False
    return node.in_dim >= _LEAST_INPUTS
