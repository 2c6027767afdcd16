"""An image as people hold one, file, picture or array, as the bytes of a file: what every view begins with.

So one image gives the same pixels however it is handed over, and what a view says of EXIF, transparency and limits
holds for all of them. Pictures and arrays become PNG, which loses nothing.
"""

import io
import os
from collections.abc import Sequence
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
from etils import epath
from PIL import Image

from laminate.data.augment import Augment
from laminate.data.batch import Arrays
from laminate.data.decode import ImageError, check_limits
from laminate.data.records import MAX_IMAGE_BYTES


@runtime_checkable
class HasArray(Protocol):
    """A NumPy array, or what NumPy makes one of, such as an array of JAX."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __array__(self) -> Any: ...


AnyImage = str | os.PathLike[str] | bytes | Image.Image | HasArray
"""One image: its path, the bytes of its file, a picture of Pillow, or an array `[height, width, channels]`."""

EXPECTED = (
    "a path, the bytes of an image file, a Pillow image, or an array [height, width, channels] of uint8, or of "
    "floats in [0, 1]"
)
_CHANNELS = (1, 3, 4)
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_WITHOUT_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}
_FLOATS = ("float16", "bfloat16", "float32", "float64")


def is_one_image(given: object) -> TypeGuard[AnyImage]:
    """Whether `given` is of a kind that one image can be; an array may still be a batch."""
    return isinstance(given, str | os.PathLike | bytes | Image.Image | HasArray)


def one_or_many(given: object) -> tuple[list[AnyImage], bool]:
    """The images in `given`, and whether it is a batch: a list, a tuple, or an array with one more axis in front.

    Raises:
      TypeError: it is neither.
      ValueError: a batch of nothing.
    """
    if isinstance(given, HasArray) and not isinstance(given, Image.Image) and len(given.shape) == 4:
        given = list(np.asarray(given))
    elif is_one_image(given):
        return [given], False
    if not isinstance(given, Sequence):
        raise TypeError(f"got {type(given).__name__}; an image is {EXPECTED}; or give a list of such")
    if not given:
        raise ValueError("got no image: the batch is empty")
    images: list[AnyImage] = []
    for number, one in enumerate(given):
        if not is_one_image(one):
            raise TypeError(f"image {number} of the batch is {type(one).__name__}; an image is {EXPECTED}")
        images.append(one)
    return images, True


def viewed(image: AnyImage, view: Augment, *, name: str = "") -> Arrays:
    """What `view` makes of an image, without randomness.

    Raises:
      ImageError: no image, a damaged one, one of too many pixels, or an array that is none; the message begins with
        `name`, or with the path.
      FileNotFoundError: there is no such file.
    """
    where = name or (os.fspath(image) if isinstance(image, str | os.PathLike) else "")
    try:
        return view(file_bytes(image), np.random.default_rng(0))
    except ImageError as error:
        raise ImageError(f"{where}: {error}" if where else f"{error}") from error


def file_bytes(image: AnyImage) -> bytes:
    """`image` as the bytes of an image file, which is not decoded yet.

    Of a path, what the file holds; of a Pillow image, its present frame, with its EXIF orientation. Floats are rounded
    to 8 bits. Raises as `viewed`.
    """
    data = _bytes(image)
    check_limits(data)
    return data


def _bytes(image: AnyImage) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | os.PathLike):
        return _read(os.fspath(image))
    if isinstance(image, Image.Image):
        return _png(image)
    return _png(Image.fromarray(_pixels(np.asarray(image))))


def _read(path: str) -> bytes:
    place = epath.Path(os.path.expanduser(path))
    if place.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder: give the images in it, such as sorted(Path(...).glob('*.jpg'))"
        )
    if not place.exists():
        raise FileNotFoundError(f"there is no image {path}")
    size = place.stat().length
    if size > MAX_IMAGE_BYTES:
        raise ImageError(f"the file has {size} bytes, more than the {MAX_IMAGE_BYTES} that an image may have")
    return place.read_bytes()


def _png(picture: Image.Image) -> bytes:
    if 0 in picture.size:
        raise ImageError(f"a picture of {picture.width} x {picture.height} pixels has none")
    if picture.mode == "F":
        raise ImageError("a picture of mode F holds numbers whose range nothing states: convert it to 8 bits")
    exif = picture.getexif()
    if picture.mode.startswith(("I", "I;16")) and picture.mode != "I;16":
        picture = Image.fromarray(np.asarray(picture).clip(0, 2**16 - 1).astype(np.uint16))
    elif picture.mode in _WITHOUT_PREMULTIPLIED:
        picture = picture.convert(_WITHOUT_PREMULTIPLIED[picture.mode])
    elif picture.mode not in _PNG_MODES:
        picture = picture.convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1, exif=exif)
    return buffer.getvalue()


def _pixels(array: np.ndarray) -> np.ndarray:
    """`array` as uint8 `[height, width]`, `[height, width, 3]` or `[height, width, 4]`, seen to be an image."""
    got = f"an array {list(array.shape)} of {array.dtype}"
    if array.ndim == 3 and array.shape[2] not in _CHANNELS and array.shape[0] in _CHANNELS:
        raise ImageError(
            f"got {got}, whose channels seem to come first: transpose it to [height, width, channels]"
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in _CHANNELS) or 0 in array.shape:
        raise ImageError(
            f"got {got}; an image has the shape [height, width, channels] with 1, 3 or 4 channels"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype == np.uint8:
        return array
    if array.dtype.name not in _FLOATS:
        raise ImageError(f"got {got}; an image is uint8 from 0 to 255, or floats from 0 to 1")
    array = array.astype(np.float32)
    low, high = float(array.min()), float(array.max())
    if not (0.0 <= low and high <= 1.0):
        helps = (
            "divide by 255, or give uint8" if 1.0 < high <= 255.0 and low >= 0.0 else "bring them into [0, 1]"
        )
        raise ImageError(f"got {got} with numbers from {low:g} to {high:g}; floats run from 0 to 1: {helps}")
    return np.round(array * 255.0).astype(np.uint8)
