"""Where each array of a state lives on the mesh, and how a cut parameter becomes whole again.

One rule lays out any pytree (parameters, optimiser state, averages): a matrix is cut over `fsdp` along its largest
axis that divides, everything else is copied, and so is every `Buffer`. The leading depth axis of a `Scanned` module
is never cut, so that a scan over it meets one whole layer at a time.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, PyTree

from laminate.parallel.collectives import gather, gather_by_hops
from laminate.parallel.mesh import AXES, DATA, FSDP, is_tpu
from laminate.types import GATHERED, Float32Params, Lazy, Scalar, Scanned, compute_cast, is_buffer


class Shard(Lazy):
    """A device's piece of a parameter, cut along `axis` (counted from the end, so that stacking does not move it).

    `resolve` casts the piece to the compute dtype and gathers the whole; its derivative scatters the gradient back
    to the pieces, `by_hops` or at once. Only meaningful inside the sharded step.
    """

    value: Array
    axis: int = eqx.field(static=True)
    dtype: jnp.dtype = eqx.field(static=True)
    by_hops: bool = eqx.field(static=True)

    def resolve(self) -> Array:
        piece = compute_cast(self.value, self.dtype)
        collect = gather_by_hops if self.by_hops else gather
        return checkpoint_name(collect(piece, self.axis % piece.ndim), GATHERED)


def _is_scanned(node: Any) -> bool:
    return isinstance(node, Scanned)


def _cut_axis(leaf: Any, stacked: bool, pieces: int) -> int | None:
    shape = leaf.shape[1:] if stacked else leaf.shape
    if pieces == 1 or len(shape) < 2 or not jnp.issubdtype(leaf.dtype, jnp.floating):
        return None
    dividing = [axis for axis in range(-len(shape), 0) if shape[axis] % pieces == 0]
    return max(dividing, key=lambda axis: shape[axis]) if dividing else None


def _map_layout(tree: PyTree, pieces: int, visit: Any) -> PyTree:
    """`visit(leaf, cut axis or None)` over every array of `tree`."""

    def at(node: Any, stacked: bool) -> Any:
        if is_buffer(node):
            return jax.tree.map(lambda leaf: visit(leaf, None), node)
        return visit(node, _cut_axis(node, stacked, pieces))

    def outside(node: Any) -> Any:
        if not _is_scanned(node):
            return at(node, False)
        return jax.tree.map(lambda inner: at(inner, True), node, is_leaf=is_buffer)

    return jax.tree.map(outside, tree, is_leaf=lambda node: _is_scanned(node) or is_buffer(node))


def layout(tree: PyTree, mesh: Mesh) -> PyTree:
    """The `NamedSharding` of every array (or `ShapeDtypeStruct`) of `tree`."""

    def visit(leaf: Any, axis: int | None) -> NamedSharding:
        return NamedSharding(mesh, _spec(leaf, axis))

    return _map_layout(tree, mesh.shape[FSDP], visit)


def specs(tree: PyTree, mesh: Mesh) -> PyTree:
    """The `PartitionSpec` of every array of `tree`."""
    return _map_layout(tree, mesh.shape[FSDP], _spec)


def _spec(leaf: Any, axis: int | None) -> P:
    if axis is None:
        return P()
    names: list[str | None] = [None] * leaf.ndim
    names[axis] = FSDP
    return P(*names)


def wrap_shards(tree: PyTree, like: PyTree, mesh: Mesh, dtype: jnp.dtype | None) -> PyTree:
    """Inside the sharded step: `tree` of local pieces, with every cut one as a `Shard`.

    They are made whole in `dtype`, those of a `Float32Params` in float32; None is the dtype that each is stored in, for
    frozen networks, which may compute in more than the step does. `like` is the tree of whole arrays (or their shapes)
    that `specs` was made from.
    """

    def visit(whole: Any, axis: int | None) -> int | None:
        return axis

    axes = _map_layout(like, mesh.shape[FSDP], visit)
    by_hops = is_tpu(mesh)
    return jax.tree.map(
        lambda piece, axis, wide: piece if axis is None else Shard(piece, axis, wide, by_hops),
        tree,
        axes,
        _gathered_dtypes(like, dtype),
        is_leaf=lambda x: x is None,
    )


def _gathered_dtypes(tree: PyTree, dtype: jnp.dtype | None) -> PyTree:
    """The dtype in which each leaf is made whole: float32 in a `Float32Params`; its own for None."""
    if dtype is None:
        return jax.tree.map(lambda leaf: leaf.dtype, tree)
    wide = jnp.dtype(jnp.float32)

    def at(node: Any) -> Any:
        return jax.tree.map(lambda _: wide, node) if isinstance(node, Float32Params) else dtype

    return jax.tree.map(at, tree, is_leaf=lambda node: isinstance(node, Float32Params))


def per_device(tree: PyTree, like: PyTree, mesh: Mesh) -> PyTree:
    """Inside the sharded step: local pieces as private copies of each device, so that their gradients stay local.

    The transpose of this function sums over the devices that share a piece. Taking it once, after all micro-batches,
    makes one float32 reduction of what would be one in the compute dtype for each layer and micro-batch.
    """

    def visit(whole: Any, axis: int | None) -> tuple[str, ...]:
        return AXES if axis is None else (DATA,)

    shared = _map_layout(like, mesh.shape[FSDP], visit)
    return jax.tree.map(lambda piece, axes: jax.lax.pcast(piece, axes, to="varying"), tree, shared)


def mesh_norm(gradient: Array, like: Array | jax.ShapeDtypeStruct, mesh: Mesh) -> Scalar:
    """Inside the sharded step: the Frobenius norm, over the mesh, of one parameter's `gradient` by `per_device`.

    `like` is the whole parameter, or its shape, outside of scans.
    """
    cut = _cut_axis(like, False, mesh.shape[FSDP]) is not None
    total = jax.lax.psum(gradient.astype(jnp.float32), (DATA,) if cut else AXES)
    squares = jnp.sum(jnp.square(total))
    return jnp.sqrt(jax.lax.psum(squares, FSDP) if cut else squares)


def resolve_outside_scans(tree: PyTree) -> PyTree:
    """`tree` with every `Shard` whole, but for those that a scan over depth resolves by itself."""

    def at(node: Any) -> Any:
        return node.resolve() if isinstance(node, Shard) else node

    return jax.tree.map(at, tree, is_leaf=lambda node: _is_scanned(node) or isinstance(node, Shard))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """A global batch, cut over every device along its first axis."""
    return NamedSharding(mesh, P(AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on every device."""
    return NamedSharding(mesh, P())


def abstract(tree: PyTree, mesh: Mesh) -> PyTree:
    """The shapes, dtypes and shardings of `tree`, without its values: what a checkpoint is restored into."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
        layout(tree, mesh),
    )


def initialize(build: Any, mesh: Mesh, *args: Any) -> PyTree:
    """`build(*args)` made directly in its layout: no device ever holds more than its pieces.

    The values do not depend on the mesh.
    """
    shapes = eqx.filter_eval_shape(build, *args)
    arrays, static = eqx.partition(shapes, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    # It runs once: on a CPU, optimising the random numbers of every leaf takes longer than drawing them.
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    make = jax.jit(
        lambda *args: eqx.filter(build(*args), eqx.is_array),
        out_shardings=layout(arrays, mesh),
        compiler_options={"xla_backend_optimization_level": "0"} if on_cpu else None,
    )
    return eqx.combine(make(*args), static)


def place(tree: PyTree, mesh: Mesh) -> PyTree:
    """Host arrays, equal on every host, as global arrays in their layout."""
    return jax.device_put(tree, layout(tree, mesh))
