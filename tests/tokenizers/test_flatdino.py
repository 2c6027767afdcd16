"""FlatDINO: what reaches the latents, what reaches the patches, and how latents are normalised."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.bottlenecks.fsq import Fsq
from laminate.bottlenecks.gaussian import Gaussian
from laminate.bottlenecks.nested_dropout import register_causal_mask
from laminate.models.vit import Trunk, Vit
from laminate.tokenizers import FlatDino, NestedLatents, Normalization
from tests.oracles.arrays import filled, normal

TRUNK = Trunk(dim=12, depth=2, heads=3, hidden=10)
PATCHES, WIDTH, LATENTS, FEATURES = 9, 5, 4, 3
SPARE_ENCODER, SPARE_DECODER = 2, 3


def encoder(key, out_dim, registers=LATENTS + SPARE_ENCODER):
    return Vit(
        TRUNK, tokens=PATCHES, in_dim=WIDTH, out_dim=out_dim, registers=registers, positions="sincos", key=key
    )


def decoder(key, in_dim, out_dim=WIDTH, registers=PATCHES + SPARE_DECODER):
    return Vit(TRUNK, tokens=LATENTS, in_dim=in_dim, out_dim=out_dim, registers=registers, key=key)


def replaced(module, **changes):
    """A copy of an Equinox module whose constructor takes other arguments than its fields."""
    copy = object.__new__(type(module))
    for field in dataclasses.fields(module):
        object.__setattr__(copy, field.name, changes.get(field.name, getattr(module, field.name)))
    return copy


def build(*, nested=False, intermediate=False):
    def make(key):
        k_encoder, k_decoder, k_nested = jax.random.split(key, 3)
        return FlatDino(
            encoder(k_encoder, 2 * FEATURES),
            Gaussian(FEATURES),
            decoder(k_decoder, 8 if nested else FEATURES, WIDTH * (2 if intermediate else 1)),
            encoder_disposable=SPARE_ENCODER,
            decoder_disposable=SPARE_DECODER,
            intermediate=intermediate,
            nested=NestedLatents(FEATURES, 8, key=k_nested) if nested else None,
        )

    model = filled(make)
    return replaced(model, normalization=Normalization(LATENTS, FEATURES))


PLAIN, NESTED, DOUBLE = build(), build(nested=True), build(intermediate=True)
X, Z = normal(0, PATCHES, WIDTH), normal(1, LATENTS, FEATURES)
ENCODE_RAW = jax.jit(lambda model, x, key=None: model.encode_raw(x, key=key))
DECODE_RAW = jax.jit(lambda model, z, keep=None: model.decode_raw(z, keep=keep))
ENCODE = jax.jit(lambda model, x, key=None: model.encode(x, key=key))
DECODE = jax.jit(lambda model, z: model.decode(z))


def with_statistics(model, seed, spread):
    statistics = model.normalization.measured(
        normal(seed, LATENTS, FEATURES), jnp.square(normal(seed + 1, LATENTS, FEATURES)) * spread + 0.05
    )
    return replaced(model, normalization=statistics)


def permuted(vit, order):
    return replaced(vit, registers=vit.registers[np.asarray(order)])


@given(seed=st.integers(0, 99), spread=st.floats(0.1, 50))
def test_encode_normalises_and_decode_undoes_it(seed, spread):
    model = with_statistics(PLAIN, seed, spread)
    raw = ENCODE_RAW(model, X)[0]
    latents = ENCODE(model, X)
    mean, std = (np.asarray(part.value) for part in (model.normalization.mean, model.normalization.std))
    np.testing.assert_allclose(latents, (np.asarray(raw) - mean) / std, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(DECODE(model, latents), DECODE_RAW(model, raw).final, atol=1e-4)


def test_shapes_and_dtypes_at_the_boundary():
    half = jax.eval_shape(ENCODE, PLAIN, jax.ShapeDtypeStruct((PATCHES, WIDTH), jnp.bfloat16))
    assert (half.shape, half.dtype) == ((LATENTS, FEATURES), jnp.float32)
    features = jax.eval_shape(DECODE, PLAIN, half)
    assert (features.shape, features.dtype) == ((PATCHES, WIDTH), jnp.float32)
    low = jax.eval_shape(lambda model, z: model.decode_raw(z, dtype=jnp.dtype(jnp.bfloat16)).final, PLAIN, Z)
    assert low.dtype == jnp.bfloat16


def test_a_key_samples_and_no_key_gives_the_mean():
    mean, posterior = ENCODE_RAW(PLAIN, X)
    np.testing.assert_array_equal(mean, posterior.mean)
    np.testing.assert_array_equal(ENCODE_RAW(PLAIN, X)[0], mean)
    one, other = (ENCODE_RAW(PLAIN, X, jax.random.key(seed))[0] for seed in (1, 2))
    assert not np.allclose(one, mean) and not np.allclose(one, other)


def test_latents_are_the_registers_after_the_disposable_ones():
    """Moving disposable registers about changes nothing; moving the others moves the latents alike."""
    order = [3, 0, 2, 1]
    spare_moved = replaced(PLAIN, encoder=permuted(PLAIN.encoder, [1, 0, 2, 3, 4, 5]))
    latents_moved = replaced(PLAIN, encoder=permuted(PLAIN.encoder, [0, 1, *(2 + i for i in order)]))
    straight = np.asarray(ENCODE_RAW(PLAIN, X)[0])
    np.testing.assert_allclose(ENCODE_RAW(spare_moved, X)[0], straight, atol=1e-5)
    np.testing.assert_allclose(ENCODE_RAW(latents_moved, X)[0], straight[order], atol=1e-5)


def test_patches_are_the_registers_after_the_disposable_ones():
    order = [8, 0, 7, 1, 6, 2, 5, 3, 4]
    spare_moved = replaced(PLAIN, decoder=permuted(PLAIN.decoder, [2, 0, 1, *range(3, 12)]))
    patches_moved = replaced(PLAIN, decoder=permuted(PLAIN.decoder, [0, 1, 2, *(3 + i for i in order)]))
    straight = np.asarray(DECODE_RAW(PLAIN, Z).final)
    assert straight.shape == (PATCHES, WIDTH)
    np.testing.assert_allclose(DECODE_RAW(spare_moved, Z).final, straight, atol=1e-5)
    np.testing.assert_allclose(DECODE_RAW(patches_moved, Z).final, straight[order], atol=1e-5)


def test_disposable_registers_take_part_though_they_never_leave():
    louder = replaced(
        PLAIN.encoder, registers=PLAIN.encoder.registers.at[:SPARE_ENCODER].add(normal(5, SPARE_ENCODER, 12))
    )
    changed = ENCODE_RAW(replaced(PLAIN, encoder=louder), X)[0]
    assert not np.allclose(changed, ENCODE_RAW(PLAIN, X)[0], atol=1e-3)


def test_an_intermediate_decoder_is_twice_as_wide_and_gives_the_final_features_first():
    final, intermediate = DECODE_RAW(DOUBLE, Z)
    assert final.shape == intermediate.shape == (PATCHES, WIDTH)
    whole = jax.jit(lambda model, z: model.decoder(z))(DOUBLE, Z)[SPARE_DECODER : SPARE_DECODER + PATCHES]
    np.testing.assert_allclose(jnp.concatenate([final, intermediate], axis=-1), whole, atol=1e-5)
    np.testing.assert_allclose(DECODE(DOUBLE, Z), final, atol=1e-6)
    assert DECODE_RAW(PLAIN, Z).intermediate is None


def test_keeping_all_latents_is_keeping_no_count():
    np.testing.assert_array_equal(
        DECODE_RAW(NESTED, Z, jnp.int32(LATENTS)).final, DECODE_RAW(NESTED, Z).final
    )


@given(keep=st.integers(0, LATENTS), seed=st.integers(1000, 1099))
def test_dropped_latents_do_not_influence_the_output_and_kept_ones_do(keep, seed):
    other = normal(seed, LATENTS, FEATURES)
    dropped_changed = jnp.concatenate([Z[:keep], other[keep:]])
    count = jnp.int32(keep)
    np.testing.assert_array_equal(
        DECODE_RAW(NESTED, dropped_changed, count).final, DECODE_RAW(NESTED, Z, count).final
    )
    if keep:
        kept_changed = Z.at[keep - 1].set(other[keep - 1])
        difference = DECODE_RAW(NESTED, kept_changed, count).final - DECODE_RAW(NESTED, Z, count).final
        assert np.abs(difference).max() > 1e-3


def test_a_nested_encoder_hides_later_latents_from_earlier_ones_and_a_plain_one_does_not():
    mask = jnp.asarray(register_causal_mask(NESTED.encoder.prefix, NESTED.encoder.prefix + PATCHES))
    raw = jax.jit(lambda model, x: model.encoder(x, mask))(NESTED, X)[SPARE_ENCODER : NESTED.encoder.prefix]
    np.testing.assert_allclose(ENCODE_RAW(NESTED, X)[0], raw[:, :FEATURES], atol=1e-5)
    open_raw = jax.jit(lambda model, x: model.encoder(x))(PLAIN, X)[SPARE_ENCODER : PLAIN.encoder.prefix]
    np.testing.assert_allclose(ENCODE_RAW(PLAIN, X)[0], open_raw[:, :FEATURES], atol=1e-5)


def test_a_count_without_nested_dropout_is_refused():
    with pytest.raises(ValueError, match="keep=2 needs a tokenizer built with nested dropout"):
        PLAIN.decode_raw(Z, keep=2)


def shapeless(make):
    return jax.eval_shape(make, jax.random.key(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda k: FlatDino(encoder(k, 6), Gaussian(3), decoder(k, 3), encoder_disposable=6),
            "more registers than disposable ones: encoder has 6 registers and keeps 0",
        ),
        (
            lambda k: FlatDino(encoder(k, 6), Gaussian(3), decoder(k, 3), decoder_disposable=12),
            "decoder has 12 and keeps 0 as patches",
        ),
        (
            lambda k: FlatDino(encoder(k, 5), Gaussian(3), decoder(k, 3)),
            "encoder gives 5 numbers .* takes 6: build the encoder with out_dim=6",
        ),
        (
            lambda k: FlatDino(encoder(k, 3), Fsq((5, 3, 3)), decoder(k, 4)),
            "decoder takes 4 numbers per latent and would get 3: build it with in_dim=3",
        ),
        (
            lambda k: FlatDino(encoder(k, 6), Gaussian(3), decoder(k, 3), nested=NestedLatents(3, 8, key=k)),
            "would get 8: build it with in_dim=8",
        ),
        (
            lambda k: FlatDino(encoder(k, 6), Gaussian(3), decoder(k, 3, out_dim=7), intermediate=True),
            "twice as wide",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        shapeless(make)
