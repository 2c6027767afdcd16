"""Resampling matrices against other implementations and loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from laminate.nn import resize, resize_bytes, resize_matrix

KINDS = ("bilinear", "bilinear-antialias", "bicubic", "bicubic-antialias", "bilinear-corner")
SIZES = st.integers(1, 40)


@given(source=SIZES, target=SIZES, kind=st.sampled_from(KINDS))
def test_every_row_of_weights_sums_to_one(source, target, kind):
    matrix = resize_matrix(source, target, kind)
    assert matrix.shape == (target, source)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    if source == target:
        np.testing.assert_allclose(matrix, np.eye(source), atol=1e-12)


@given(source=SIZES, target=SIZES, kind=st.sampled_from(["bilinear-antialias", "bicubic-antialias"]))
def test_antialiased_kernels_are_those_of_pillow(source, target, kind):
    kernel = {"bilinear-antialias": Image.Resampling.BILINEAR, "bicubic-antialias": Image.Resampling.BICUBIC}
    signal = np.random.default_rng(source).normal(size=(1, source)).astype(np.float32)
    wanted = np.asarray(Image.fromarray(signal, mode=None).resize((target, 1), kernel[kind]))[0]
    np.testing.assert_allclose(resize_matrix(source, target, kind) @ signal[0], wanted, atol=2e-6)


def _cubic(x: float, a: float) -> float:
    x = abs(x)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


@given(source=SIZES, target=SIZES)
def test_plain_kernels_repeat_the_border(source, target):
    signal = np.random.default_rng(target).normal(size=source)

    def at(position: int) -> float:
        return signal[min(max(position, 0), source - 1)]

    cubic, linear, corner = ([], [], [])
    for i in range(target):
        centre = (i + 0.5) * source / target - 0.5
        base = int(np.floor(centre))
        cubic.append(sum(at(base + k) * _cubic(centre - base - k, -0.75) for k in (-1, 0, 1, 2)))
        for row, place in ((linear, max(centre, 0.0)), (corner, min(i * source / target, source - 1))):
            base = int(np.floor(place))
            row.append(at(base) * (1 - place + base) + at(base + 1) * (place - base))
    for kind, wanted in (("bicubic", cubic), ("bilinear", linear), ("bilinear-corner", corner)):
        np.testing.assert_allclose(resize_matrix(source, target, kind) @ signal, wanted, atol=1e-9)


def test_images_are_resized_in_float32_and_keep_their_dtype():
    image = jnp.asarray(np.random.default_rng(0).normal(size=(5, 7, 2)), jnp.float32)
    run = jax.jit(lambda image: resize(image, (8, 3), "bicubic"))
    rows, columns = resize_matrix(5, 8, "bicubic"), resize_matrix(7, 3, "bicubic")
    wanted = np.einsum("hy,wx,yxc->hwc", rows, columns, np.asarray(image))
    np.testing.assert_allclose(run(image), wanted, atol=1e-6)
    assert run(image.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert resize(image, (5, 7), "bilinear-corner") is image


def test_bytes_of_one_colour_keep_it_and_only_antialiased_kernels_take_bytes():
    image = np.full((9, 4, 3), (0, 200, 255), np.uint8)
    resized = resize_bytes(image, (5, 6), "bicubic-antialias")
    assert resized.dtype == np.uint8 and resized.shape == (5, 6, 3)
    np.testing.assert_array_equal(resized, np.broadcast_to(image[0, 0], resized.shape))
    with pytest.raises(ValueError, match="antialiased kernel, not with 'bicubic'"):
        resize_bytes(image, (5, 6), "bicubic")


def test_empty_sizes_are_refused():
    with pytest.raises(ValueError, match="Cannot resize 4 pixels to 0"):
        resize_matrix(4, 0, "bilinear")
