"""Pictures to pictures of the size a model sees: pure functions on uint8 `[height, width, 3]`.

The geometry is kept apart from the pixels: `crop_window` needs only the size of an image, so a caller may
draw the window from the header and then decode no more than the window needs.
"""

import math
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np
from PIL import Image

from laminate.data.decode import MAX_PIXELS, HostImage, ImageError

ResizeKernel = Literal["linear", "area", "nearest", "box", "bilinear", "bicubic", "lanczos"]
"""How to resize. Pillow's kernels are antialiased and pixel-exact with the field's reference preprocessing.
OpenCV's two are faster: ``area``, the one of the released FlatDINO code, and ``linear``, not antialiased."""

_PILLOW_KERNELS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_OPENCV_KERNELS = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}

DEFAULT_AREA = (0.3, 1.0)
DEFAULT_RATIO = (3 / 4, 4 / 3)
CROP_TRIES = 10


class Window(NamedTuple):
    """A rectangle of pixels: its first row and column, and its extent."""

    top: int
    left: int
    height: int
    width: int


def resize(image: HostImage, height: int, width: int, kernel: ResizeKernel = "bicubic") -> HostImage:
    """`image` at another size.

    Raises:
      ValueError: a size below one pixel, or an unknown kernel.
      ImageError: more pixels than an image may have, as of one that is a pixel high and thousands wide.
    """
    if height < 1 or width < 1:
        raise ValueError(f"cannot resize to {height} x {width} pixels: both must be at least 1")
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"an image of {image.shape[0]} x {image.shape[1]} pixels would have {height} x {width} when resized; at "
            f"most {MAX_PIXELS} are accepted: it is too long and narrow"
        )
    if kernel in _OPENCV_KERNELS:
        resized = cv2.resize(image, (width, height), interpolation=_OPENCV_KERNELS[kernel])
        return np.asarray(resized, np.uint8)
    if kernel not in _PILLOW_KERNELS:
        raise ValueError(
            f"unknown resize kernel {kernel!r}: choose one of {', '.join(get_args(ResizeKernel))}"
        )
    return np.array(Image.fromarray(image).resize((width, height), _PILLOW_KERNELS[kernel]))


def squash(image: HostImage, size: int, kernel: ResizeKernel = "area") -> HostImage:
    """The whole of `image` as `size` x `size`, its aspect ratio lost (FlatDINO's validation)."""
    return resize(image, size, size, kernel)


def resize_short_side(image: HostImage, size: int, kernel: ResizeKernel = "bicubic") -> HostImage:
    """`image` with a short side of `size` pixels, its aspect ratio kept; the long side is rounded down, as torchvision
    does."""
    height, width = image.shape[:2]
    short = min(height, width)
    return resize(image, size * height // short, size * width // short, kernel)


def shrink_long_side(image: HostImage, size: int, kernel: ResizeKernel = "lanczos") -> HostImage:
    """`image` with a long side of at most `size` pixels, its aspect ratio kept up to rounding; never made larger."""
    height, width = image.shape[:2]
    longest = max(height, width)
    if longest <= size:
        return image
    # A side may round to nothing; the reference fails there.
    to_height, to_width = (max(1, round(side * size / longest)) for side in (height, width))
    return resize(image, to_height, to_width, kernel)


def cut(image: HostImage, window: Window) -> HostImage:
    """The pixels of `window`, without a copy."""
    top, left, height, width = window
    return image[top : top + height, left : left + width]


def centre_window(height: int, width: int, crop_height: int, crop_width: int) -> Window:
    """The window in the middle; an odd pixel stays behind and below."""
    return Window((height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width)


def adm_center_crop(image: HostImage, size: int) -> HostImage:
    """The centre crop of ADM (Dhariwal and Nichol, 2021), pixel-exact with Pillow.

    Halve with a box while the short side is at least ``2 * size``; bring the short side to `size` with a
    bicubic kernel; cut the middle.
    """
    while min(image.shape[:2]) >= 2 * size:
        image = resize(image, image.shape[0] // 2, image.shape[1] // 2, "box")
    height, width = image.shape[:2]
    scale = size / min(height, width)
    image = resize(image, round(height * scale), round(width * scale), "bicubic")
    return np.ascontiguousarray(cut(image, centre_window(image.shape[0], image.shape[1], size, size)))


def crop_window(
    height: int,
    width: int,
    rng: np.random.Generator,
    *,
    area: tuple[float, float] = DEFAULT_AREA,
    ratio: tuple[float, float] = DEFAULT_RATIO,
) -> Window:
    """The window of a random resized crop (Szegedy et al., 2015).

    Its share of the area is uniform over `area`, its aspect ratio (width / height) log-uniform over `ratio`,
    its place uniform over all that fit. After ten draws that do not fit: the largest centred window whose
    ratio lies inside `ratio`.
    """
    lowest, highest = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(CROP_TRIES):
        pixels = rng.uniform(*area) * height * width
        aspect = math.exp(rng.uniform(lowest, highest))
        crop_width, crop_height = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(rng.integers(height - crop_height + 1))
            left = int(rng.integers(width - crop_width + 1))
            return Window(top, left, crop_height, crop_width)
    crop_width = min(width, max(1, round(height * ratio[1])))
    crop_height = min(height, max(1, round(width / ratio[0])))
    return centre_window(height, width, crop_height, crop_width)


def random_crop(image: HostImage, size: int, rng: np.random.Generator) -> HostImage:
    """A `size` x `size` window at a uniform place, pixels untouched.

    A side that is too short is first padded with black, the padding split uniformly between its two ends.
    """
    missing = [max(0, size - side) for side in image.shape[:2]]
    if any(missing):
        before = [int(rng.integers(count + 1)) for count in missing]
        margins = [(first, count - first) for first, count in zip(before, missing, strict=True)]
        image = np.pad(image, [*margins, (0, 0)])
    top, left = (int(rng.integers(side - size + 1)) for side in image.shape[:2])
    return np.ascontiguousarray(cut(image, Window(top, left, size, size)))


def horizontal_flip(image: HostImage) -> HostImage:
    """The mirror image, left for right."""
    return np.asarray(cv2.flip(image, 1), np.uint8)
