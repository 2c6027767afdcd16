"""Decoders from tokens to pixels: two parts that make a whole, and a last map in float32."""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.models.pixel_decoder import PixelDecoder, RegisterDecoder
from laminate.models.rae_decoder import RaeDecoder
from laminate.models.vit import Trunk, Vit
from laminate.nn import PatchEmbed, overlap_add
from tests.oracles.arrays import filled, normal

TRUNK = Trunk(dim=8, depth=2, heads=2, hidden=6)
SCALE = {"mean": (0.5, 0.25), "std": (2.0, 0.5)}


def of_registers(key: jax.Array) -> RegisterDecoder:
    return RegisterDecoder(Vit(TRUNK, tokens=3, in_dim=5, registers=4, key=key), patch=3, **SCALE, key=key)


def of_features(key: jax.Array) -> RaeDecoder:
    return RaeDecoder(TRUNK, tokens=4, in_dim=5, patch=3, **SCALE, key=key)


DECODERS = {"RegisterDecoder": filled(of_registers), "RaeDecoder": filled(of_features)}
LATENTS = {"RegisterDecoder": normal(0, 3, 5), "RaeDecoder": normal(0, 4, 5)}
PARTS = jax.jit(lambda decoder, z: (decoder(z), decoder.hidden(z)))
both = pytest.mark.parametrize("name", DECODERS)


@both
def test_the_image_is_the_last_map_of_the_hidden_tokens_laid_out_as_patches(name: str) -> None:
    decoder, z = DECODERS[name], LATENTS[name]
    image, hidden = PARTS(decoder, z)
    assert hidden.shape == (4, 8) and image.shape == (6, 6, 2)
    np.testing.assert_array_equal(jax.jit(PixelDecoder.image)(decoder, hidden), image)
    numbers = np.asarray(hidden, np.float64) @ np.asarray(decoder.last.weight, np.float64).T
    numbers += np.asarray(decoder.last.bias)
    for place in range(4):
        row, column = 3 * (place // 2), 3 * (place % 2)
        pixels = numbers[place].reshape(3, 3, 2) * SCALE["std"] + SCALE["mean"]
        np.testing.assert_allclose(image[row : row + 3, column : column + 3], pixels, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("of", [RegisterDecoder, RaeDecoder])
def test_windows_with_an_overlap_add_up_to_an_image_of_the_same_size(of: type[PixelDecoder]) -> None:
    def build(key: jax.Array) -> PixelDecoder:
        if of is RaeDecoder:
            return RaeDecoder(TRUNK, tokens=4, in_dim=5, patch=3, overlap=2, **SCALE, key=key)
        vit = Vit(TRUNK, tokens=3, in_dim=5, registers=4, key=key)
        return RegisterDecoder(vit, patch=3, overlap=2, **SCALE, key=key)

    decoder, z = filled(build), LATENTS[of.__name__]
    image, hidden = PARTS(decoder, z)
    assert decoder.last.out_dim == 7 * 7 * 2 and image.shape == (6, 6, 2)
    added = overlap_add(decoder.windows(hidden), 3, 2, (2, 2))
    np.testing.assert_allclose(
        image, np.asarray(added) * np.float32(SCALE["std"]) + np.float32(SCALE["mean"]), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ValueError, match="overlap=4 must lie between 0 and the patch of 3 pixels"):
        RaeDecoder(TRUNK, tokens=4, in_dim=5, patch=3, overlap=4, **SCALE, key=jax.random.key(0))


@both
def test_the_last_map_is_float32_whatever_comes_in(name: str) -> None:
    decoder, z = DECODERS[name], LATENTS[name].astype(jnp.bfloat16)
    image, hidden = PARTS(decoder, z)
    assert hidden.dtype == jnp.bfloat16 and image.dtype == jnp.float32
    np.testing.assert_array_equal(image, jax.jit(PixelDecoder.image)(decoder, hidden.astype(jnp.float32)))


@both
def test_the_gradient_at_the_last_weight_needs_only_the_hidden_tokens(name: str) -> None:
    """What adversarial training compares: found without differentiating the rest of the network."""
    decoder, z = DECODERS[name], LATENTS[name]
    cost = lambda image: jnp.sum(jnp.sin(image))
    whole = jax.jit(jax.grad(lambda decoder: cost(decoder(z))))(decoder)
    hidden = PARTS(decoder, z)[1]

    @jax.jit
    @jax.grad
    def of_last(weight: jax.Array, decoder: PixelDecoder) -> jax.Array:
        return cost(eqx.tree_at(lambda d: d.last.weight, decoder, weight).image(hidden))

    np.testing.assert_allclose(of_last(decoder.last.weight, decoder), whole.last.weight, rtol=1e-4, atol=1e-5)


def test_the_registers_are_the_image_and_the_latents_are_only_read() -> None:
    decoder, z = DECODERS["RegisterDecoder"], LATENTS["RegisterDecoder"]
    tokens = jax.jit(lambda vit, z: vit(z))(decoder.vit, z)
    assert tokens.shape[0] == 4 + 3
    np.testing.assert_allclose(PARTS(decoder, z)[1], tokens[:4], atol=1e-6)
    assert not np.allclose(PARTS(decoder, z + 1)[0], PARTS(decoder, z)[0], atol=1e-3)


def refused(vit: Callable[[jax.Array], Vit], scale: dict[str, tuple[float, ...]], message: str) -> None:
    make = lambda key: RegisterDecoder(vit(key), **scale, key=key)
    with pytest.raises(ValueError, match=message):
        eqx.filter_eval_shape(make, jax.random.key(0))


def test_a_decoder_whose_registers_are_no_image_is_refused() -> None:
    of_tokens = partial(Vit, TRUNK, tokens=3)
    refused(lambda key: of_tokens(registers=5, key=key), SCALE, "5 patches do not form a square grid")
    message = "whose registers are the patches"
    refused(lambda key: of_tokens(key=key), SCALE, message)
    refused(lambda key: of_tokens(registers=4, cls_token=True, key=key), SCALE, message)
    refused(lambda key: Vit(TRUNK, patch=PatchEmbed(4, 2, 8, key=key), registers=4, key=key), SCALE, message)
    uneven = {"mean": (0.0, 0.0), "std": (1.0,)}
    refused(lambda key: of_tokens(registers=4, key=key), uneven, "one number for each channel")
