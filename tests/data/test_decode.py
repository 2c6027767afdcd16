import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from laminate.data.decode import ImageError, decode_image, image_header, noticed_cut_short
from laminate.data.jpeg_markers import count_scans


def picture(height: int = 45, width: int = 70) -> np.ndarray:
    """Smooth colours, so that lossy formats keep them."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    return (np.stack([x, y, (x + y) / 2], axis=-1) * 255).astype(np.uint8)


def encoded(image: np.ndarray | Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def error_of(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_come_back_exactly(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(picture(), kind, **options)
    assert image_header(data) == (kind, 70, 45)
    np.testing.assert_array_equal(decode_image(data), picture())


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ({}, "RGB"),
        ({"progressive": True}, "RGB"),
        ({"subsampling": 0}, "RGB"),
        ({"subsampling": 2, "optimize": True}, "RGB"),
        ({}, "L"),
        ({}, "CMYK"),
    ],
)
def test_every_kind_of_jpeg_decodes_as_pillow_decodes_it(options, mode):
    original = Image.fromarray(picture()).convert(mode)
    data = encoded(original, quality=95, **options)
    with Image.open(io.BytesIO(data)) as opened:
        reference = np.asarray(opened.convert("RGB"))
    decoded = decode_image(data)
    assert decoded.dtype == np.uint8 and decoded.flags.c_contiguous
    assert np.abs(decoded.astype(int) - reference).max() <= 2
    assert np.abs(decoded.astype(int) - np.asarray(original.convert("RGB"))).mean() < 4


@given(height=st.integers(1, 40), width=st.integers(1, 40), kind=st.sampled_from(["JPEG", "PNG", "GIF"]))
def test_every_size_decodes_to_what_its_header_says(height, width, kind):
    data = encoded(picture(height, width), kind)
    assert image_header(data) == (kind, width, height)
    assert decode_image(data).shape == (height, width, 3)


@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    reduction=st.sampled_from([1, 2, 4, 8]),
    kind=st.sampled_from(["JPEG", "PNG"]),
)
def test_a_reduced_image_has_both_sides_divided_and_rounded_up(height, width, reduction, kind):
    reduced = decode_image(encoded(picture(height, width), kind), reduction=reduction)
    assert reduced.shape == (-(-height // reduction), -(-width // reduction), 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_reduced_image_is_the_mean_of_its_cells(kind, reduction):
    image = picture(64, 96)
    cells = image.reshape(64 // reduction, reduction, 96 // reduction, reduction, 3).mean((1, 3))
    reduced = decode_image(
        encoded(image, kind, **({"quality": 98} if kind == "JPEG" else {})), reduction=reduction
    )
    assert np.abs(reduced - cells).mean() < 1.5


@pytest.mark.parametrize("subsampling", [0, 2])
def test_fast_decoding_stays_close_to_the_exact_pixels(subsampling):
    data = encoded(picture(90, 120), quality=90, subsampling=subsampling)
    difference = decode_image(data, fast=True).astype(float) - decode_image(data)
    assert 10 * np.log10(255**2 / np.mean(difference**2)) > 38


def test_a_png_named_jpg_is_known_by_its_content():
    np.testing.assert_array_equal(decode_image(encoded(picture(), "PNG")), picture())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("reduction", [1, 2])
def test_exif_orientation_is_applied_by_every_decoder_and_ignored_where_it_is_not_wanted(
    kind, orientation, reduction
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(46, 70), kind, exif=exif.tobytes())
    stored = decode_image(encoded(picture(46, 70), kind), reduction=reduction)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode_image(data, reduction=reduction, oriented=False), stored)
    shown = decode_image(data, reduction=reduction)
    assert shown.flags.c_contiguous
    if reduction == 1:
        assert np.abs(shown.astype(int) - np.asarray(upright.convert("RGB"))).max() <= 2
    header = image_header(data, oriented=True)
    assert (header.width, header.height) == upright.size
    assert shown.shape[:2] == tuple(-(-side // reduction) for side in upright.size[::-1])


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_makes_no_sense_turns_nothing(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(), exif=exif.tobytes())
    np.testing.assert_array_equal(decode_image(data), decode_image(encoded(picture())))
    assert decode_image(data[:2] + b"\xff\xe1\x00\x20Exif\0\0MM\0*" + bytes(20) + data[2:]).shape == (
        45,
        70,
        3,
    )


@pytest.mark.parametrize("missing", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 95}])
def test_a_jpeg_without_its_last_few_bytes_is_read_and_noticed(missing, options):
    noise = np.random.default_rng(1).integers(0, 256, (80, 96, 3), np.uint8)
    whole = encoded(noise, **options)
    with noticed_cut_short() as sizes:
        read = decode_image(whole[:-missing])
        decode_image(whole)
    assert len(sizes) == 1
    difference = np.any(read != decode_image(whole), axis=-1)
    assert difference.mean() <= 256 / (80 * 96) + 1 / 64


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("reduction", [1, 2, 8])
def test_what_may_be_missing_of_a_jpeg_does_not_depend_on_how_small_it_is_decoded(mode, reduction):
    noise = np.random.default_rng(1).integers(0, 256, (256, 320, 3), np.uint8)
    whole = encoded(Image.fromarray(noise).convert(mode))
    assert decode_image(whole[:-4], reduction=reduction).shape == (256 // reduction, 320 // reduction, 3)
    with pytest.raises(ImageError):
        decode_image(whole[: len(whole) * 19 // 20], reduction=reduction)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "I;16", "1", "RGBA"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_tiff_is_read_as_pillow_reads_it(mode, compression):
    if mode == "I;16":
        image = Image.fromarray(np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64))
        expected = np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, -1)
    else:
        image = Image.fromarray(picture()).convert(mode)
        expected = np.asarray(image.convert("RGB"))
    data = encoded(image, "TIFF", compression=compression)
    assert image_header(data).format == "TIFF"
    np.testing.assert_array_equal(decode_image(data), expected)


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.9])
def test_a_truncated_or_floating_point_tiff_is_refused(fraction):
    data = encoded(picture(), "TIFF")
    assert "readable image" in error_of(data[: int(len(data) * fraction)])
    assert "floating-point" in error_of(
        encoded(Image.fromarray(picture()[..., 0].astype(np.float32)), "TIFF")
    )


def test_transparency_shows_white():
    clear = np.dstack([picture(), np.zeros((45, 70), np.uint8)])
    np.testing.assert_array_equal(decode_image(encoded(clear, "PNG")), np.full((45, 70, 3), 255, np.uint8))
    half = np.dstack([picture(), np.full((45, 70), 128, np.uint8)])
    expected = picture() * (128 / 255) + 255 * (127 / 255)
    assert np.abs(decode_image(encoded(half, "PNG")) - expected).max() <= 1


def test_a_transparent_palette_colour_shows_white():
    indexed = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "L").convert("P")
    indexed.putpalette([10, 20, 30, 200, 100, 50])
    decoded = decode_image(encoded(indexed, "PNG", transparency=0))
    np.testing.assert_array_equal(decoded[0], [[255, 255, 255], [200, 100, 50]])


def test_sixteen_bits_keep_their_upper_byte():
    levels = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    decoded = decode_image(encoded(Image.fromarray(levels), "PNG"))
    np.testing.assert_array_equal(decoded, np.repeat((levels >> 8).astype(np.uint8)[..., None], 3, -1))


def test_an_animation_shows_its_first_frame():
    first, second = Image.new("RGB", (7, 5), (255, 0, 0)), Image.new("RGB", (7, 5), (0, 0, 255))
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    np.testing.assert_array_equal(decode_image(data), np.asarray(first))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.9])
def test_a_truncated_file_is_refused(kind, fraction):
    data = encoded(picture(), kind)
    assert "readable image" in error_of(data[: int(len(data) * fraction)])


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_a_truncated_jpeg_of_any_colour_space_is_refused(mode):
    data = encoded(Image.fromarray(picture()).convert(mode))
    assert "no readable image" in error_of(data[: len(data) * 9 // 10])


def test_random_bytes_in_the_middle_of_a_png_are_refused():
    data = bytearray(encoded(np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8), "PNG"))
    data[len(data) // 2] ^= 1
    assert "checksum" in error_of(bytes(data))


def test_a_jpeg_stream_out_of_step_is_refused():
    """A marker inside the entropy-coded data: Pillow fills the rest with gray and says nothing."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = bytearray(encoded(noise, quality=90))
    data[len(data) // 2 : len(data) // 2 + 4] = b"\xff\xd9\xff\xd9"
    with Image.open(io.BytesIO(bytes(data))) as opened:
        assert opened.convert("RGB").size == (64, 64)
    assert "no readable image" in error_of(bytes(data))


@given(
    data=st.binary(max_size=200),
    head=st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM"]),
)
def test_bytes_that_are_no_image_are_an_image_error_and_nothing_else(data, head):
    try:
        decode_image(head + data)
    except ImageError as error:
        assert "readable image" in str(error) or "header claims" in str(error)


@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP"]))
def test_damage_anywhere_is_an_image_error_or_a_whole_image(seed, kind):
    rng = np.random.default_rng(seed)
    data = bytearray(encoded(picture(), kind))
    at = int(rng.integers(len(data) - 16))
    data[at : at + 16] = rng.bytes(16)
    try:
        image = decode_image(bytes(data), max_pixels=10**6)
    except ImageError:
        return
    assert image.dtype == np.uint8 and image.ndim == 3


def lying_jpeg(side: int) -> bytes:
    """A sound JPEG of 8 x 8 pixels whose frame header claims another size."""
    data = bytearray(encoded(picture(8, 8)))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def png_bomb(side: int) -> bytes:
    """A black square of one bit a pixel: every row compresses to next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(9)
    body = packer.compress(bytes((side // 8 + 1) * side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_a_header_that_lies_is_refused_before_anything_is_allocated():
    assert "65500 x 65500" in error_of(lying_jpeg(65500))


def test_a_decompression_bomb_is_refused():
    data = png_bomb(20000)
    assert len(data) < 100_000
    assert "bomb" in error_of(data).lower()


def test_the_limit_on_pixels_is_the_callers():
    data = encoded(picture(), "PNG")
    assert decode_image(data, max_pixels=70 * 45).shape == (45, 70, 3)
    with pytest.raises(ImageError, match="claims 70 x 45 pixels; between 1 and 3149 are accepted"):
        decode_image(data, max_pixels=70 * 45 - 1)


@given(st.lists(st.sampled_from([b"\xff", b"\xda", b"\xff\xda", b"\x00"]), min_size=1).map(b"".join))
def test_scans_are_counted_wherever_they_begin(data: bytes):
    assert count_scans(data) == data.count(b"\xff\xda")
