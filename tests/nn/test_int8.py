"""Linear maps in whole numbers: how far they are from the exact ones, and which of a model's become so."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.losses.structural import ssim
from laminate.models.naflex import NaFlexAutoencoder, NaFlexTransformer, naflex_trunk, whole_grid
from laminate.nn import Int8Linear, Linear, Stack, WideLinear, to_int8
from laminate.nn.int8 import rounded
from tests.oracles.arrays import filled, normal

ROUNDED = jax.jit(rounded)
CALL = jax.jit(lambda layer, x: layer(x))
PATCH = 4


def linear(seed: int = 0, *, bias: bool = True) -> Linear:
    layer = Linear(19, 7, bias=bias, key=jax.random.key(0))
    values = [normal(seed + i, *leaf.shape) for i, leaf in enumerate(jax.tree.leaves(layer))]
    return jax.tree.unflatten(jax.tree.structure(layer), values)


@given(size=st.floats(1e-6, 1e6), seed=st.integers(0, 999))
def test_a_row_is_rounded_to_half_of_its_scale_and_its_largest_number_to_127(size, seed):
    x = normal(seed, 5, 19) * size
    numbers, scale = ROUNDED(x)
    assert (
        numbers.dtype == jnp.int8 and np.abs(np.asarray(numbers, np.int32)).max(axis=1).tolist() == [127] * 5
    )
    error = np.abs(np.asarray(numbers, np.float64) * np.asarray(scale, np.float64)[:, None] - np.asarray(x))
    assert (error <= np.asarray(scale)[:, None] * 0.5001).all()


def test_a_row_of_zeros_stays_zero():
    numbers, scale = ROUNDED(jnp.zeros((2, 19)))
    np.testing.assert_array_equal(numbers, 0)
    np.testing.assert_array_equal(scale, 1.0)
    assert np.isfinite(CALL(Int8Linear(linear()), jnp.zeros((2, 19)))).all()


@given(size=st.floats(1e-3, 1e3), seed=st.integers(0, 999))
def test_an_output_is_as_near_to_the_exact_one_as_the_scales_say(size, seed):
    layer, x = linear(seed), normal(seed + 7, 5, 19) * size
    w, wide = np.asarray(layer.weight, np.float64), np.asarray(x, np.float64)
    s, r = (np.abs(a).max(axis=1) / 127 for a in (wide, w))
    bound = s[:, None] * np.abs(w).sum(1) / 2 + np.abs(wide).sum(1)[:, None] * r / 2 + 19 * np.outer(s, r) / 4
    error = np.abs(CALL(Int8Linear(layer), x) - (wide @ w.T + np.asarray(layer.bias)))
    assert (error <= 1.001 * bound).all()
    assert error.max() > 1e-3 * bound.max()  # it is rounded at all


@given(seed=st.integers(0, 999), exponent=st.integers(-8, 8))
def test_whole_multiples_of_their_scales_are_multiplied_exactly(seed, exponent):
    draw = np.random.default_rng(seed)
    x, w = draw.integers(-127, 128, (5, 19)), draw.integers(-127, 128, (7, 19))
    x[:, 3], w[:, 11] = 127, -127
    layer = eqx.tree_at(lambda m: m.weight, linear(bias=False), jnp.asarray(w * 2.0**exponent, jnp.float32))
    y = CALL(Int8Linear(layer), jnp.asarray(x, jnp.float32))
    np.testing.assert_array_equal(y, (x @ w.T).astype(np.float32) * 2.0**exponent)


def test_sums_do_not_overflow_int8():
    layer = eqx.tree_at(lambda m: m.weight, linear(bias=False), jnp.ones((7, 19)))
    np.testing.assert_allclose(CALL(Int8Linear(layer), jnp.ones((2, 19))), 19.0, rtol=1e-6)


@pytest.fixture(scope="module")
def model() -> NaFlexAutoencoder:
    def half(in_dim: int, out_dim: int, key: jax.Array) -> NaFlexTransformer:
        return NaFlexTransformer(naflex_trunk(24, 2, 3, layer_scale=0.7), in_dim, out_dim, key=key)

    pixels = 3 * PATCH**2
    return filled(lambda key: NaFlexAutoencoder(half(pixels, 18, key), half(18, pixels, key), patch=PATCH))


def test_the_maps_of_the_layers_are_rounded_and_what_lies_around_them_is_not(model):
    whole = to_int8(model)
    for half in (whole.encoder, whole.decoder):
        assert type(half.input) is Linear and type(half.output) is Linear
        attention, mlp = half.stack.layers.attention, half.stack.layers.mlp
        assert all(type(m) is Int8Linear for m in (attention.qkv, attention.out, mlp.up, mlp.down))
        assert attention.qkv.scale.shape == (2, attention.qkv.out_dim)
        assert attention.qkv.weight.nbytes == model.encoder.stack.layers.attention.qkv.weight.nbytes // 4
    assert eqx.tree_equal(to_int8(whole), whole)


def test_narrow_maps_and_those_of_float32_stay_what_they_are():
    class Layer(eqx.Module):
        narrow: Linear
        exact: WideLinear
        wide: Linear

    def make(key: jax.Array) -> Layer:
        return Layer(Linear(16, 17, key=key), WideLinear(17, 5, key=key), Linear(17, 5, key=key))

    layers = to_int8(Stack(make, 2, key=jax.random.key(0))).layers
    assert [type(m) for m in (layers.narrow, layers.exact, layers.wide)] == [Linear, WideLinear, Int8Linear]


def test_decoded_images_are_those_of_bfloat16(model):
    side = 6

    @jax.jit
    def run(model: NaFlexAutoencoder, latents: jax.Array) -> jax.Array:
        patches = model.decode(latents, whole_grid(side, side)).astype(jnp.float32)
        cut = patches.reshape(side, side, 3, PATCH, PATCH).transpose(0, 3, 1, 4, 2)
        return cut.reshape(side * PATCH, side * PATCH, 3)

    latents = normal(3, side**2, 18)
    exact = run(model, latents)
    half, whole = (run(m, latents.astype(jnp.bfloat16)) for m in (model, to_int8(model)))
    span = float(jnp.max(exact) - jnp.min(exact))
    similar = [float(ssim(image, exact, data_range=span)) for image in (half, whole)]
    assert min(similar) > 0.99
    assert np.any(np.asarray(whole) != np.asarray(half))  # rounded at all, and hardly to be seen
    assert ssim(whole, half, data_range=span) > 0.99
