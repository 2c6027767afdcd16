"""Representation autoencoders: latents, statistics, pixels."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.models.rae_decoder import RaeDecoder
from laminate.models.vit import Trunk
from laminate.nn import gelu_exact, resize_grid
from laminate.nn.mlp import Mlp
from laminate.pretrained.patches import IMAGENET_MEAN, IMAGENET_STD
from laminate.pretrained.plain import DINO
from laminate.pretrained.teachers import VitTeacher
from laminate.tokenizers.rae import Rae
from tests.oracles.arrays import filled, normal

SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 6}
CONFIG = {**SIZES, "image_size": 12, "patch_size": 4}
SCALE = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
IMAGE = jax.nn.sigmoid(normal(0, 10, 14, 3))


def make(key) -> Rae:
    vit = DINO.make(CONFIG, affine=False, key=key)
    encoder = VitTeacher(vit, 12, mean=IMAGENET_MEAN, std=IMAGENET_STD, resampling="bicubic")
    trunk = Trunk(dim=8, depth=1, heads=2, hidden=6, mlp=partial(Mlp, activation=gelu_exact), qk_norm=False)
    return Rae(encoder, RaeDecoder(trunk, tokens=9, in_dim=8, patch=2, **SCALE, key=key))


RAE = filled(make).with_statistics(None, None)
ENCODE, DECODE = jax.jit(lambda rae, x: rae.encode(x)), jax.jit(lambda rae, z: rae.decode(z))


def test_an_image_of_any_size_becomes_latents_and_these_an_image():
    latents = ENCODE(RAE, IMAGE)
    assert latents.shape == (9, 8)
    np.testing.assert_allclose(latents.mean(axis=1), 0, atol=1e-5)  # the affine-free norm
    assert DECODE(RAE, latents).shape == (6, 6, 3)


def test_statistics_normalise_the_latents_and_decoding_undoes_it():
    mean, variance = normal(1, 8, 3, 3), jnp.abs(normal(2, 8, 3, 3))
    measured = RAE.with_statistics(np.asarray(mean), np.asarray(variance), eps=0.25)
    raw = np.asarray(ENCODE(RAE, IMAGE)).T.reshape(8, 3, 3) * np.sqrt(np.float32(1) + 1e-5)
    wanted = (raw - mean) / np.sqrt(variance + 0.25)
    latents = ENCODE(measured, IMAGE)
    np.testing.assert_allclose(np.asarray(latents).T.reshape(8, 3, 3), wanted, atol=1e-4)
    np.testing.assert_allclose(DECODE(measured, latents), DECODE(RAE, ENCODE(RAE, IMAGE)), atol=1e-4)


def test_noise_comes_with_a_key_only():
    noisy = jax.jit(lambda rae, key: rae.encode(IMAGE, key=key))
    assert not np.allclose(noisy(RAE, jax.random.key(0)), ENCODE(RAE, IMAGE), atol=1e-3)


def test_another_number_of_features_is_resized_as_a_grid():
    features = normal(3, 16, 8)
    fitted = resize_grid(features, (4, 4), (3, 3), "bilinear")
    run = jax.jit(RaeDecoder.__call__)
    np.testing.assert_allclose(run(RAE.decoder, features), run(RAE.decoder, fitted), atol=1e-5)
    with pytest.raises(ValueError, match="5 patches do not form a square grid"):
        RAE.decoder(features[:5])


def test_a_decoder_of_another_width_is_refused():
    trunk = Trunk(dim=8, depth=1, heads=2, hidden=6)
    with pytest.raises(ValueError, match="gives 8 numbers per token and the decoder takes 7"):
        Rae(RAE.encoder, RaeDecoder(trunk, tokens=9, in_dim=7, patch=2, **SCALE, key=jax.random.key(0)))


def test_so_is_one_that_decodes_on_another_scale():
    trunk = Trunk(dim=8, depth=1, heads=2, hidden=6)
    other = {"mean": (0.5, 0.5, 0.5), "std": IMAGENET_STD}
    with pytest.raises(ValueError, match="make the decoder with those of the encoder"):
        Rae(RAE.encoder, RaeDecoder(trunk, tokens=9, in_dim=8, patch=2, **other, key=jax.random.key(0)))
