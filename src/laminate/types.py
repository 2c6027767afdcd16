"""The vocabulary that every layer of the library shares: axis names, and contracts on pytrees.

Axis names in annotations: ``tokens`` and ``dim`` (a sequence), ``height width channels`` (an image),
``latents latent_dim`` (a tokenizer's latent), ``heads`` and ``head_dim`` (attention).
"""

import abc
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

Scalar = Float[Array, ""]
RandomKey = Key[Array, ""]
Image = Float[Array, "height width channels"]
UInt8Image = UInt8[Array, "height width channels"]
Tokens = Float[Array, "tokens dim"]
Latents = Float[Array, "latents latent_dim"]
Codes = Float[Array, "latents channels"]
Indices = Int[Array, "latents *codebooks"]
Metrics = dict[str, Scalar]

A = ParamSpec("A")
T = TypeVar("T")


# The name under which a resolved parameter is known to rematerialisation policies.
GATHERED = "gathered"


class Buffer(eqx.Module):
    """An array that belongs to a module but is never trained: statistics, fixed frequencies."""

    value: Array


class Scanned(eqx.Module):
    """A module whose array leaves carry a leading depth axis, and which resolves one layer at a time."""


class Float32Params(eqx.Module):
    """A module that computes in float32 whatever the dtype around it: its parameters are never whole in another one.

    What it multiplies, it multiplies in float32 as well: its methods are `exact`.
    """


class Stated(eqx.Module):
    """A module whose static fields are numbers that are published beside its weights, such as the scale of latents.

    They are part of what weights are: those of another scale are other ones, though every array is the same.
    """


class BatchStatistics(eqx.Module):
    """A module that is trained on the statistics of a whole global batch, which then comes in no parts."""


class Lazy(eqx.Module):
    """A parameter that is not whole on this device yet; `resolve` returns the whole array."""

    @abc.abstractmethod
    def resolve(self) -> Array:
        raise NotImplementedError


def exact(function: Callable[A, T]) -> Callable[A, T]:
    """`function` whose products of float32 arrays are float32 on every device, in their derivatives too.

    A TPU takes them in one bfloat16 pass unless it is told. It costs six passes there, and nothing on a CPU; products
    of bfloat16 arrays stay as they are.
    """

    @wraps(function)
    def _exactly(*args: A.args, **kwargs: A.kwargs) -> T:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return _exactly


def is_lazy(node: Any) -> bool:
    return isinstance(node, Lazy)


def resolve(tree: Any) -> Any:
    """`tree` with every `Lazy` leaf made whole; a tree without any comes back unchanged."""
    return jax.tree.map(lambda leaf: leaf.resolve() if is_lazy(leaf) else leaf, tree, is_leaf=is_lazy)


def is_buffer(node: Any) -> bool:
    return isinstance(node, Buffer)


def split_buffers(tree: Any) -> tuple[Any, Any]:
    """`tree` as (trained arrays, buffers): two trees of one structure that `join_buffers` joins again."""
    trained = jax.tree.map(
        lambda node: jax.tree.map(lambda _: False, node) if is_buffer(node) else eqx.is_inexact_array(node),
        tree,
        is_leaf=is_buffer,
    )
    return eqx.partition(tree, trained)


def join_buffers(trained: Any, buffers: Any) -> Any:
    """The tree that `split_buffers` was given; the trained leaves may be `Lazy` by now."""
    return jax.tree.map(
        lambda leaf, buffer: buffer if leaf is None else leaf,
        trained,
        buffers,
        is_leaf=lambda node: node is None or is_lazy(node),
    )


def compute_cast(x: Array, dtype: jnp.dtype) -> Array:
    """`x` in the compute dtype; integers and keys stay as they are."""
    return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x
