"""Depth as an axis: the scan is the loop, in values, gradients and cost of compiling."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr
from jaxtyping import Array

from laminate.nn import Attention, Block, LayerNorm, Linear, Stack, SwiGlu, recomputing, zeros
from tests.oracles.arrays import filled

DIM, DEPTH = 6, 3
X = jnp.asarray(np.random.default_rng(0).normal(size=(5, DIM)), jnp.float32)


def layer(key):
    k_attention, k_mlp = jax.random.split(key)
    attention, mlp = Attention(DIM, 2, key=k_attention), SwiGlu(DIM, 9, key=k_mlp)
    return Block(LayerNorm(DIM), attention, LayerNorm(DIM), mlp)


def build(depth=DEPTH, **options):
    return filled(lambda key: Stack(layer, depth, key=key, **options))


STACK = build()


def unstacked(stack):
    return [jax.tree.map(lambda leaf, i=i: leaf[i], stack.layers) for i in range(stack.depth)]


def loop(stack, x):
    for one in unstacked(stack):
        x = one(x)
    return x


def value_and_gradient(function):
    return jax.jit(jax.value_and_grad(lambda stack, x: jnp.sum(jnp.square(function(stack, x)))))


@pytest.fixture(scope="module")
def of_the_loop():
    return value_and_gradient(loop)(STACK, X)


@pytest.mark.parametrize(
    ("remat", "unroll"),
    [
        ("none", False),
        ("products", False),
        ("dots", False),
        ("block", False),
        ("none", True),
        ("block", True),
    ],
)
def test_the_scan_is_the_python_loop_under_every_remat_policy(remat, unroll, of_the_loop):
    value, gradient = value_and_gradient(lambda stack, x: stack(x))(build(remat=remat, unroll=unroll), X)
    np.testing.assert_allclose(value, of_the_loop[0], rtol=1e-5)
    for scanned, looped in zip(jax.tree.leaves(gradient), jax.tree.leaves(of_the_loop[1]), strict=True):
        np.testing.assert_allclose(scanned, looped, rtol=1e-4, atol=1e-4)


def test_scan_returns_what_every_layer_gives():
    outputs = jax.jit(lambda stack: stack.scan(lambda one, x, rate, key: (one(x), x), X))(STACK)[1]
    x = X
    for i, one in enumerate(unstacked(STACK)):
        np.testing.assert_allclose(outputs[i], x, atol=1e-5)
        x = jax.jit(Block.__call__)(one, x)


def equations(jaxpr):
    """All equations, with those of every inner program."""
    is_program = lambda node: isinstance(node, Jaxpr | ClosedJaxpr)
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=is_program):
            if is_program(inner):
                yield from equations(inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner)


def of_the_gradient(stack, *key):
    """The equations of a program that gives the gradient of the sum of what `stack` makes of `X`."""
    gradient = jax.grad(lambda stack, *key: jnp.sum(stack(X, key=key[0] if key else None)))
    return list(equations(jax.make_jaxpr(gradient)(stack, *key).jaxpr))


def test_networks_that_are_there_compute_again_what_their_depth_says_and_are_the_same():
    frozen = {"deep": build(DEPTH), "shallow": build(1), "beside": Linear(DIM, 2, key=jax.random.key(0))}
    again = recomputing(frozen, lambda depth: "block" if depth >= DEPTH else "none")
    assert (again["deep"].remat, again["shallow"].remat, frozen["deep"].remat) == ("block", "none", "none")
    jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(again), jax.tree.leaves(frozen))
    loss = lambda x, stack: jnp.sum(stack(x) ** 2)
    kept, less = (jax.vjp(lambda x, stack=stack: stack(x), X)[1] for stack in (frozen["deep"], again["deep"]))
    assert len(jax.tree.leaves(less)) < len(jax.tree.leaves(kept))
    expected = jax.grad(loss)(X, frozen["deep"])
    np.testing.assert_allclose(jax.grad(loss)(X, again["deep"]), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("remat", "kernels"), [("none", 2), ("products", 2), ("dots", 3), ("block", 3)])
def test_what_a_kernel_made_is_kept_or_made_again(remat, kernels):
    attention = partial(Attention, 4, 2, kernel="pallas")
    stack = Stack(lambda key: attention(key=key), 2, remat=remat, key=jax.random.key(0))
    gradient = jax.grad(lambda stack: jnp.sum(stack(jnp.ones((3, 4)))))
    found = [
        one for one in equations(jax.make_jaxpr(gradient)(stack).jaxpr) if one.primitive.name == "pallas_call"
    ]
    assert len(found) == kernels


@pytest.mark.parametrize("remat", ["none", "block"])
def test_the_program_does_not_grow_with_depth(remat):
    counts = []
    for depth in (2, 9):
        stack = eqx.filter_eval_shape(build, depth, drop_path_rate=0.1, remat=remat)
        counts.append(len(of_the_gradient(stack, jax.random.key(0))))
    assert counts[0] == counts[1] > 50


def test_keeping_products_computes_none_twice():
    products = {
        remat: sum(
            equation.primitive.name == "dot_general" for equation in of_the_gradient(build(remat=remat))
        )
        for remat in ("none", "products", "dots", "block")
    }
    assert products["none"] == products["products"] < products["dots"] < products["block"]


@pytest.mark.parametrize("remat", ["none", "products"])
def test_a_scan_keeps_no_weights_for_the_backward_pass(remat):
    stack = build(remat=remat)
    weights = {leaf.shape[1:] for leaf in jax.tree.leaves(stack.layers) if leaf.ndim == 3}
    forward = next(equation for equation in of_the_gradient(stack) if equation.primitive.name == "scan")
    kept = {output.aval.shape[1:] for output in forward.outvars}
    assert not kept & (weights | {shape[::-1] for shape in weights})


class Counted(eqx.Module):
    """A layer that counts how often it is traced."""

    linear: Linear
    seen: list[int] = eqx.field(static=True)

    def __call__(self, x: Array, *, key=None) -> Array:
        self.seen.append(1)
        return self.linear(x)


def test_a_layer_is_traced_once_whatever_the_depth():
    for depth in (2, 9):
        seen = []
        make = lambda key, seen=seen: Counted(Linear(DIM, DIM, init=zeros, key=key), seen)
        stack = Stack(make, depth, key=jax.random.key(0))
        jax.make_jaxpr(lambda stack: stack(X))(stack)
        assert len(seen) == 1


def test_the_layers_of_a_fresh_stack_differ():
    stack = Stack(lambda key: Linear(DIM, 3 * DIM, key=key), DEPTH, key=jax.random.key(0))
    weights = np.asarray(stack.layers.weight)
    assert weights.shape == (DEPTH, 3 * DIM, DIM)
    assert len(np.unique(weights.reshape(DEPTH, -1), axis=0)) == DEPTH
    assert abs(np.corrcoef(weights[0].ravel(), weights[1].ravel())[0, 1]) < 0.3


def rates_and_keys(depth, rate, key):
    stack = Stack(
        lambda key: Linear(DIM, DIM, init=zeros, key=key), depth, drop_path_rate=rate, key=jax.random.key(0)
    )
    return stack.scan(lambda one, x, rate, key: (x, (rate, key)), X, key=key)[1]


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_layer_i_is_dropped_at_i_over_depth_minus_one_of_the_rate(depth):
    rates, keys = rates_and_keys(depth, 0.3, jax.random.key(0))
    np.testing.assert_allclose(rates, [0.3 * i / max(depth - 1, 1) for i in range(depth)], rtol=1e-6)
    assert rates.dtype == jnp.float32
    assert len(np.unique(jax.random.key_data(keys), axis=0)) == depth


def test_nothing_is_dropped_without_a_key_or_without_a_rate():
    assert rates_and_keys(2, 0.3, None) == (None, None)
    assert rates_and_keys(2, 0.0, jax.random.key(0))[0] is None


def test_a_stack_that_drops_its_last_layer_is_the_one_without_it():
    whole = build(2, drop_path_rate=1.0)
    dropped = jax.jit(lambda stack, key: stack(X, key=key))(whole, jax.random.key(0))
    first = unstacked(whole)[0]
    np.testing.assert_allclose(dropped, jax.jit(Block.__call__)(first, X), atol=1e-5)


def test_a_mask_reaches_every_layer():
    mask = jnp.asarray(np.tri(5, dtype=bool))
    call = jax.jit(lambda stack, x: stack(x, mask))
    changed = X.at[3:].add(1.0)
    np.testing.assert_allclose(call(STACK, X)[:3], call(STACK, changed)[:3], atol=1e-6)
    assert not np.allclose(call(STACK, X)[3:], call(STACK, changed)[3:])


def test_a_stack_without_layers_is_refused():
    with pytest.raises(ValueError, match="depth >= 1, got depth=0"):
        build(0)


def test_taps_are_the_stream_behind_the_layers_asked_for_in_their_order():
    streams, x = [], X
    for one in unstacked(STACK):
        x = one(x)
        streams.append(x)
    last, taps = jax.jit(lambda stack, x: stack.taps(x, (2, 0, -1, 1)))(STACK, X)
    np.testing.assert_allclose(last, streams[-1], atol=1e-5)
    np.testing.assert_allclose(taps, jnp.stack([streams[i] for i in (2, 0, 2, 1)]), atol=1e-5)
    with pytest.raises(ValueError, match=r"layers 0 to 2, and \[3\] were asked for"):
        STACK.taps(X, (0, 3))
