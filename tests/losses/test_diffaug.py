"""What the augmentation does with given draws, and whose draws they are."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.losses.diffaug import AugmentDraws, diffaug, draw_augmentation
from tests.oracles.arrays import normal

NEUTRAL = jnp.full(7, 0.5)
ON = jnp.zeros(3)
IMAGE = jnp.clip(normal(0, 16, 24, 3) * 0.4, -1, 1)
uniform = st.floats(0, 255 / 256, width=32)


@partial(jax.jit, static_argnames=("probability", "translation", "cutout"))
def run(image, switches, amounts, **options):
    return diffaug(image, AugmentDraws(switches, amounts), **options)


def amounts(**changed):
    names = ("rows", "columns", "brightness", "saturation", "contrast", "hole_rows", "hole_columns")
    return jnp.asarray([changed.get(name, 0.5) for name in names], jnp.float32)


def test_neutral_draws_leave_an_image_as_it_is():
    np.testing.assert_allclose(run(IMAGE, ON, NEUTRAL), IMAGE, atol=1e-6)


@given(rows=uniform, columns=uniform)
def test_a_translation_is_a_shift_by_whole_pixels_with_zeros_coming_in(rows, columns):
    found = np.asarray(run(IMAGE, ON, amounts(rows=rows, columns=columns)))
    shifts = [
        int(np.floor(np.float32(u) * np.float32(2 * reach + 1))) - reach
        for u, reach in ((rows, 2), (columns, 3))
    ]
    padded = np.pad(np.asarray(IMAGE), ((2, 2), (3, 3), (0, 0)))
    top, left = shifts[0] + 2, shifts[1] + 3
    np.testing.assert_allclose(found, padded[top : top + 16, left : left + 24], atol=1e-6)


@given(brightness=uniform, saturation=uniform, contrast=uniform)
def test_colour_is_brightness_then_saturation_then_contrast(brightness, saturation, contrast):
    found = run(IMAGE, ON, amounts(brightness=brightness, saturation=saturation, contrast=contrast))
    x = np.asarray(IMAGE, np.float64) + brightness - 0.5
    mean = x.mean(-1, keepdims=True)
    x = (x - mean) * 2 * saturation + mean
    wanted = (x - x.mean()) * (contrast + 0.5) + x.mean()
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@given(rows=uniform, columns=uniform, cutout=st.sampled_from([0.2, 0.25, 0.5]))
def test_a_hole_is_a_rectangle_around_a_place_in_the_image(rows, columns, cutout):
    image = jnp.abs(IMAGE) + 0.5
    found = run(image, ON, amounts(hole_rows=rows, hole_columns=columns), cutout=cutout)
    inside = []
    for side, u in ((16, rows), (24, columns)):
        size = round(cutout * side)
        first = int(np.floor(np.float32(u) * np.float32(side + 1 - size % 2))) - size // 2
        inside.append(np.isin(np.arange(side), np.arange(first, first + size)))
    hole = (inside[0][:, None] & inside[1][None])[..., None]
    assert hole.any()
    np.testing.assert_allclose(found, np.where(hole, 0, image), atol=1e-5)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_switch_above_the_probability_turns_its_change_off(which):
    moved = amounts(rows=0.9, brightness=0.9, hole_rows=0.3)
    options = {"probability": 0.5, "cutout": 0.25}
    alone = run(IMAGE, jnp.ones(3).at[which].set(0.5), moved, **options)
    off = run(IMAGE, jnp.ones(3), moved, **options)
    np.testing.assert_array_equal(off, IMAGE)
    assert np.any(np.asarray(alone) != np.asarray(IMAGE))
    np.testing.assert_array_equal(run(IMAGE, ON, moved, probability=0.0, cutout=0.25), IMAGE)


def test_what_happens_to_an_image_does_not_depend_on_those_beside_it():
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(3), i))(jnp.arange(6))
    images = normal(1, 6, 8, 8, 3)
    augment = lambda image, key: diffaug(image, draw_augmentation(key), probability=0.7, cutout=0.5)
    whole = jax.jit(jax.vmap(augment))(images, keys)
    for i in (0, 4):
        np.testing.assert_allclose(jax.jit(augment)(images[i], keys[i]), whole[i], atol=1e-6)
    assert len({float(x) for x in jax.vmap(lambda k: draw_augmentation(k).amounts[0])(keys)}) == 6


def test_the_gradient_goes_back_to_where_a_pixel_came_from():
    moved = amounts(rows=0.99, columns=0.0)
    picked = jax.jit(jax.grad(lambda x: jnp.sum(diffaug(x, AugmentDraws(ON, moved))[3, 9])))(IMAGE)
    where = np.argwhere(np.asarray(picked).any(-1))
    np.testing.assert_array_equal(where, [[3 + 2, 9 - 3]])


def test_the_dtype_stays_and_fractions_beyond_one_are_refused():
    assert run(IMAGE.astype(jnp.bfloat16), ON, NEUTRAL).dtype == jnp.bfloat16
    for options in ({"cutout": 1.5}, {"probability": -0.5}, {"translation": 2.0}):
        with pytest.raises(ValueError, match="must lie between 0 and 1"):
            diffaug(IMAGE, AugmentDraws(ON, NEUTRAL), **options)
