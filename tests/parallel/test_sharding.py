"""Which arrays are cut along which axis, and that cutting changes no value and no gradient."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from laminate.nn import Linear, Stack, zeros
from laminate.parallel import sharding
from laminate.parallel.collectives import mesh_mean, rows_of_this_device
from laminate.parallel.mesh import AXES, MeshShape, build_mesh
from laminate.types import Buffer, is_lazy
from tests.oracles.arrays import filled, normal


class Net(eqx.Module):
    """Stacked square layers, a wide one, and one that no mesh divides."""

    stack: Stack
    wide: Linear
    odd: Linear

    def __call__(self, x):
        return self.odd(jnp.tanh(self.wide(self.stack(jnp.tanh(x)))))


def make(key):
    layer = lambda key: Linear(8, 8, key=key)
    return Net(Stack(layer, 4, key=key), Linear(8, 12, key=key), Linear(12, 3, bias=False, key=key))


NET = filled(make)
MESH = build_mesh(MeshShape(2, 4))
F32 = jnp.dtype(jnp.float32)


def test_a_matrix_is_cut_along_its_largest_dividing_axis_and_the_rest_is_copied():
    specs = sharding.specs(NET, MESH)
    assert specs.wide.weight == P("fsdp", None)  # 12 x 8
    assert specs.odd.weight == P(None, "fsdp")  # 3 x 12
    assert specs.wide.bias == P() and specs.stack.layers.bias == P()
    one_piece = sharding.specs(NET, build_mesh(MeshShape(8, 1)))
    assert set(jax.tree.leaves(one_piece, is_leaf=lambda x: isinstance(x, P))) == {P()}


def test_integers_keys_vectors_and_indivisible_matrices_are_copied():
    tree = {
        "i": jnp.zeros((8, 8), jnp.int32),
        "k": jax.random.key(0),
        "v": jnp.zeros(64),
        "m": jnp.zeros((6, 3)),
    }
    assert set(sharding.specs(tree, MESH).values()) == {P()}


def test_buffers_are_copied_whatever_their_shape():
    stacked = Stack(lambda key: Linear(8, 8, init=zeros, key=key), 2, key=jax.random.key(0))
    stacked = eqx.tree_at(lambda s: s.layers, stacked, {"table": Buffer(jnp.zeros((2, 8, 8)))})
    specs = sharding.specs((Buffer(jnp.zeros((8, 16))), stacked, jnp.zeros((8, 16))), MESH)
    assert specs[0].value == specs[1].layers["table"].value == P() and specs[2] == P(None, "fsdp")


@pytest.mark.parametrize("depth", [4, 8, 64])
def test_the_depth_axis_is_never_cut(depth):
    shapes = eqx.filter_eval_shape(
        lambda key: Stack(lambda key: Linear(8, 12, key=key), depth, key=key), jax.random.key(0)
    )
    assert sharding.specs(shapes, MESH).layers.weight == P(None, "fsdp", None)
    unstackable = eqx.filter_eval_shape(
        lambda key: Stack(lambda key: Linear(3, 5, key=key), depth, key=key), jax.random.key(0)
    )
    assert sharding.specs(unstackable, MESH).layers.weight == P()


def test_optimiser_state_is_cut_like_the_parameters_it_follows():
    moments = jax.tree.map(jnp.zeros_like, (NET, NET))
    one, other = sharding.specs(moments, MESH)
    assert one == other == sharding.specs(NET, MESH)


def test_wrapped_pieces_resolve_to_the_whole():
    def whole(pieces):
        wrapped = sharding.wrap_shards(pieces, NET, MESH, F32)
        lazy = [is_lazy(leaf) for leaf in jax.tree.leaves(wrapped, is_leaf=is_lazy)]
        assert sum(lazy) == 3  # all matrices
        outside = sharding.resolve_outside_scans(wrapped)
        assert is_lazy(outside.stack.layers.weight) and not is_lazy(outside.wide.weight)
        layers = jax.tree.map(
            lambda leaf: leaf.resolve() if is_lazy(leaf) else leaf, outside.stack.layers, is_leaf=is_lazy
        )
        return jax.tree.map(lambda leaf: leaf[None], (layers, outside.wide, outside.odd))

    resolve = jax.shard_map(
        whole, mesh=MESH, in_specs=(sharding.specs(NET, MESH),), out_specs=P(AXES), check_vma=False
    )
    copies = jax.jit(resolve)(sharding.place(NET, MESH))
    for got, wanted in zip(
        jax.tree.leaves(copies), jax.tree.leaves((NET.stack.layers, NET.wide, NET.odd)), strict=True
    ):
        np.testing.assert_array_equal(got, np.broadcast_to(wanted, (8, *wanted.shape)))


def test_the_gradient_through_shards_is_the_unsharded_gradient():
    x = normal(0, 8, 5, 8)

    def local(pieces, x):
        def mean_loss(pieces):
            net = sharding.resolve_outside_scans(sharding.wrap_shards(pieces, NET, MESH, F32))
            return mesh_mean(jnp.mean(jax.vmap(lambda x: jnp.sum(jnp.square(net(x))))(x)))

        private, add = jax.vjp(lambda p: sharding.per_device(p, NET, MESH), pieces)
        loss, gradient = jax.value_and_grad(mean_loss)(private)
        return loss, add(gradient)[0]

    specs = sharding.specs(NET, MESH)
    sharded = jax.shard_map(local, mesh=MESH, in_specs=(specs, P(AXES)), out_specs=(P(), specs))
    loss, gradient = jax.jit(sharded)(sharding.place(NET, MESH), x)
    plain = lambda net: jnp.mean(jax.vmap(lambda x: jnp.sum(jnp.square(net(x))))(x))
    wanted_loss, wanted = jax.jit(jax.value_and_grad(plain))(NET)
    np.testing.assert_allclose(loss, wanted_loss, rtol=1e-6)
    for got, want in zip(jax.tree.leaves(gradient), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6 * np.abs(want).max(), rtol=1e-5)


def test_values_made_or_placed_on_a_mesh_do_not_depend_on_it():
    build = lambda key: (Linear(8, 12, key=key), Stack(lambda key: Linear(4, 4, key=key), 3, key=key))
    wanted = jax.jit(build)(jax.random.key(3))
    for got in (sharding.initialize(build, MESH, jax.random.key(3)), sharding.place(wanted, MESH)):
        for leaf, want, layout in zip(
            *map(jax.tree.leaves, (got, wanted, sharding.layout(wanted, MESH))), strict=True
        ):
            np.testing.assert_array_equal(leaf, want)
            assert leaf.sharding.is_equivalent_to(layout, leaf.ndim)
    pieces = sharding.place(wanted, MESH)[0].weight.addressable_shards
    assert {4 * piece.data.size for piece in pieces} == {wanted[0].weight.size}


def test_the_abstract_tree_has_shapes_dtypes_and_layout():
    for shape, leaf, layout in zip(
        *map(jax.tree.leaves, (sharding.abstract(NET, MESH), NET, sharding.layout(NET, MESH))), strict=True
    ):
        assert (shape.shape, shape.dtype, shape.sharding) == (leaf.shape, leaf.dtype, layout)


def test_rows_are_numbered_as_the_global_batch_is_cut():
    rows = jax.shard_map(lambda: rows_of_this_device(3), mesh=MESH, in_specs=(), out_specs=P(AXES))
    np.testing.assert_array_equal(jax.jit(rows)(), np.arange(24))
    assert sharding.batch_sharding(MESH).spec == P(AXES)
