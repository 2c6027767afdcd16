"""Patches on a canvas, and windows of it."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from laminate.data.patches import from_patches, to_patches
from laminate.nn import cut_tile, cut_window, patch_pixels, tile_pixels, to_canvas, window_start

paint = jax.jit(to_canvas, static_argnames=("grid", "patch"))


@given(height=st.integers(1, 18), width=st.integers(1, 18))
def test_a_canvas_holds_the_image_and_zeros_around_it(height, width):
    image = np.random.default_rng(0).normal(size=(height, width, 2)).astype(np.float32)
    patched = to_patches(image, 3, 40)
    arrays = (jnp.asarray(patched[name]) for name in ("patches", "mask", "row", "col"))
    canvas = np.array(paint(*arrays, grid=(6, 7), patch=3))
    assert canvas.shape == (18, 21, 2)
    np.testing.assert_array_equal(canvas[:height, :width], from_patches(patched, 3))
    canvas[:height, :width] = 0
    assert not canvas.any()


def test_padding_paints_nothing_whatever_it_holds_and_what_is_outside_the_grid_is_dropped():
    patches = jnp.arange(1, 5, dtype=jnp.float32)[:, None]
    mask = jnp.asarray([True, True, False, True])
    canvas = paint(patches, mask, jnp.asarray([0, 0, 0, 5]), jnp.asarray([0, 1, 0, 0]), grid=(2, 2), patch=1)
    np.testing.assert_array_equal(canvas[..., 0], [[1, 2], [0, 0]])


@given(u=st.floats(0, 1, exclude_max=True, width=32), size=st.integers(1, 50), window=st.integers(1, 50))
def test_a_window_that_fits_lies_inside_the_image(u, size, window):
    start = int(window_start(jnp.asarray([u], jnp.float32), jnp.asarray([size], jnp.int32), (window,))[0])
    assert 0 <= start <= max(size - window, 0)


def test_a_window_is_moved_back_into_the_canvas_and_a_small_canvas_is_filled_up():
    canvas = jnp.arange(12, dtype=jnp.float32).reshape(3, 4, 1)
    moved = cut_window(canvas, jnp.asarray([2, 3]), (2, 2))
    np.testing.assert_array_equal(moved[..., 0], [[6, 7], [10, 11]])
    filled = cut_window(canvas, jnp.asarray([0, 1]), (5, 3), beyond=-1.0)
    assert filled.shape == (5, 3, 1)
    np.testing.assert_array_equal(filled[3:], np.full((2, 3, 1), -1))
    np.testing.assert_array_equal(filled[:3], canvas[:, 1:])


tile = jax.jit(cut_tile, static_argnames=("side", "patch"))


@given(
    height=st.integers(1, 18),
    width=st.integers(1, 18),
    u=st.tuples(*(st.floats(0, 1, exclude_max=True, width=32),) * 2),
)
def test_a_tile_holds_the_pixels_that_it_names_and_zeros_beyond_the_image(height, width, u):
    image = np.random.default_rng(0).normal(size=(height, width, 2)).astype(np.float32)
    patched = to_patches(image, 3, 40)
    arrays = [jnp.asarray(patched[name]) for name in ("patches", "mask", "row", "col")]
    size = jnp.asarray(patched["size"])
    start = window_start(jnp.asarray(u, jnp.float32), size, (7, 7))
    cut = np.asarray(tile(*arrays, start, side=7, patch=3))
    row, col = (int(n) for n in start)
    wanted = np.pad(image, ((0, 20), (0, 20), (0, 0)))[row : row + 7, col : col + 7]
    np.testing.assert_array_equal(cut, wanted)
    inside = np.pad(np.ones((height, width), bool), ((0, 20), (0, 20)))[row : row + 7, col : col + 7]
    np.testing.assert_array_equal(tile_pixels(start, size, side=7), inside)


@given(height=st.integers(1, 18), width=st.integers(1, 18))
def test_the_numbers_of_patches_that_are_pixels_are_as_many_as_the_image_has(height, width):
    patched = to_patches(np.ones((height, width, 3), np.float32), 3, 40)
    places = (jnp.asarray(patched[name]) for name in ("mask", "row", "col", "size"))
    pixels = np.asarray(patch_pixels(*places, patch=3))
    assert pixels.sum() == 3 * height * width
    np.testing.assert_array_equal(pixels, patched["patches"] == 1)
