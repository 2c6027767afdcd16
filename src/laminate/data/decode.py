"""Encoded image bytes to pixels: never silently wrong, never larger than a stated limit.

Every decoder here agrees on four points. A picture is turned as its EXIF orientation says, unless the caller wants the
pixels as they are stored (torchvision's and TFDS's pipelines, and so ADM's and RAE's, do not turn it; a TIFF is always
turned, since there the tag belongs to the format). Transparency is composited over white. Of an animation or a TIFF of
several pages the first is taken. A JPEG that lacks its last few bytes is read, and `noticed_cut_short` says so.
"""

import contextlib
import io
import struct
import zlib
from collections.abc import Callable, Generator
from contextvars import ContextVar
from typing import Literal, NamedTuple

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image

from laminate.data.jpeg_markers import count_scans, exif_block
from laminate.data.options import MAX_PIXELS as MAX_PIXELS

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
"""The formats that are read, recognised by their content and not by a file name."""

MAX_SCANS = 100
"""The most passes of a progressive JPEG: cameras and encoders make about ten, and each costs a decoding."""

_SCANNED = 16  # times `max_pixels`, the most pixels that all passes of a JPEG may have together
_ROWS = 2**20  # pixels that are composited or shifted at a time
_JPEG_MAGIC = b"\xff\xd8\xff"
_HIGH_DEPTH_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_ORIENTATION = 0x0112
_END_OF_IMAGE = b"\xff\xd9"
_FILLING = bytes(range(1, 255)) * 4
_LOST_PIXELS, _LOST_SHARE = 256, 1 / 64
"""A JPEG that was cut off is read where no more is missing: one block of 16 x 16, or this share of the image."""
_TRANSPARENT_MODES = ("RGBA", "LA", "PA", "La", "RGBa")
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
    UserWarning,  # what Pillow says of damaged tags, where warnings are errors
)

DecodeReduction = Literal[1, 2, 4, 8]
HostImage = UInt8[np.ndarray, "_ _ 3"]


class ImageError(ValueError):
    """Bytes that are no image, that are damaged, or that would decode to more pixels than allowed."""


class ImageHeader(NamedTuple):
    """What the first bytes say, before anything is decoded: one of `FORMATS`, and the size in pixels."""

    format: str
    width: int
    height: int


class TooManyPixels(ImageError):
    """A header claims no pixel at all, or more than allowed."""


_cut_short: ContextVar[list[int] | None] = ContextVar("cut_short", default=None)


@contextlib.contextmanager
def noticed_cut_short() -> Generator[list[int]]:
    """Collects the sizes in bytes of the images that this thread reads inside though their last few bytes are
    missing."""
    sizes: list[int] = []
    token = _cut_short.set(sizes)
    try:
        yield sizes
    finally:
        _cut_short.reset(token)


def image_header(data: bytes, *, oriented: bool = False) -> ImageHeader:
    """The format and size that `data` claims, without decoding a pixel; the size `oriented` as EXIF says, or as stored.

    Raises `ImageError`.
    """
    header = _header(data, _strict_jpeg_header(data))
    if oriented and header.format != "TIFF" and exif_orientation(data, header.format) > 4:
        return ImageHeader(header.format, header.height, header.width)
    return header


def exif_orientation(data: bytes, form: str) -> int:
    """The EXIF orientation, 1 to 8, of an image in format `form`; 1 where it has none, or one that makes no sense."""
    try:
        if form == "JPEG":
            block = exif_block(data)
            if block is None:
                return 1
            exif = Image.Exif()
            exif.load(block)
        else:
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                exif = opened.getexif()
        found = exif.get(_ORIENTATION, 1)
    except _DECODER_ERRORS:
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _turned(image: HostImage, orientation: int) -> HostImage:
    """`image` as EXIF orientation 2 to 8 has it shown."""
    if orientation > 4:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _header(data: bytes, strict: tuple[int, int, str] | None) -> ImageHeader:
    if strict is not None:
        height, width, _ = strict
        return ImageHeader("JPEG", width, height)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            width, height = opened.size
            return ImageHeader("JPEG" if opened.format == "MPO" else opened.format or "", width, height)
    except _DECODER_ERRORS as error:
        raise _unreadable(data, error) from error


def check_size(header: ImageHeader, max_pixels: int = MAX_PIXELS) -> None:
    """Raises `ImageError` where a header claims no pixel at all, or more than `max_pixels`."""
    pixels = header.width * header.height
    if not 0 < pixels <= max_pixels:
        raise TooManyPixels(
            f"the {header.format} header claims {header.width} x {header.height} pixels; "
            f"between 1 and {max_pixels} are accepted (decompression bombs are refused before decoding)"
        )


def decode_image(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    reduction: DecodeReduction = 1,
    fast: bool = False,
    oriented: bool = True,
) -> HostImage:
    """The pixels of `data` as RGB, uint8 `[height, width, 3]`.

    Gray, palette, CMYK and 16-bit images become 8-bit RGB. Whatever fault a decoder can see is an error: a
    JPEG stream that is truncated by more than a few bytes or out of step, a PNG whose checksums fail. JPEG, GIF, WebP,
    BMP and TIFF carry no checksum: damage that leaves their stream well-formed cannot be seen here (record files have
    their own).

    `reduction` divides both sides, rounded up: for a JPEG inside the inverse cosine transform, which is
    quick, otherwise by box averages. `fast` lets a JPEG be decoded with a coarser cosine transform and plain
    replication of the chroma: 8 % less time, about 42 dB from the exact pixels. `oriented` turns the picture
    as its EXIF
    orientation says. Raises `ImageError`.
    """
    strict = _strict_jpeg_header(data)
    header = _header(data, strict)
    check_size(header, max_pixels)
    _check_scans(data, header, max_pixels)
    try:
        image = _decoded(data, header, strict, reduction, fast)
    except _DECODER_ERRORS as error:
        raise _unreadable(data, error) from error
    orientation = exif_orientation(data, header.format) if oriented and header.format != "TIFF" else 1
    return image if orientation == 1 else _turned(image, orientation)


def _decoded(
    data: bytes,
    header: ImageHeader,
    strict: tuple[int, int, str] | None,
    reduction: DecodeReduction,
    fast: bool,
) -> HostImage:
    """The pixels as they are stored."""
    if strict is None:
        return _decode_by_pillow(data, header, reduction)
    colorspace = "CMYK" if strict[2] in ("CMYK", "YCCK") else "RGB"
    by = reduction if colorspace == "RGB" else 1
    height, width = -(-header.height // by), -(-header.width // by)
    decode = lambda stream, whole: simplejpeg.decode_jpeg(
        stream,
        colorspace=colorspace,
        min_height=height,
        min_width=width,
        fastdct=fast and colorspace == "RGB",
        fastupsample=fast and colorspace == "RGB",
        strict=whole,
    )
    try:
        image = decode(data, True)
    except ValueError:
        if data.endswith(_END_OF_IMAGE):
            raise
        _require_few_lost(data, colorspace)
        data += _END_OF_IMAGE
        image = decode(data, False)
        if (sizes := _cut_short.get()) is not None:
            sizes.append(len(data))
    if colorspace == "RGB":
        return image
    # Only Pillow knows Adobe's inverted inks; the strict decoder had to accept the stream first.
    return _decode_by_pillow(data, header, reduction)


def _require_few_lost(data: bytes, colorspace: str) -> None:
    """Refuse a JPEG whose end is missing, if two fillings of the gap make more of the whole image different
    than allowed.

    Raises:
      ValueError: more is missing, or something else is wrong.
    """
    decode = lambda filling, strict: simplejpeg.decode_jpeg(
        data + filling + _END_OF_IMAGE, colorspace=colorspace, strict=strict
    )
    try:
        decode(b"", True)
    except ValueError as error:
        if "premature end" not in str(error).lower():
            raise
        filled, other = decode(b"", False), decode(_FILLING, False)
        lost = int(np.any(filled != other, axis=-1).sum())
        if lost > max(_LOST_PIXELS, _LOST_SHARE * filled.shape[0] * filled.shape[1]):
            raise


def check_limits(data: bytes, max_pixels: int = MAX_PIXELS) -> None:
    """Raises `ImageError` for an image with more pixels than allowed, or too many passes over them, undecoded."""
    header = image_header(data)
    check_size(header, max_pixels)
    _check_scans(data, header, max_pixels)


def _check_scans(data: bytes, header: ImageHeader, max_pixels: int) -> None:
    """Refuse a JPEG of many passes over many pixels: 600 kB of empty ones take minutes.

    The marker cannot stand in the numbers of a scan; a thumbnail has one of its own.
    """
    if data[:3] != _JPEG_MAGIC:
        return
    scans = count_scans(data)
    if scans > MAX_SCANS or scans * header.width * header.height > _SCANNED * max_pixels:
        raise ImageError(
            f"the JPEG has {scans} scans of {header.width} x {header.height} pixels; at most {MAX_SCANS} scans and "
            f"{_SCANNED * max_pixels} pixels in all of them are decoded"
        )


def _strict_jpeg_header(data: bytes) -> tuple[int, int, str] | None:
    """(height, width, colour space) of a JPEG that the strict decoder takes, else None.

    Pillow lets random bytes in the middle of a JPEG pass without a word, so it decodes only what this decoder
    does not know: other formats, and unusual chroma subsampling.
    """
    if data[:3] != _JPEG_MAGIC:
        return None
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return int(height), int(width), colorspace


def _decode_by_pillow(data: bytes, header: ImageHeader, reduction: int) -> HostImage:
    if header.format == "PNG":
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            opened.verify()
    with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        picture = to_rgb(opened)
    return np.array(picture if reduction == 1 else picture.reduce(reduction))


def to_rgb(picture: Image.Image) -> Image.Image:
    """A picture of any mode as 8-bit RGB, transparency over white. Raises `ImageError` for floating-point numbers."""
    if picture.mode == "F":
        raise ImageError(
            "the image holds floating-point numbers, whose range nothing states: convert it to 8 bits"
        )
    if picture.mode in _HIGH_DEPTH_MODES:
        # Pillow clips 16 bits to 255; the upper byte is what every 8-bit viewer shows.
        return _in_bands(picture, _upper_byte)
    if picture.mode in _TRANSPARENT_MODES or "transparency" in picture.info:
        return _in_bands(picture, _over_white)
    return picture.convert("RGB")


def _in_bands(picture: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """`convert` of some rows at a time, since what it makes on the way is larger than the picture."""
    picture.load()
    width, height = picture.size
    rows = max(1, _ROWS // width)
    whole = Image.new("RGB", picture.size)
    for top in range(0, height, rows):
        band = picture.crop((0, top, width, min(top + rows, height)))
        band.info = picture.info  # where a palette is transparent
        whole.paste(convert(band), (0, top))
    return whole


def _upper_byte(picture: Image.Image) -> Image.Image:
    upper = (np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
    return Image.fromarray(upper).convert("RGB")


def _over_white(picture: Image.Image) -> Image.Image:
    layer = picture.convert("RGBA")
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layer).convert("RGB")


def _unreadable(data: bytes, error: BaseException) -> ImageError:
    return ImageError(
        f"no readable image in these {len(data)} bytes (first bytes {data[:4].hex() or 'none'}): "
        f"{type(error).__name__}: {error}; expected a whole file of {', '.join(FORMATS)}"
    )
