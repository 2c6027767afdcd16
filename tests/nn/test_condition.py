"""Conditioned layers and embeddings: their equations, their start, and their refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.nn import (
    Attention,
    ConditionedBlock,
    ConditionedOutput,
    FourierFeatures,
    LabelEmbed,
    LayerNorm,
    Modulation,
    RMSNorm,
    SinusoidalFeatures,
    SwiGlu,
    TimeEmbed,
)
from tests.oracles.arrays import filled, normal

DIM, TOKENS = 6, 5


def block(parts):
    def make(key):
        k_attention, k_mlp, k_modulation = jax.random.split(key, 3)
        attention, mlp = Attention(DIM, 2, key=k_attention), SwiGlu(DIM, 7, key=k_mlp)
        modulation = Modulation(DIM, parts, key=k_modulation)
        return ConditionedBlock(RMSNorm(DIM), attention, LayerNorm(DIM), mlp, modulation)

    return make


@pytest.mark.parametrize("parts", [4, 6])
@pytest.mark.parametrize("rows", [1, TOKENS])
def test_a_block_is_its_equation_for_one_condition_and_for_one_per_token(parts, rows):
    module, x, c = filled(block(parts)), normal(0, TOKENS, DIM), normal(1, rows, DIM)
    cut = np.split(np.asarray(module.modulation.linear(jax.nn.silu(c))), parts, axis=-1)
    if parts == 4:
        cut = [np.zeros_like(cut[0]), cut[0], cut[1], np.zeros_like(cut[0]), cut[2], cut[3]]
    shift1, scale1, gate1, shift2, scale2, gate2 = cut
    h = x + gate1 * module.attention(module.attention_norm(x) * (1 + scale1) + shift1)
    expected = h + gate2 * module.mlp(module.mlp_norm(h) * (1 + scale2) + shift2)
    np.testing.assert_allclose(module(x, c), expected, rtol=1e-5, atol=1e-5)


def test_a_fresh_block_is_the_identity_and_a_fresh_output_is_zero():
    x, c = normal(0, TOKENS, DIM), normal(1, 1, DIM)
    np.testing.assert_array_equal(block(6)(jax.random.key(0))(x, c), x)
    output = ConditionedOutput(RMSNorm(DIM), DIM, 3, key=jax.random.key(1))
    np.testing.assert_array_equal(output(x, c), np.zeros((TOKENS, 3)))


@given(t=st.floats(0.0, 1.0))
def test_time_features_are_their_formulas(t):
    fourier, sinusoid = FourierFeatures(4, key=jax.random.key(0)), SinusoidalFeatures(8)
    t = jnp.asarray(t, jnp.float32)
    angles = 2 * np.pi * float(t) * np.asarray(fourier.frequencies.value)
    np.testing.assert_allclose(fourier(t), [*np.sin(angles), *np.cos(angles)], atol=2e-5)
    angles = float(t) * 10000.0 ** (-np.arange(4) / 4)
    np.testing.assert_allclose(sinusoid(t), [*np.cos(angles), *np.sin(angles)], atol=1e-6)


def test_the_known_features_of_half_a_time():
    features = SinusoidalFeatures(256)(jnp.asarray(0.5))
    np.testing.assert_allclose(features[:3], [0.87758256, 0.89369327, 0.90771853], atol=1e-6)
    np.testing.assert_allclose(features[128:131], [0.47942554, 0.44867843, 0.41957963], atol=1e-6)


def test_a_backward_time_embedding_sees_one_minus_the_time():
    features, key = FourierFeatures(key=jax.random.key(0)), jax.random.key(1)
    forward, backward = TimeEmbed(features, DIM, key=key), TimeEmbed(features, DIM, backwards=True, key=key)
    np.testing.assert_allclose(backward(jnp.asarray(0.25)), forward(jnp.asarray(0.75)), atol=1e-6)


def test_the_null_class_is_the_last_row():
    embed = LabelEmbed(4, DIM, key=jax.random.key(0))
    assert embed.null == 4 and embed.table.shape == (5, DIM)
    np.testing.assert_array_equal(embed(None), embed(jnp.asarray(4)))
    np.testing.assert_array_equal(LabelEmbed(0, DIM, key=jax.random.key(0))(None).shape, (DIM,))


def test_without_a_null_class_nothing_is_unconditional():
    embed = LabelEmbed(4, DIM, null_class=False, key=jax.random.key(0))
    with pytest.raises(ValueError, match="null class"):
        embed(None)
    with pytest.raises(ValueError, match="class"):
        LabelEmbed(0, DIM, null_class=False, key=jax.random.key(0))
    with pytest.raises(ValueError, match="pairs"):
        SinusoidalFeatures(5)
