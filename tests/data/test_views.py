"""Steps from pixels to patches, and pictures there and back."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from laminate.data.decode import ImageError
from laminate.data.patch_views import PatchView, converted, postprocess, preprocess, training_view
from laminate.data.transforms import adm_center_crop
from laminate.data.views import (
    Centre,
    Chain,
    Choice,
    Flip,
    LongSide,
    RandomResized,
    RandomWindow,
    View,
    Whole,
    fitted,
    normalised,
)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


VIEWS = (
    Whole(),
    Centre(8),
    RandomResized(9),
    RandomWindow((0.2, 0.5), (0.5, 2.0)),
    LongSide(11),
    Flip(),
    Choice((Centre(5), Whole()), (0.5, 0.5)),
    Chain((LongSide(20), Flip(1.0))),
)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: type(view).__name__)
def test_a_view_is_a_function_of_pixels_and_seed_and_says_what_it_does(view):
    assert isinstance(view, View)
    once, again = view(noise(23, 31), rng(3)), view(noise(23, 31), rng(3))
    np.testing.assert_array_equal(once, again)
    assert once.dtype == np.uint8 and once.shape[-1] == 3
    assert view.description.startswith(type(view).__name__)
    assert len({v.description for v in VIEWS}) == len(VIEWS)


def test_views_have_the_pixels_of_the_reference_operations():
    image = noise(37, 90)
    np.testing.assert_array_equal(Centre(16)(image, rng()), adm_center_crop(image, 16))
    # Python's rounding, half to even: 37 * 45 / 90 = 18.5 -> 18.
    pillow = np.array(Image.fromarray(image).resize((45, 18), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(LongSide(45)(image, rng()), pillow)
    assert LongSide(200)(image, rng()) is image
    assert LongSide(10)(noise(1, 4000), rng()).shape == (1, 10, 3)
    np.testing.assert_array_equal(Flip(1.0)(image, rng()), image[:, ::-1])
    assert Flip(0.0)(image, rng()) is image


def test_a_chain_is_its_views_in_turn_and_no_view_is_the_image_itself():
    image = noise(20, 14)
    chained = Chain((LongSide(10), Flip(1.0)))(image, rng())
    np.testing.assert_array_equal(chained, LongSide(10)(image, rng())[:, ::-1])
    assert Chain(())(image, rng()) is image


def test_a_choice_draws_by_its_rates():
    choice, draws = Choice((Centre(4), Choice((Centre(5), Centre(6)), (0.5, 0.5))), (0.25, 0.75)), rng()
    sides = np.array([choice(noise(8, 8), draws).shape[0] for _ in range(2000)])
    for side, rate in ((4, 0.25), (5, 0.375), (6, 0.375)):
        assert abs(np.mean(sides == side) - rate) < 0.05
    assert Choice((Centre(4), Whole()), (0.0, 1.0))(noise(8, 8), rng()).shape[0] == 8


@pytest.mark.parametrize("rates", [(), (1.0,), (0.5, 0.6), (-0.5, 1.5)])
def test_a_choice_without_right_rates_is_refused(rates):
    with pytest.raises(ValueError, match="as many rates that sum to one"):
        Choice((Whole(), Centre(2)), rates)


def test_values_are_those_of_the_reference():
    image = noise(2, 3)
    np.testing.assert_allclose(normalised(image), image / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(normalised(image, "zero_to_one"), np.float32(image) / np.float32(255))
    red = (image[..., 0] / 255 - 0.485) / 0.229
    np.testing.assert_allclose(normalised(image, "imagenet")[..., 0], red, rtol=1e-5)


@given(
    height=st.integers(1, 70), width=st.integers(1, 70), patch=st.integers(1, 9), tokens=st.integers(1, 20)
)
def test_whatever_the_size_an_image_fits_its_budget_and_a_flat_one_stays_flat(height, width, patch, tokens):
    view = PatchView(patch, tokens)
    patched = view.of(np.full((height, width, 3), 77, np.uint8), rng())
    flat = postprocess(patched, patch=patch)
    assert patched["mask"].sum() <= tokens
    np.testing.assert_array_equal(flat, np.full_like(flat, 77))


def test_resizing_to_a_budget_clips_nothing():
    edge = normalised(
        np.kron(np.eye(2, dtype=np.uint8), np.full((32, 32), 255, np.uint8))[..., None].repeat(3, -1)
    )
    assert fitted(edge, 4, 49).max() > 1.0
    assert fitted(edge, 16, 16) is edge


def test_a_view_that_may_not_shrink_refuses_what_is_too_large():
    with pytest.raises(ValueError, match="the budget is 4"):
        PatchView(4, 4, shrink=False).of(noise(9, 9), rng())


def test_a_view_says_everything_that_its_arrays_depend_on():
    views = [
        PatchView(),
        PatchView(8),
        PatchView(tokens=9),
        PatchView(shrink=False),
        PatchView(oriented=False),
    ]
    views += [PatchView(values="imagenet"), PatchView(views=(Flip(),)), training_view(32, 4, 64)]
    assert len({view.description for view in views}) == len(views)


def test_training_sees_whole_images_three_times_in_four():
    view, draws = training_view(32, 4, 400), rng()
    square = np.mean([view.of(noise(20, 44), draws)["size"].tolist() == [32, 32] for _ in range(600)])
    assert abs(square - 0.25) < 0.06


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (1, 4000), (300, 40)])
def test_a_picture_goes_there_and_back_from_a_file_a_picture_and_an_array(tmp_path: Path, size):
    image = noise(*size)
    path = tmp_path / "picture.png"
    Image.fromarray(image).save(path)
    for picture in (path, str(path), Image.fromarray(image), image):
        np.testing.assert_array_equal(postprocess(preprocess(picture)), image)


def test_transparency_is_white_grey_is_three_channels_and_orientation_is_followed():
    clear = Image.new("RGBA", (3, 2), (9, 9, 9, 0))
    assert (postprocess(preprocess(clear)) == 255).all()
    palette = Image.new("P", (3, 2), 0)
    palette.info["transparency"] = 0
    assert (postprocess(preprocess(palette)) == 255).all()
    np.testing.assert_array_equal(postprocess(preprocess(Image.new("L", (2, 2), 7))), np.full((2, 2, 3), 7))
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(4, 9)).save(stream, "PNG", exif=exif)
    stream.seek(0)
    assert preprocess(Image.open(stream))["size"].tolist() == [9, 4]
    assert preprocess(Image.open(stream), view=PatchView(oriented=False))["size"].tolist() == [4, 9]


def test_what_is_no_picture_is_refused_in_one_line(tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"uint8 \[height, width, 3\], and this array is float32 \[4, 4, 3\]"
    ):
        preprocess(np.zeros((4, 4, 3), np.float32))
    path = tmp_path / "nothing.png"
    path.write_bytes(b"no image")
    with pytest.raises(ImageError, match="no readable image"):
        preprocess(path)


def test_conversions_clip_but_the_same_range_is_left_alone():
    wild = np.array([[[-3.0, 0.0, 3.0]]], np.float32)
    signed = "minus_one_to_one"
    np.testing.assert_array_equal(converted(wild, values=signed, to=signed), wild)
    np.testing.assert_array_equal(converted(wild, values=signed, to="0_255"), [[[0, 128, 255]]])
    np.testing.assert_array_equal(converted(wild, values=signed, to="zero_to_one"), [[[0, 0.5, 1]]])
    np.testing.assert_array_equal(converted(wild, values="zero_to_one", to=signed), [[[-1, -1, 1]]])
    every = np.arange(256, dtype=np.uint8).reshape(1, 256, 1)
    for there in ("zero_to_one", signed):
        back = converted(converted(every, values="0_255", to=there), values=there, to="0_255")
        np.testing.assert_array_equal(back, every)
