"""Batch norm against its equations, whole and in parts, and what activation norm begins with."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.nn import ActNorm, BatchNorm
from tests.oracles.arrays import normal

TRAIN = jax.jit(lambda norm, x: norm.training(x))
CALL = jax.jit(lambda norm, x: norm(x))


@partial(jax.jit, static_argnums=2)
def split(norm, x, parts):
    def one(part):
        return norm.training(part, average=lambda a: jax.lax.pmean(a, "parts"), parts=parts)

    return jax.vmap(one, axis_name="parts")(x.reshape(parts, -1, *x.shape[1:]))


def batch_norm(momentum=0.1, eps=1e-5):
    norm = BatchNorm(5, momentum=momentum, eps=eps)
    values = (normal(0, 5), normal(1, 5), normal(2, 5), jnp.exp(normal(3, 5)))
    return eqx.tree_at(lambda m: (m.scale, m.bias, m.mean.value, m.variance.value), norm, values)


@pytest.mark.parametrize(("shape", "momentum"), [((2,), 1.0), ((2, 3, 7), 0.1)])
def test_a_batch_is_normalised_by_itself_and_moves_what_is_kept(shape, momentum):
    norm, x = batch_norm(momentum), np.asarray(normal(4, *shape, 5) * 2 + 1)
    now, kept = TRAIN(norm, x)
    rows = np.asarray(x, np.float64).reshape(-1, 5)
    wanted = (x - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5) * np.asarray(norm.scale) + np.asarray(norm.bias)
    np.testing.assert_allclose(CALL(now, x), wanted, atol=1e-4)
    mean = (1 - momentum) * np.asarray(norm.mean.value) + momentum * rows.mean(0)
    variance = (1 - momentum) * np.asarray(norm.variance.value) + momentum * rows.var(0, ddof=1)
    np.testing.assert_allclose(kept.mean.value, mean, atol=1e-5)
    np.testing.assert_allclose(kept.variance.value, variance, rtol=1e-5, atol=1e-5)


def test_one_example_is_normalised_by_what_is_kept():
    norm, x = batch_norm(eps=1e-2), normal(5, 3, 5)
    wanted = (x - norm.mean.value[None]) / np.sqrt(norm.variance.value + 1e-2)[None]
    np.testing.assert_allclose(CALL(norm, x), wanted * norm.scale[None] + norm.bias[None], atol=1e-5)


@given(parts=st.sampled_from([2, 3]), offset=st.floats(-32, 32, width=32), seed=st.integers(0, 99))
def test_parts_that_are_averaged_over_are_the_whole_batch(parts, offset, seed):
    each = 2
    norm, x = batch_norm(), normal(seed, parts * each, 4, 5) + offset
    whole = TRAIN(norm, x)

    for wanted, found in zip(jax.tree.leaves(whole), jax.tree.leaves(split(norm, x, parts)), strict=True):
        for part in found:
            np.testing.assert_allclose(part, wanted, rtol=1e-5, atol=1e-4)


def test_the_gradient_knows_that_the_statistics_move_and_what_is_kept_has_none():
    norm, x = batch_norm(), normal(7, 6, 5)
    of_now = jax.jit(jax.grad(lambda x: jnp.sum(norm.training(x)[0](x) * normal(8, 6, 5))))(x)
    # Neither a shift nor a stretch of a channel changes what comes out.
    np.testing.assert_allclose(jnp.sum(of_now, axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(jnp.sum(of_now * x, axis=0), 0, atol=1e-3)
    of_kept = jax.jit(jax.grad(lambda x: jnp.sum(norm.training(x)[1].variance.value)))(x)
    np.testing.assert_array_equal(of_kept, 0)


def test_activation_norm_shifts_and_scales_each_channel_and_begins_as_nothing():
    x = normal(9, 8, 3, 5) * 3 + 2
    np.testing.assert_array_equal(CALL(ActNorm(5), x), x)
    shifted = eqx.tree_at(lambda m: (m.scale, m.shift), ActNorm(5), (normal(1, 5), normal(2, 5)))
    wanted = (np.asarray(x[0]) + np.asarray(normal(2, 5))) * np.asarray(normal(1, 5))
    np.testing.assert_allclose(CALL(shifted, x[0]), wanted, atol=1e-5)
