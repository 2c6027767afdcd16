"""Encoded image bytes to pixels: never silently wrong, never larger than a stated limit.

Every decoder here agrees on three points. The EXIF orientation is ignored, as in the reference preprocessing
of ImageNet, so a picture is not rotated. Transparency is composited over white. Of an animation the first
frame is taken.
"""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image

MAX_PIXELS = 2**26
"""The most pixels that `decode_image` accepts unless told otherwise: 8192 x 8192, 192 MiB when decoded.

While it decodes, a format other than JPEG takes up to 12 bytes for each pixel, 768 MiB at this limit: what it stores
(up to 4), as RGB (3), the result (3), and buffers.
"""

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
"""The formats that are read, recognised by their content and not by a file name."""

MAX_SCANS = 100
"""The most passes of a progressive JPEG: cameras and encoders make about ten, and each costs a decoding."""

_SCANNED = 16  # times `max_pixels`, the most pixels that all passes of a JPEG may have together
_ROWS = 2**20  # pixels that are composited or shifted at a time
_SCAN = b"\xff\xda"
_JPEG_MAGIC = b"\xff\xd8\xff"
_HIGH_DEPTH_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
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


def image_header(data: bytes) -> ImageHeader:
    """The format and size that `data` claims, without decoding a pixel. Raises `ImageError`."""
    return _header(data, _strict_jpeg_header(data))


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
        raise ImageError(
            f"the {header.format} header claims {header.width} x {header.height} pixels; "
            f"between 1 and {max_pixels} are accepted (decompression bombs are refused before decoding)"
        )


def decode_image(
    data: bytes, *, max_pixels: int = MAX_PIXELS, reduction: DecodeReduction = 1, fast: bool = False
) -> HostImage:
    """The pixels of `data` as RGB, uint8 `[height, width, 3]`.

    Gray, palette, CMYK and 16-bit images become 8-bit RGB. Whatever fault a decoder can see is an error: a
    JPEG stream that is truncated or out of step, a PNG whose checksums fail. JPEG, GIF, WebP and BMP carry no
    checksum: damage that leaves their stream well-formed cannot be seen here (record files have their own).

    `reduction` divides both sides, rounded up: for a JPEG inside the inverse cosine transform, which is
    quick, otherwise by box averages. `fast` lets a JPEG be decoded with a coarser cosine transform and plain
    replication of the chroma: 8 % less time, about 42 dB from the exact pixels. Raises `ImageError`.
    """
    strict = _strict_jpeg_header(data)
    header = _header(data, strict)
    check_size(header, max_pixels)
    _check_scans(data, header, max_pixels)
    try:
        if strict is not None and strict[2] not in ("CMYK", "YCCK"):
            return simplejpeg.decode_jpeg(
                data,
                min_height=-(-header.height // reduction),
                min_width=-(-header.width // reduction),
                fastdct=fast,
                fastupsample=fast,
                strict=True,
            )
        if strict is not None:
            # Only Pillow knows Adobe's inverted inks; the strict decoder must accept the stream first.
            simplejpeg.decode_jpeg(data, colorspace="CMYK", strict=True)
        return _decode_by_pillow(data, header, reduction)
    except _DECODER_ERRORS as error:
        raise _unreadable(data, error) from error


def _check_scans(data: bytes, header: ImageHeader, max_pixels: int) -> None:
    """Refuse a JPEG of many passes over many pixels: 600 kB of empty ones take minutes.

    The marker cannot stand in the numbers of a scan; a thumbnail has one of its own.
    """
    if data[:3] != _JPEG_MAGIC:
        return
    scans = data.count(_SCAN)
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
        picture = _to_rgb(opened)
    return np.array(picture if reduction == 1 else picture.reduce(reduction))


def _to_rgb(picture: Image.Image) -> Image.Image:
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
