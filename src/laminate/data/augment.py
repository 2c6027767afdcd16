"""From encoded bytes to the picture a model sees: what a loader does to every example.

An augmentation decodes for itself. So the random crop can draw its window from the header and let the decoder
work at a reduced size where the window is at least twice what is asked for.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from laminate.data.decode import HostImage, Reduction, check_size, decode_image, image_header
from laminate.data.transforms import (
    DEFAULT_AREA,
    DEFAULT_RATIO,
    Kernel,
    Window,
    adm_center_crop,
    crop_window,
    cut,
    horizontal_flip,
    random_crop,
    resize,
    squash,
)

REDUCTIONS: tuple[Reduction, ...] = (8, 4, 2)


@runtime_checkable
class Augment(Protocol):
    """Encoded bytes and a source of randomness to a uint8 image whose size is always the same.

    Equal bytes and an equally seeded `rng` must give equal pixels. Raises `ImageError` for bytes that it
    cannot decode.
    """

    @property
    def description(self) -> str:
        """Everything the pixels depend on; a data position made with another description is refused."""
        ...

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> HostImage: ...


def _maybe_flip(image: HostImage, rng: np.random.Generator, flip: bool) -> HostImage:
    return horizontal_flip(image) if flip and rng.random() < 0.5 else image


@dataclass(frozen=True)
class TrainCrop:
    """FlatDINO's training view: a random resized crop, then a mirror image half of the time.

    The window follows `crop_window` on the size of the whole image. Where it is at least ``2 * size`` on both
    sides, the image is decoded at 1/2, 1/4 or 1/8 and the window rounded to whole pixels there. A JPEG is
    decoded `fast`.
    """

    size: int
    area: tuple[float, float] = DEFAULT_AREA
    ratio: tuple[float, float] = DEFAULT_RATIO
    flip: bool = True
    kernel: Kernel = "linear"

    @property
    def description(self) -> str:
        return repr(self)

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> HostImage:
        header = image_header(data)
        check_size(header)
        window = crop_window(header.height, header.width, rng, area=self.area, ratio=self.ratio)
        image, window = decode_window(data, window, self.size)
        image = resize(cut(image, window), self.size, self.size, self.kernel)
        return _maybe_flip(image, rng, self.flip)


@dataclass(frozen=True)
class CenterCrop:
    """The centre crop of ADM, pixel-exact with Pillow; with `flip`, a mirror image half of the time."""

    size: int
    flip: bool = False

    @property
    def description(self) -> str:
        return repr(self)

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> HostImage:
        return _maybe_flip(adm_center_crop(decode_image(data), self.size), rng, self.flip)


@dataclass(frozen=True)
class Squash:
    """FlatDINO's validation view: the whole picture, its aspect ratio lost."""

    size: int
    kernel: Kernel = "area"
    flip: bool = False

    @property
    def description(self) -> str:
        return repr(self)

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> HostImage:
        return _maybe_flip(squash(decode_image(data), self.size, self.kernel), rng, self.flip)


@dataclass(frozen=True)
class SquashCrop:
    """The image decoder's training view: squashed to `squashed` a side, then a random window of `size`."""

    size: int
    squashed: int
    kernel: Kernel = "area"
    flip: bool = False

    @property
    def description(self) -> str:
        return repr(self)

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> HostImage:
        image = random_crop(squash(decode_image(data), self.squashed, self.kernel), self.size, rng)
        return _maybe_flip(image, rng, self.flip)


def decode_window(data: bytes, window: Window, size: int) -> tuple[HostImage, Window]:
    """An image that holds `window` with at least `size` pixels a side, and where the window lies in it.

    The largest of the reductions 8, 4, 2 that keeps `size` pixels is taken, else none.
    """
    smaller = min(window.height, window.width)
    reduction: Reduction = 1
    for candidate in REDUCTIONS:
        if smaller >= candidate * size:
            reduction = candidate
            break
    image = decode_image(data, reduction=reduction, fast=True)
    if reduction == 1:
        return image, window
    height, width = window.height // reduction, window.width // reduction
    top = min(round(window.top / reduction), image.shape[0] - height)
    left = min(round(window.left / reduction), image.shape[1] - width)
    return image, Window(top, left, height, width)
