"""Normalisation against its equation, and its invariances."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.nn import GroupNorm, JointRMSNorm, LayerNorm, RMSNorm
from tests.oracles.arrays import normal

CALL = jax.jit(lambda norm, x: norm(x))


def with_parameters(norm):
    values, dim = {"scale": normal(7, norm.dim)}, norm.dim
    norm = eqx.tree_at(lambda n: n.scale, norm, values["scale"])
    return eqx.tree_at(lambda n: n.bias, norm, normal(8, dim)) if isinstance(norm, LayerNorm) else norm


@given(
    lead=st.sampled_from([(), (5,), (2, 3)]),
    eps=st.sampled_from([1e-6, 1e-2]),
    size=st.floats(1e-2, 1e2),
    seed=st.integers(0, 99),
)
def test_layer_norm_is_its_equation(lead, eps, size, seed):
    norm = with_parameters(LayerNorm(11, eps=eps))
    x = normal(seed, *lead, 11) * size
    wide = np.asarray(x, np.float64)
    mean = wide.mean(-1, keepdims=True)
    variance = np.maximum(np.square(wide).mean(-1, keepdims=True) - np.square(mean), 0)
    wanted = (wide - mean) / np.sqrt(variance + eps) * np.asarray(norm.scale) + np.asarray(norm.bias)
    np.testing.assert_allclose(CALL(norm, x), wanted, rtol=1e-4, atol=2e-5)


@given(
    lead=st.sampled_from([(), (5,), (2, 3)]),
    eps=st.sampled_from([1e-6, 1e-2]),
    size=st.floats(1e-2, 1e2),
    seed=st.integers(0, 99),
)
def test_rms_norm_is_its_equation(lead, eps, size, seed):
    norm = with_parameters(RMSNorm(11, eps=eps))
    x = normal(seed, *lead, 11) * size
    wide = np.asarray(x, np.float64)
    wanted = wide / np.sqrt(np.square(wide).mean(-1, keepdims=True) + eps) * np.asarray(norm.scale)
    np.testing.assert_allclose(CALL(norm, x), wanted, rtol=1e-4, atol=2e-5)


@given(shift=st.floats(-5, 5), scale=st.floats(0.5, 50), seed=st.integers(0, 99))
def test_layer_norm_forgets_shift_and_scale(shift, scale, seed):
    norm, x = LayerNorm(11, eps=1e-12), normal(seed, 5, 11)
    np.testing.assert_allclose(CALL(norm, x * scale + shift), CALL(norm, x), atol=5e-4)


@given(scale=st.floats(0.01, 100), seed=st.integers(0, 99))
def test_rms_norm_forgets_scale_and_keeps_the_sign(scale, seed):
    norm, x = RMSNorm(11, eps=1e-12), normal(seed, 5, 11)
    np.testing.assert_allclose(CALL(norm, x * scale), CALL(norm, x), atol=1e-5)
    np.testing.assert_allclose(CALL(norm, -x), -CALL(norm, x), atol=1e-6)


@pytest.mark.parametrize("norm", [LayerNorm(64), RMSNorm(64)], ids=["layer", "rms"])
def test_half_precision_is_normalised_in_float32_and_cast_back(norm):
    half = (normal(0, 5, 64) * 30 + 40).astype(jnp.bfloat16)
    y = CALL(norm, half)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, CALL(norm, half.astype(jnp.float32)).astype(jnp.bfloat16))


@pytest.mark.parametrize("norm", [LayerNorm(11), RMSNorm(11)], ids=["layer", "rms"])
def test_a_constant_row_stays_finite_in_value_and_gradient(norm):
    # The one-pass variance of a large constant may round below zero.
    x = jnp.full((3, 11), 1234.567)
    value, gradient = jax.jit(jax.value_and_grad(lambda x: jnp.sum(norm(x))))(x)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_scale_and_bias_can_be_left_out():
    assert jax.tree.leaves((LayerNorm(5, scale=False, bias=False), RMSNorm(5, scale=False))) == []


def test_a_bias_of_rms_norm_is_added_and_begins_as_zero():
    norm, x = RMSNorm(5, bias=True), normal(0, 3, 5)
    np.testing.assert_array_equal(norm(x), RMSNorm(5)(x))
    moved = eqx.tree_at(lambda n: n.bias, norm, normal(1, 5))
    np.testing.assert_allclose(moved(x) - norm(x), np.broadcast_to(normal(1, 5), (3, 5)), atol=1e-6)


@given(
    groups=st.sampled_from([1, 2, 3, 6]),
    lead=st.sampled_from([(7,), (3, 5)]),
    offset=st.sampled_from([0.0, 50.0]),
)
def test_group_norm_is_its_equation(groups, lead, offset):
    norm = eqx.tree_at(
        lambda n: (n.scale, n.bias), GroupNorm(6, groups, eps=1e-3), (normal(7, 6), normal(8, 6))
    )
    x = normal(groups, *lead, 6) + offset
    wide = np.asarray(x, np.float64).reshape(-1, groups, 6 // groups)
    mean, variance = (f(axis=(0, 2), keepdims=True) for f in (wide.mean, wide.var))
    wanted = ((wide - mean) / np.sqrt(variance + 1e-3)).reshape(x.shape)
    wanted = wanted * np.asarray(norm.scale) + np.asarray(norm.bias)
    np.testing.assert_allclose(CALL(norm, x), wanted, rtol=1e-4, atol=1e-4)


def test_groups_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="groups=4 must divide the width 6"):
        GroupNorm(6, 4)


@given(rows=st.integers(1, 5), columns=st.integers(1, 4), size=st.floats(0.5, 1e2), seed=st.integers(0, 99))
def test_joint_rms_norm_has_one_root_mean_square_for_the_whole_image(rows, columns, size, seed):
    norm = with_parameters(JointRMSNorm(7))
    x = normal(seed, rows, columns, 7) * size
    wide = np.asarray(x, np.float64)
    wanted = wide / np.sqrt(np.square(wide).mean() + 1e-6) * np.asarray(norm.scale)
    np.testing.assert_allclose(norm(x), wanted, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(np.square(JointRMSNorm(7)(x)).mean(), 1.0, atol=1e-4)


def test_joint_rms_norm_does_not_see_where_a_place_lies():
    norm, x = with_parameters(JointRMSNorm(7)), normal(0, 5, 4, 7)
    order = np.random.default_rng(1).permutation(20)
    shuffled = x.reshape(20, 7)[order].reshape(5, 4, 7)
    np.testing.assert_allclose(norm(shuffled).reshape(20, 7), norm(x).reshape(20, 7)[order], atol=1e-6)
