"""What the backward pass is handed from the forward pass is known from the trace, before anything is compiled."""

import jax
import jax.numpy as jnp
import pytest

from laminate.nn import Mlp, Stack
from laminate.planning.compiled import compile_step
from laminate.planning.kept import stacked_bytes

DEPTH, TOKENS, DIM, HIDDEN = 5, 7, 6, 11


def loss(remat):
    stack = Stack(lambda key: Mlp(DIM, HIDDEN, key=key), DEPTH, remat=remat, key=jax.random.key(0))
    return lambda x: jnp.sum(jnp.square(stack(x)))


def kept(remat):
    return stacked_bytes(
        jax.jit(jax.grad(loss(remat))).trace(jax.ShapeDtypeStruct((TOKENS, DIM), jnp.float32)).jaxpr
    )


def test_whole_layers_computed_again_keep_their_inputs_alone():
    assert kept("block") == 4 * DEPTH * TOKENS * DIM


def test_the_more_is_computed_again_the_less_is_kept():
    assert kept("none") > kept("dots") > kept("block")


def test_what_is_not_differentiated_keeps_nothing():
    assert (
        stacked_bytes(jax.jit(loss("none")).trace(jax.ShapeDtypeStruct((TOKENS, DIM), jnp.float32)).jaxpr)
        == 0
    )


def test_two_networks_one_behind_the_other_keep_the_sum_and_one_after_the_other_the_larger():
    x = jax.ShapeDtypeStruct((TOKENS, DIM), jnp.float32)
    first, second = loss("block"), loss("none")
    one, other = kept("block"), kept("none")
    together = jax.jit(jax.grad(lambda x: first(x) + second(x)))
    apart = jax.jit(lambda x: jax.grad(second)(jax.grad(first)(x)))
    assert stacked_bytes(together.trace(x).jaxpr) == one + other
    assert stacked_bytes(apart.trace(x).jaxpr) == other


@pytest.mark.parametrize("remat", ["none", "block"])
def test_no_compiled_program_has_less(remat):
    step = jax.jit(jax.grad(loss(remat)))
    compiled = compile_step(step, jax.ShapeDtypeStruct((TOKENS, DIM), jnp.float32))
    assert compiled.temporaries >= kept(remat) > 0
