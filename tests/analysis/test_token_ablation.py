"""Token ablation against decoders whose answer is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Array

from laminate.analysis.token_ablation import ablate, spatial_entropy, token_ablation, token_importance

LATENTS, FEATURES, PATCHES, DIM = 5, 3, 7, 4


class Linear(eqx.Module):
    """patches = weight . latents + bias."""

    weight: Array
    bias: Array

    def __call__(self, z):
        return jnp.einsum("pdlf,lf->pd", self.weight, z) + self.bias


def decoder(getkey) -> Linear:
    return Linear(
        jax.random.normal(getkey(), (PATCHES, DIM, LATENTS, FEATURES)),
        jax.random.normal(getkey(), (PATCHES, DIM)),
    )


def test_ablation_of_a_linear_decoder_is_what_the_token_contributed(getkey):
    decode, z = decoder(getkey), jax.random.normal(getkey(), (LATENTS, FEATURES))
    contribution = np.einsum("pdlf,lf->lpd", np.float64(decode.weight), np.float64(z))
    wanted = np.linalg.norm(contribution, axis=-1)
    np.testing.assert_allclose(ablate(decode, z), wanted, rtol=1e-5)


def test_the_mean_over_examples_does_not_depend_on_the_batch(getkey):
    decode, z = decoder(getkey), jax.random.normal(getkey(), (11, LATENTS, FEATURES))
    wanted = np.mean([ablate(decode, example) for example in z], axis=0)
    for device_batch_size in (1, 4, 32):
        heat = token_ablation(decode, z, device_batch_size=device_batch_size)
        np.testing.assert_allclose(heat, wanted, rtol=1e-5)


def test_a_token_that_the_decoder_ignores_has_no_heat(getkey):
    decode = decoder(getkey)
    deaf = eqx.tree_at(lambda d: d.weight, decode, decode.weight.at[:, :, 2].set(0.0))
    heat = ablate(deaf, jax.random.normal(getkey(), (LATENTS, FEATURES)))
    assert np.array_equal(np.flatnonzero(np.max(heat, axis=1) == 0.0), [2])
    assert float(spatial_entropy(heat)[2]) == 0.0 == float(token_importance(heat)[2])


def test_bfloat16_latents_measure_in_float32(getkey):
    z = jax.random.normal(getkey(), (LATENTS, FEATURES), jnp.bfloat16)
    assert ablate(lambda z: jnp.concatenate([z, z]), z).dtype == jnp.float32


@given(st.integers(0, 2**31 - 1), st.floats(0.1, 1e3))
def test_spatial_entropy_lies_between_one_patch_and_all_and_ignores_scale(seed, scale):
    heat = jnp.asarray(np.random.default_rng(seed).exponential(size=(LATENTS, PATCHES)), jnp.float32)
    entropy = np.asarray(spatial_entropy(heat))
    assert (entropy > 0).all() and (entropy <= np.log(PATCHES) + 1e-6).all()
    np.testing.assert_allclose(spatial_entropy(heat * jnp.float32(scale)), entropy, rtol=1e-5)


def test_spatial_entropy_at_its_extremes():
    heat = jnp.stack([jnp.eye(PATCHES)[3] * 9.0, jnp.full(PATCHES, 0.2)])
    np.testing.assert_allclose(spatial_entropy(heat), [0.0, np.log(PATCHES)], atol=1e-6)
    np.testing.assert_allclose(token_importance(heat), [9.0 / PATCHES, 0.2], rtol=1e-6)
