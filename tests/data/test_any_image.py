"""One image gives the same pixels however it is handed over; what is none is refused with what it is."""

import io

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from laminate.data.any_image import file_bytes, one_or_many, viewed
from laminate.data.decode import ImageError, decode_image
from laminate.data.options import MAX_PIXELS
from laminate.recipes.augment import (
    CenterCropConfig,
    RandomResizedCropConfig,
    ResizeCropConfig,
    SquashConfig,
    SquashCropConfig,
)

RNG = np.random.default_rng(3)
VIEW = SquashConfig(6).transform()
COLOURS = RNG.integers(0, 256, (5, 7, 3), np.uint8)


def pixels(image) -> np.ndarray:
    return decode_image(file_bytes(image))


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 7), st.sampled_from([1, 3]))))
def test_an_array_a_picture_and_a_lossless_file_are_one_image(array):
    picture = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    wanted = np.broadcast_to(array, (*array.shape[:2], 3))
    for given_as in (array, picture, buffer.getvalue(), array.astype(np.float64) / 255.0):
        np.testing.assert_array_equal(pixels(given_as), wanted)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_floats_run_from_0_to_1_in_any_format(dtype):
    found = pixels((COLOURS / 255.0).astype(dtype))
    assert np.abs(found.astype(int) - COLOURS).max() <= (1 if dtype is ml_dtypes.bfloat16 else 0)


def test_a_gray_image_may_leave_its_channels_out():
    np.testing.assert_array_equal(pixels(COLOURS[:, :, 0]), pixels(COLOURS[:, :, :1]))


def picture(mode: str) -> Image.Image:
    colours = Image.fromarray(COLOURS)
    if mode == "P":
        return colours.quantize(8)
    if mode == "I":
        return Image.fromarray(COLOURS[:, :, 0].astype(np.int32) * 257)
    if mode.startswith("I;16"):
        return Image.fromarray(COLOURS[:, :, 0].astype(np.uint16) * 257)
    if mode in ("La", "RGBa"):
        return colours.convert(mode[:-1] + "A").convert(mode)
    return colours.convert(mode)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB", "I", "I;16"]
)
def test_a_picture_of_every_mode_shows_what_pillow_shows(mode):
    made = picture(mode)
    straight = made.convert(f"{mode[:-1]}A") if mode in ("La", "RGBa") else made
    wanted = COLOURS[:, :, :1] if mode.startswith("I") else np.asarray(straight.convert("RGB"))
    assert np.abs(pixels(made).astype(int) - wanted).max() <= 1


def test_transparency_is_laid_over_white_in_files_pictures_and_arrays():
    array = np.dstack([COLOURS, np.zeros((5, 7), np.uint8)])
    for one in (array, Image.fromarray(array)):
        assert (pixels(one) == 255).all()
    palette = Image.fromarray(COLOURS).quantize(4)
    palette.info["transparency"] = bytes(4)
    assert (pixels(palette) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_of_a_phone_is_upright_as_its_file_is(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOURS).save(tmp_path / "phone.png", exif=exif)
    upright = decode_image((tmp_path / "phone.png").read_bytes())
    assert upright.shape == ((7, 5, 3) if orientation > 4 else (5, 7, 3))
    with Image.open(tmp_path / "phone.png") as opened:
        np.testing.assert_array_equal(pixels(opened), upright)
    np.testing.assert_array_equal(pixels(tmp_path / "phone.png"), upright)


VIEWS = (SquashConfig, CenterCropConfig, RandomResizedCropConfig, ResizeCropConfig, SquashCropConfig)


@pytest.mark.parametrize("config", VIEWS)
@given(sides=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_what_the_still_view_gives_it_gives_again(config, sides):
    view = config(image_size=16).still().transform()
    once = view(file_bytes(RNG.integers(0, 256, (*sides, 3), np.uint8)), np.random.default_rng(0))["image"]
    again = view(file_bytes(once), np.random.default_rng(1))["image"]
    assert once.shape == (16, 16, 3)
    np.testing.assert_array_equal(once, again)


WRONG = {
    "channels first": (
        np.zeros((3, 8, 9), np.uint8),
        r"\[3, 8, 9\] of uint8, whose channels seem to come first",
    ),
    "two channels": (np.zeros((8, 9, 2), np.uint8), r"\[8, 9, 2\] of uint8; .* with 1, 3 or 4 channels"),
    "five axes": (np.zeros((2, 2, 8, 9, 3), np.uint8), r"got an array \[2, 2, 8, 9, 3\]"),
    "no pixel": (np.zeros((0, 9, 3), np.uint8), r"got an array \[0, 9, 3\]"),
    "up to 255": (np.full((4, 5, 3), 255.0), "numbers from 255 to 255; .* divide by 255, or give uint8"),
    "signed": (np.full((4, 5, 3), -0.5), r"numbers from -0.5 to -0.5; .* bring them into \[0, 1\]"),
    "no number": (np.full((4, 5, 3), np.nan), "numbers from nan to nan"),
    "integers": (np.zeros((4, 5, 3), np.int64), "of int64; an image is uint8 from 0 to 255, or floats"),
    "no image": (b"hello", "no readable image in these 5 bytes"),
    "half an image": (b"\x89PNG\r\n\x1a\n", "no readable image in these 8 bytes"),
    "a mode of numbers": (Image.new("F", (3, 4)), "mode F holds numbers whose range nothing states"),
    "a picture of nothing": (Image.new("RGB", (0, 4)), "a picture of 0 x 4 pixels has none"),
    "a bomb": (Image.new("1", (MAX_PIXELS // 8 + 1, 8)), "header claims .* pixels"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_image_is_refused_with_what_it_is(case):
    image, expected = WRONG[case]
    with pytest.raises(ImageError, match=f"^the cat: .*{expected}"):
        viewed(image, VIEW, name="the cat")


def test_a_path_is_named_in_what_is_wrong_with_it(tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8\xffhello")
    with pytest.raises(ImageError, match=r"cat\.jpg: no readable image"):
        viewed(tmp_path / "cat.jpg", VIEW)
    with pytest.raises(FileNotFoundError, match=r"there is no image .*dog\.jpg"):
        file_bytes(str(tmp_path / "dog.jpg"))
    with pytest.raises(IsADirectoryError, match="is a folder: give the images in it"):
        file_bytes(tmp_path)


def test_one_image_is_told_from_many():
    assert one_or_many("cat.jpg") == (["cat.jpg"], False)
    assert one_or_many(["cat.jpg"]) == (["cat.jpg"], True)
    found, batch = one_or_many(np.zeros((2, 5, 7, 3), np.uint8))
    assert batch and [one.shape for one in found] == [(5, 7, 3)] * 2
    assert one_or_many(COLOURS)[1] is False and one_or_many(Image.fromarray(COLOURS))[1] is False
    with pytest.raises(TypeError, match="got dict; an image is a path"):
        one_or_many({})
    with pytest.raises(TypeError, match="image 1 of the batch is int"):
        one_or_many(["cat.jpg", 3])
    with pytest.raises(ValueError, match="the batch is empty"):
        one_or_many([])
