"""The stem before a vision transformer, and the convolutional decoder behind it."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.models.conv_blocks import LinearAttentionBlock, ResBlock
from laminate.models.conv_stem import ConvStem, with_stem
from laminate.models.dc_decoder import DcDecoder
from laminate.models.dino_sae import DinoSae
from laminate.models.vit import Trunk, Vit
from laminate.nn import PatchEmbed
from laminate.pretrained.patches import IMAGENET_MEAN, IMAGENET_STD
from tests.oracles.arrays import filled, normal

KEY = jax.random.key(0)
TRUNK = Trunk(dim=12, depth=1, heads=3, hidden=10)


def parameters(tree) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def vit(patch: int = 4) -> Vit:
    return Vit(TRUNK, patch=PatchEmbed(8, patch, 12, key=KEY), cls_token=True, positions="rotary", key=KEY)


def autoencoder(**options) -> DinoSae:
    def make(key) -> DinoSae:
        attended = partial(LinearAttentionBlock, head_dim=4)
        decoder = DcDecoder(12, (6, 12, 24), (1, 1, 1), (ResBlock, ResBlock, attended), key=key)
        encoder = with_stem(vit(), ConvStem(12, (5,), key=key))
        return DinoSae(encoder, decoder, mean=IMAGENET_MEAN, std=IMAGENET_STD, **options)

    return filled(make)


@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_a_stem_has_a_token_for_every_begun_patch(height, width):
    stem = eqx.filter_eval_shape(lambda key: ConvStem(7, (3, 4), key=key), KEY)
    tokens = eqx.filter_eval_shape(stem, jax.ShapeDtypeStruct((height, width, 3), jnp.float32))
    rows, columns = -(-height // 8), -(-width // 8)
    assert stem.grid_of(height, width) == (rows, columns) and tokens.shape == (rows * columns, 7)


def test_the_released_stem_has_its_parameters_and_its_weights_their_bounds():
    stem = eqx.filter_eval_shape(lambda key: ConvStem(1024, key=key), KEY)
    assert parameters(stem) == 2_737_792 and stem.patch == 16
    small = ConvStem(7, (16, 8), key=KEY)
    for conv in (*(stage.conv for stage in small.stages), small.last):
        bound = conv.weight[0].size ** -0.5
        assert 0.9 * bound < np.abs(conv.weight).max() <= bound
        assert conv.bias is None


def test_a_stem_of_other_tokens_is_refused():
    with pytest.raises(ValueError, match="8 pixels apart cannot stand before a network with patches of 4"):
        with_stem(vit(), ConvStem(12, (3, 4), key=KEY))
    with pytest.raises(ValueError, match="tokens of 11 numbers, and the network behind it takes 12"):
        with_stem(vit(), ConvStem(11, (3,), key=KEY))
    with pytest.raises(ValueError, match="the width of the first"):
        ConvStem(12, (), key=KEY)


def test_the_released_decoder_has_its_parameters():
    decoder = eqx.filter_eval_shape(
        lambda key: DcDecoder(
            1024,
            (256, 512, 512, 1024, 1024),
            (5, 5, 3, 3, 3),
            (ResBlock,) * 3 + (LinearAttentionBlock,) * 2,
            key=key,
        ),
        KEY,
    )
    assert parameters(decoder) == 172_004_099 and decoder.patch == 16
    image = eqx.filter_eval_shape(decoder, jax.ShapeDtypeStruct((16, 24, 1024), jnp.bfloat16))
    assert (image.shape, image.dtype) == ((256, 384, 3), jnp.float32)


@pytest.mark.parametrize(
    ("depths", "patch"), [((1, 1, 1, 1), 8), ((0, 1, 1, 1), 8), ((1, 0, 1, 1), 4), ((1, 1, 1, 0), 8)]
)
@pytest.mark.parametrize("up", ["nearest", "shuffle"])
def test_a_stage_that_is_left_out_takes_its_doubling_along_but_for_the_first(depths, patch, up):
    decoder = eqx.filter_eval_shape(lambda key: DcDecoder(4, (8, 8, 8, 8), depths, up=up, key=key), KEY)
    image = eqx.filter_eval_shape(decoder, jax.ShapeDtypeStruct((2, 3, 4), jnp.float32))
    assert decoder.patch == patch and image.shape == (2 * patch, 3 * patch, 3)
    assert len(decoder.stages) == 4


def decoder_of(remat):
    attended = partial(LinearAttentionBlock, head_dim=4)
    blocks = (ResBlock, ResBlock, attended)
    return filled(lambda key: DcDecoder(12, (6, 12, 24), (2, 1, 1), blocks, remat=remat, key=key))


@pytest.mark.parametrize("remat", ["products", "dots", "block"])
def test_what_is_computed_again_changes_no_gradient_and_keeps_less(remat):
    latents = normal(0, 3, 5, 12)
    again, kept = decoder_of(remat), decoder_of("none")
    loss = lambda decoder: jnp.sum(jnp.sin(decoder(latents)))
    gradients = (jax.tree.leaves(eqx.filter_grad(loss)(decoder)) for decoder in (again, kept))
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=5e-6 * np.abs(other).max())
    assert large_kept(again, latents) < large_kept(kept, latents)


def test_blocks_computed_again_keep_what_enters_them_and_what_the_last_convolution_sees():
    assert large_kept(decoder_of("block"), normal(0, 3, 5, 12)) == 2 + 1 + 1  # and what the norm sees


def large_kept(decoder, latents):
    """How many arrays of the size of the finest stage wait for the backward pass."""
    arrays, static = eqx.partition(decoder, eqx.is_array)
    _, pullback = jax.vjp(lambda arrays: eqx.combine(arrays, static)(latents), arrays)
    return sum(leaf.shape == (12, 20, 6) for leaf in jax.tree.leaves(pullback) if eqx.is_array(leaf))


def test_decoders_that_do_not_fit_together_are_refused():
    for message, arguments in (
        ("2 widths, 1 depths", (4, (8, 8), (1,))),
        ("needs blocks in some stage", (4, (8, 8), (0, 0))),
        ("cannot be repeated to the 9 channels", (4, (8, 9), (1, 1))),
        ("12 channels cannot be repeated", (4, (5, 12), (1, 1))),
        (r"Stage 0 \(from the finest\) begins with 16 channels and has 8", (4, (8, 8, 16), (1, 0, 1))),
    ):
        with pytest.raises(ValueError, match=message):
            DcDecoder(*arguments, key=KEY)


def test_an_image_that_is_not_square_comes_back_in_its_own_shape():
    model = autoencoder()
    image = jax.nn.sigmoid(normal(0, 12, 8, 3))
    run = jax.jit(lambda model, image: (model.encode(image), model(image)))
    encoded, again = run(model, image)
    assert encoded.patch_tokens.shape == (6, 12) and encoded.cls_token.shape == (12,)
    assert tuple(map(int, encoded.grid)) == (3, 2)
    assert again.shape == image.shape
    other = run(model, jnp.flip(image, 0))[0].patch_tokens
    assert not np.allclose(encoded.patch_tokens, other, atol=1e-3)


def test_images_and_tokens_of_no_whole_grid_are_refused():
    model = autoencoder()
    with pytest.raises(ValueError, match=r"10x8 pixels has no whole number of tokens.*multiples of 4"):
        model.encode(normal(0, 10, 8, 3))
    with pytest.raises(ValueError, match="5 tokens are no grid of 3x2"):
        model.decode(normal(0, 5, 12), (3, 2))


def test_the_output_range_is_what_the_numbers_mean():
    numbers = normal(0, 2, 3, 3)
    assert autoencoder().pixels(numbers) is numbers
    np.testing.assert_allclose(autoencoder(output="signed").pixels(numbers), (numbers + 1) / 2)
    wanted = np.asarray(numbers) * np.asarray(IMAGENET_STD) + np.asarray(IMAGENET_MEAN)
    np.testing.assert_allclose(autoencoder(output="normalised").pixels(numbers), wanted, rtol=1e-5)


def test_parts_that_do_not_fit_each_other_are_refused():
    decoder = DcDecoder(12, (4, 4), (1, 1), in_shortcut="none", key=KEY)
    encoder = with_stem(vit(), ConvStem(12, (5,), key=KEY))
    with pytest.raises(
        ValueError, match="12 numbers for every 4 pixels, and the decoder takes 12 for every 2"
    ):
        DinoSae(encoder, decoder, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    with pytest.raises(ValueError, match="begins with a ConvStem"):
        DinoSae(vit(), decoder, mean=IMAGENET_MEAN, std=IMAGENET_STD)
