"""Patches and pixels: a bijection, its order, and the embedding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.nn import PatchEmbed, overlap_add, patchify, unpatchify
from tests.oracles.arrays import filled, normal


@given(
    sizes=st.sampled_from([(1, 1, 2, 3), (3, 2, 1, 4), (2, 4, 2, 1), (3, 4, 5, 2)]), seed=st.integers(0, 99)
)
def test_unpatchify_undoes_patchify(sizes, seed):
    rows, columns, patch, channels = sizes
    image = normal(seed, rows * patch, columns * patch, channels)
    patches = patchify(image, patch)
    assert patches.shape == (rows * columns, patch * patch * channels)
    np.testing.assert_array_equal(unpatchify(patches, patch, (rows, columns)), image)


@given(
    sizes=st.sampled_from([(1, 1, 2, 3), (3, 2, 4, 1), (2, 4, 3, 2), (3, 5, 1, 2)]),
    overlap=st.integers(0, 4),
    seed=st.integers(0, 99),
)
def test_windows_that_lie_over_each_other_add_up_and_what_reaches_beyond_the_image_is_dropped(
    sizes, overlap, seed
):
    rows, columns, patch, channels = sizes
    overlap = min(overlap, patch)
    side = patch + 2 * overlap
    windows = normal(seed, rows * columns, side * side * channels)
    page = np.zeros((rows * patch + 2 * overlap, columns * patch + 2 * overlap, channels))
    for place in range(rows * columns):
        top, left = patch * (place // columns), patch * (place % columns)
        page[top : top + side, left : left + side] += np.asarray(windows[place]).reshape(side, side, channels)
    image = overlap_add(windows, patch, overlap, (rows, columns))
    inside = page[overlap : overlap + rows * patch, overlap : overlap + columns * patch]
    np.testing.assert_allclose(image, inside, atol=1e-5)
    if overlap == 0:
        np.testing.assert_array_equal(image, unpatchify(windows, patch, (rows, columns)))


@pytest.mark.parametrize("overlap", [-1, 3])
def test_a_window_beyond_the_next_patch_is_refused(overlap):
    with pytest.raises(ValueError, match=f"overlap={overlap} must lie between 0 and the patch of 2 pixels"):
        overlap_add(normal(0, 6, max(1, 2 + 2 * overlap) ** 2 * 3), 2, overlap, (2, 3))


def test_patches_are_row_major_and_their_pixels_row_column_channel():
    image = normal(0, 4, 6, 3)
    patches = patchify(image, 2)
    for i in range(2):
        for j in range(3):
            np.testing.assert_array_equal(
                patches[3 * i + j], np.asarray(image)[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(-1)
            )


def test_an_embedding_is_the_linear_map_of_channel_major_pixels():
    embed = PatchEmbed(6, 3, 5, channels=2, key=jax.random.key(0))
    embed = jax.tree.map(lambda leaf: normal(leaf.size, *leaf.shape), embed)
    image = normal(0, 3, 9, 2)  # another size than it was built for
    tokens = np.asarray(jax.jit(PatchEmbed.__call__)(embed, image))
    assert embed.grid == (2, 2) and tokens.shape == (3, 5)
    for j in range(3):
        pixels = np.asarray(image, np.float64)[:, 3 * j : 3 * j + 3].transpose(2, 0, 1).reshape(-1)
        wanted = np.asarray(embed.projection.weight, np.float64) @ pixels + np.asarray(embed.projection.bias)
        np.testing.assert_allclose(tokens[j], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "size"),
    [
        (lambda: patchify(jnp.zeros((4, 5, 3)), 2), "4x5"),
        (lambda: PatchEmbed(7, 2, 5, key=jax.random.key(0)), "7x7"),
        (lambda: PatchEmbed(6, 2, 5, key=jax.random.key(0))(jnp.zeros((3, 6, 3))), "3x6"),
    ],
)
def test_an_image_of_broken_patches_is_refused(call, size):
    with pytest.raises(ValueError, match=f"{size} is no whole number of 2x2 patches: resize or crop"):
        call()


def test_what_fills_no_patch_is_left_out_if_asked():
    crop = filled(lambda key: PatchEmbed(7, 3, 5, crop=True, key=key))
    image = normal(0, 8, 5, 3)
    assert crop.grid == (2, 2)
    run = jax.jit(PatchEmbed.__call__)
    np.testing.assert_array_equal(run(crop, image), run(crop, image[:6, :3]))
