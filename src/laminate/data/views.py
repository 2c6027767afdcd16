"""What is done to the pixels of an image before it is cut into patches: typed steps that compose.

Each is ViTok's operation of the same name, pixel for pixel where its random numbers do not matter. Descriptions are
written out: checkpoints hold them, and the same pixels must keep the same words.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from PIL import Image

from laminate.data.decode import HostImage
from laminate.data.patches import FloatImage, budget_size
from laminate.data.transforms import (
    ResizeKernel,
    adm_center_crop,
    crop_window,
    cut,
    horizontal_flip,
    resize,
    shrink_long_side,
)

Values = Literal["minus_one_to_one", "zero_to_one", "imagenet"]
"""The range that pixels are brought to: [-1, 1], [0, 1], or ImageNet's mean and deviation."""

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@runtime_checkable
class View(Protocol):
    """One step from pixels to pixels; equal images and an equally seeded `rng` give equal pixels."""

    @property
    def description(self) -> str:
        """Everything that the pixels depend on."""
        ...

    def __call__(self, image: HostImage, rng: np.random.Generator, /) -> HostImage: ...


@dataclass(frozen=True)
class Whole:
    """The image as it is."""

    @property
    def description(self) -> str:
        return "Whole()"

    def __call__(self, image: HostImage, rng: np.random.Generator, /) -> HostImage:
        return image


@dataclass(frozen=True)
class Centre:
    """ADM's centre crop of `size` by `size`."""

    size: int

    @property
    def description(self) -> str:
        return f"Centre(size={self.size})"

    def __call__(self, image: HostImage, rng: np.random.Generator, /) -> HostImage:
        return adm_center_crop(image, self.size)


@dataclass(frozen=True)
class RandomResized:
    """A window of a random share of the area and a random aspect ratio, resized to `size` by `size`."""

    size: int
    area: tuple[float, float] = (0.8, 1.0)
    ratio: tuple[float, float] = (0.75, 1.333)
    kernel: ResizeKernel = "lanczos"

    @property
    def description(self) -> str:
        return (
            f"RandomResized(size={self.size}, area={self.area}, ratio={self.ratio}, kernel={self.kernel!r})"
        )

    def __call__(self, image: HostImage, rng: np.random.Generator, /) -> HostImage:
        height, width = image.shape[:2]
        window = crop_window(height, width, rng, area=self.area, ratio=self.ratio)
        return resize(cut(image, window), self.size, self.size, self.kernel)


@dataclass(frozen=True)
class RandomWindow:
    """A window of a random share of the area and a random aspect ratio, its pixels untouched."""

    area: tuple[float, float]
    ratio: tuple[float, float]

    @property
    def description(self) -> str:
        return f"RandomWindow(area={self.area}, ratio={self.ratio})"

    def __call__(self, image: HostImage, rng: np.random.Generator, /) -> HostImage:
        height, width = image.shape[:2]
        window = crop_window(height, width, rng, area=self.area, ratio=self.ratio)
        return np.ascontiguousarray(cut(image, window))


@dataclass(frozen=True)
class LongSide:
    """A long side of at most `size` pixels; smaller images stay as they are."""

    size: int
    kernel: ResizeKernel = "lanczos"

    @property
    def description(self) -> str:
        return f"LongSide(size={self.size}, kernel={self.kernel!r})"

    def __call__(self, image: HostImage, rng: np.random.Generator, /) -> HostImage:
        return shrink_long_side(image, self.size, self.kernel)


@dataclass(frozen=True)
class Flip:
    """The mirror image, with the chance `rate`."""

    rate: float = 0.5

    @property
    def description(self) -> str:
        return f"Flip(rate={self.rate})"

    def __call__(self, image: HostImage, rng: np.random.Generator, /) -> HostImage:
        return horizontal_flip(image) if rng.random() < self.rate else image


@dataclass(frozen=True)
class Chain:
    """One view after another."""

    views: tuple[View, ...]

    @property
    def description(self) -> str:
        return f"Chain({_listed(self.views)})"

    def __call__(self, image: HostImage, rng: np.random.Generator, /) -> HostImage:
        for view in self.views:
            image = view(image, rng)
        return image


@dataclass(frozen=True)
class Choice:
    """One of the views, drawn with the chances `rates`.

    Raises ValueError for no view, another number of rates, or rates that are negative or do not sum to one.
    """

    views: tuple[View, ...]
    rates: tuple[float, ...]

    def __post_init__(self) -> None:
        chances = all(rate >= 0 for rate in self.rates) and math.isclose(sum(self.rates), 1.0, abs_tol=1e-6)
        if not self.views or len(self.views) != len(self.rates) or not chances:
            raise ValueError(
                f"a choice needs views and as many rates that sum to one, got {len(self.views)} views and the rates "
                f"{self.rates}"
            )

    @property
    def description(self) -> str:
        return f"Choice({_listed(self.views)}, rates={self.rates})"

    def __call__(self, image: HostImage, rng: np.random.Generator, /) -> HostImage:
        number = int(np.searchsorted(np.cumsum(self.rates), rng.random(), side="right"))
        return self.views[min(number, len(self.views) - 1)](image, rng)


def normalised(image: HostImage, values: Values = "minus_one_to_one") -> FloatImage:
    """Bytes as float32 in the range of `values`. Raises ValueError for an unknown one."""
    unit = np.asarray(image, np.float32) / np.float32(255)
    if values == "zero_to_one":
        return unit
    if values == "minus_one_to_one":
        return (unit - np.float32(0.5)) / np.float32(0.5)
    if values == "imagenet":
        mean, std = (np.asarray(numbers, np.float32) for numbers in _IMAGENET)
        return (unit - mean) / std
    raise ValueError(f"pixel values {values!r} are none of {', '.join(get_args(Values))}")


def fitted(image: FloatImage, patch: int, tokens: int) -> FloatImage:
    """`image` at the size of `budget_size`, bicubic (a = -0.5) with antialiasing; no value is clipped."""
    height, width = budget_size(image.shape[0], image.shape[1], patch, tokens)
    return image if image.shape[:2] == (height, width) else resized_floats(image, height, width)


def resized_floats(image: FloatImage, height: int, width: int) -> FloatImage:
    """Channel by channel in float32, by Pillow's bicubic kernel."""
    channels = [
        Image.fromarray(np.ascontiguousarray(channel)).resize((width, height), Image.Resampling.BICUBIC)
        for channel in np.moveaxis(np.asarray(image, np.float32), -1, 0)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def _listed(views: Sequence[View]) -> str:
    return ", ".join(view.description for view in views)
