"""Large images in tiles: nothing is lost, seams are blended linearly, and what is away from them is as of the whole."""

from fractions import Fraction
from functools import partial
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.models.conv_pyramid import Pyramid
from laminate.models.kl_autoencoder import KlAutoencoder
from laminate.nn import RMSNorm
from laminate.tokenizers.autoencoder import AutoencoderTokenizer, whole_patches
from laminate.tokenizers.tiling import Tiles, tiled
from tests.oracles.arrays import filled

FLOAT32 = jnp.dtype(jnp.float32)
RNG = np.random.default_rng(3)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 4))
def test_tiles_cover_a_side_overlap_by_as_much_as_asked_and_end_with_it(length, size, overlap):
    tiles = Tiles(2 * size, min(overlap, size))
    starts = tiles.starts(length)
    assert starts[0] == 0 and starts == sorted(set(starts))
    assert starts[-1] + tiles.size >= length and (length <= tiles.size or starts[-1] + tiles.size == length)
    assert all(a + tiles.size - b >= tiles.overlap for a, b in pairwise(starts))


@given(st.integers(1, 23), st.integers(1, 17), st.integers(1, 4), st.integers(0, 4))
def test_what_changes_nothing_gives_the_same_image_at_any_scale(height, width, size, overlap):
    image = RNG.normal(size=(height, width, 2)).astype(np.float32)
    tiles = Tiles(2 * size, min(overlap, size))
    np.testing.assert_allclose(tiled(lambda part: part, image, tiles, scale=Fraction(1)), image, atol=1e-6)
    larger = lambda part: part.repeat(3, axis=0).repeat(3, axis=1)
    np.testing.assert_allclose(tiled(larger, image, tiles, scale=Fraction(3)), larger(image), atol=1e-6)


def test_neighbours_are_blended_linearly():
    """Of two tiles that say 0 and 1, over an overlap of four places."""
    numbers = iter((0.0, 1.0))
    seen = tiled(
        lambda part: np.full_like(part, next(numbers)),
        np.zeros((3, 14, 1), np.float32),
        Tiles(9, 4),
        scale=Fraction(1),
    )
    np.testing.assert_allclose(seen[1, :, 0], [0] * 5 + [1 / 8, 3 / 8, 5 / 8, 7 / 8] + [1] * 5, atol=1e-6)


def test_tiles_that_begin_inside_a_patch_or_overlap_too_far_are_refused():
    with pytest.raises(ValueError, match=r"Tiles of 20 that overlap by 4 do not begin at patches.*of 8"):
        Tiles(20, 4, 8)
    with pytest.raises(ValueError, match="Tiles of 16 cannot overlap by 12"):
        Tiles(16, 12)


@pytest.fixture(scope="module")
def local() -> AutoencoderTokenizer:
    """A network that looks at a neighbourhood alone: its norms are of single places, and it has no attention."""
    pyramid = Pyramid((4, 6), 1, partial(RMSNorm, eps=1e-6), middle_attention=False)
    return AutoencoderTokenizer(filled(lambda key: KlAutoencoder(pyramid, pyramid, 3, key=key), scale=0.2))


# Pixels that a latent sees around its own: the first convolution and two of a block at full size, the halving, and at
# half the size two of each of three blocks and the last one. A pixel sees latents of as many around its own.
ENCODER_SIGHT = 1 + 2 + 2 + 2 * (3 * 2 + 1)
DECODER_SIGHT = 2 * (1 + 2 * 2 + 2 * 2) + 2 + 2 * 2 + 1


def clear_of_seams(height: int, width: int, tiles: Tiles, sight: int) -> np.ndarray:
    """The places of an image that no tile that covers them sees cut off."""
    return away(height, tiles, sight)[:, None] & away(width, tiles, sight)[None, :]


def away(length: int, tiles: Tiles, sight: int) -> np.ndarray:
    """The places along a side that no tile that covers them sees cut off."""
    places, clear = np.arange(length), np.ones(length, bool)
    for start in tiles.starts(length):
        inside = (places >= start) & (places < start + tiles.size)
        low = start + sight if start else 0
        high = start + tiles.size - sight if start + tiles.size < length else length
        clear &= ~inside | ((places >= low) & (places < high))
    return clear


@pytest.mark.parametrize(
    ("height", "width", "tiles"),
    [(96, 190, Tiles(96, 16, 2)), (142, 118, Tiles(88, 24, 2)), (60, 218, Tiles(100, 50, 2))],
    ids=["beside each other", "beside and below", "of half overlap"],
)
def test_away_from_the_seams_a_tiled_image_is_that_of_the_whole(local, height, width, tiles):
    image = RNG.uniform(size=(height, width, 3)).astype(np.float32)
    encode = eqx.filter_jit(lambda part: local.encode_grid(part, dtype=FLOAT32))
    whole = np.asarray(encode(jnp.asarray(image)))
    parts = tiled(lambda part: np.asarray(encode(jnp.asarray(part))), image, tiles, scale=Fraction(1, 2))
    clear = clear_of_seams(height, width, tiles, ENCODER_SIGHT)[::2, ::2]
    off = np.abs(parts - whole).max(axis=2) / np.abs(whole).max()
    assert 0.1 < clear.mean() < 0.9 and off[clear].max() < 1e-4 < off[~clear].max() < 0.5
    decode = eqx.filter_jit(lambda part: local.decode_grid(part, dtype=FLOAT32))
    picture = np.asarray(decode(jnp.asarray(whole)))
    small = tiles.along(Fraction(1, 2))
    again = tiled(lambda part: np.asarray(decode(jnp.asarray(part))), whole, small, scale=Fraction(2))
    clear = clear_of_seams(height, width, tiles, DECODER_SIGHT)
    off = np.abs(again - picture).max(axis=2)
    assert 0.1 < clear.mean() < 0.9 and off[clear].max() < 1e-4 < off[~clear].max() < 0.5


def test_an_image_of_no_whole_patches_is_continued_by_its_reflection():
    image = np.arange(5 * 7 * 3, dtype=np.float32).reshape(5, 7, 3)
    for patch in (1, 2, 4, 8, 16):
        below, right = -5 % patch, -7 % patch
        wanted = np.pad(image, ((0, below), (0, right), (0, 0)), mode="reflect")
        np.testing.assert_array_equal(whole_patches(jnp.asarray(image), patch), wanted)
    one = jnp.full((1, 1, 3), 0.5)
    np.testing.assert_array_equal(whole_patches(one, 8), np.full((8, 8, 3), 0.5))
    assert jax.eval_shape(lambda x: whole_patches(x, 8), one).dtype == jnp.float32
