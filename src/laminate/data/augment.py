"""From encoded bytes to what a model sees: what a loader does to every record.

An augmentation decodes for itself. So the random crop can draw its window from the header and let the decoder
work at a reduced size where the window is at least twice what is asked for.

`description` is written out, not derived from the class: checkpoints hold it, and a run goes on only with the
description that it began with. The same pixels must keep the same words.

Every view turns an image as its EXIF orientation says. With ``oriented=False`` it sees the pixels as they are stored,
as the pipelines of torchvision and TFDS do, and with them the published protocols of ADM, RAE, LightningDiT and
FlatDINO.

How many pixels an image may have is the limit of its source (`faults.load`), which the views only bound from above.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from laminate.data.array_schema import IMAGE_FIELD
from laminate.data.batch import Arrays
from laminate.data.decode import DecodeReduction, HostImage, check_size, decode_image, image_header
from laminate.data.options import PIXEL_CEILING
from laminate.data.transforms import (
    DEFAULT_AREA,
    DEFAULT_RATIO,
    ResizeKernel,
    Window,
    adm_center_crop,
    crop_window,
    cut,
    horizontal_flip,
    random_crop,
    resize,
    resize_short_side,
    squash,
)

REDUCTIONS: tuple[DecodeReduction, ...] = (8, 4, 2)


@runtime_checkable
class Augment(Protocol):
    """The bytes of a record and a source of randomness to arrays by their names, whose shapes are always the same.

    Those of an image give ``{"image": uint8 [size, size, 3]}``. Equal bytes and an equally seeded `rng` must give
    equal arrays. Raises `ImageError` for bytes that it cannot decode.
    """

    @property
    def description(self) -> str:
        """Everything the arrays depend on; a data position made with another description is refused."""
        ...

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> Arrays: ...


def _example(image: HostImage, rng: np.random.Generator, flip_rate: float) -> Arrays:
    """`image`, or its mirror image with the chance `flip_rate`; a chance of 0 draws no number."""
    mirrored = flip_rate > 0.0 and rng.random() < flip_rate
    return {IMAGE_FIELD: horizontal_flip(image) if mirrored else image}


def _pixels(data: bytes, oriented: bool) -> HostImage:
    return decode_image(data, max_pixels=PIXEL_CEILING, oriented=oriented)


def _stored(oriented: bool) -> str:
    """Words for pixels as they are stored; images were never turned before there was a choice, and few have to be."""
    return "" if oriented else ", oriented=False"


def _flip(flip_rate: float) -> str:
    """A flip in words: that of one half was the only one there was when these words were chosen."""
    return {0.0: "False", 0.5: "True"}.get(flip_rate, f"{flip_rate!r}")


@dataclass(frozen=True)
class RandomResizedCrop:
    """FlatDINO's training view: a random resized crop, then a mirror image with the chance `flip_rate`.

    The window follows `crop_window` on the size of the whole image. Where it is at least ``2 * size`` on both
    sides, the image is decoded at 1/2, 1/4 or 1/8 and the window rounded to whole pixels there. A JPEG is
    decoded `fast`.
    """

    size: int
    area: tuple[float, float] = DEFAULT_AREA
    ratio: tuple[float, float] = DEFAULT_RATIO
    flip_rate: float = 0.5
    kernel: ResizeKernel = "linear"
    oriented: bool = True

    @property
    def description(self) -> str:
        return (
            f"TrainCrop(size={self.size}, area={self.area}, ratio={self.ratio}, flip={_flip(self.flip_rate)}, "
            f"kernel={self.kernel!r}{_stored(self.oriented)})"
        )

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> Arrays:
        header = image_header(data, oriented=self.oriented)
        check_size(header, PIXEL_CEILING)
        window = crop_window(header.height, header.width, rng, area=self.area, ratio=self.ratio)
        image, window = decode_window(data, window, self.size, oriented=self.oriented)
        image = resize(cut(image, window), self.size, self.size, self.kernel)
        return _example(image, rng, self.flip_rate)


@dataclass(frozen=True)
class Native:
    """Every image in its own size and shape."""

    oriented: bool = True

    @property
    def description(self) -> str:
        return f"Native({_stored(self.oriented).removeprefix(', ')})"

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> Arrays:
        return {IMAGE_FIELD: _pixels(data, self.oriented)}


@dataclass(frozen=True)
class CenterCrop:
    """The centre crop of ADM, pixel-exact with Pillow; a mirror image with the chance `flip_rate`."""

    size: int
    flip_rate: float = 0.0
    oriented: bool = True

    @property
    def description(self) -> str:
        return f"CenterCrop(size={self.size}, flip={_flip(self.flip_rate)}{_stored(self.oriented)})"

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> Arrays:
        return _example(adm_center_crop(_pixels(data, self.oriented), self.size), rng, self.flip_rate)


@dataclass(frozen=True)
class Squash:
    """FlatDINO's validation view: the whole picture, its aspect ratio lost."""

    size: int
    kernel: ResizeKernel = "area"
    flip_rate: float = 0.0
    oriented: bool = True

    @property
    def description(self) -> str:
        flip = _flip(self.flip_rate)
        return f"Squash(size={self.size}, kernel={self.kernel!r}, flip={flip}{_stored(self.oriented)})"

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> Arrays:
        return _example(squash(_pixels(data, self.oriented), self.size, self.kernel), rng, self.flip_rate)


@dataclass(frozen=True)
class SquashCrop:
    """FlatDINO's training view of an image decoder: squashed to `squashed` a side, then a random window of `size`."""

    size: int
    squashed: int
    kernel: ResizeKernel = "area"
    flip_rate: float = 0.0
    oriented: bool = True

    @property
    def description(self) -> str:
        flip = f"{_flip(self.flip_rate)}{_stored(self.oriented)}"
        return f"SquashCrop(size={self.size}, squashed={self.squashed}, kernel={self.kernel!r}, flip={flip})"

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> Arrays:
        image = random_crop(squash(_pixels(data, self.oriented), self.squashed, self.kernel), self.size, rng)
        return _example(image, rng, self.flip_rate)


@dataclass(frozen=True)
class ResizeCrop:
    """RAE's training view of an image decoder: the short side resized to `resized`, then a random window of `size`."""

    size: int
    resized: int
    kernel: ResizeKernel = "bicubic"
    flip_rate: float = 0.0
    oriented: bool = True

    @property
    def description(self) -> str:
        flip = f"{_flip(self.flip_rate)}{_stored(self.oriented)}"
        return f"ResizeCrop(size={self.size}, resized={self.resized}, kernel={self.kernel!r}, flip={flip})"

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> Arrays:
        image = resize_short_side(_pixels(data, self.oriented), self.resized, self.kernel)
        return _example(random_crop(image, self.size, rng), rng, self.flip_rate)


TrainCrop = RandomResizedCrop
"""Its name in `description`, and in what was written before it was called as torchvision calls it."""


def decode_window(
    data: bytes, window: Window, size: int, *, oriented: bool = True
) -> tuple[HostImage, Window]:
    """An image that holds `window` with at least `size` pixels a side, and where the window lies in it.

    The largest of the reductions 8, 4, 2 that keeps `size` pixels is taken, else none.
    """
    smaller = min(window.height, window.width)
    reduction: DecodeReduction = 1
    for candidate in REDUCTIONS:
        if smaller >= candidate * size:
            reduction = candidate
            break
    image = decode_image(data, max_pixels=PIXEL_CEILING, reduction=reduction, fast=True, oriented=oriented)
    if reduction == 1:
        return image, window
    height, width = window.height // reduction, window.width // reduction
    top = min(round(window.top / reduction), image.shape[0] - height)
    left = min(round(window.left / reduction), image.shape[1] - width)
    return image, Window(top, left, height, width)
