"""Records, files and pictures into dictionaries of patches, and what a model makes of them back into images."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageOps

from laminate.data.batch import Arrays
from laminate.data.decode import HostImage, decode_image, to_rgb
from laminate.data.options import PIXEL_CEILING
from laminate.data.patches import Buckets, FloatImage, from_patches, to_patches
from laminate.data.views import Chain, Choice, Flip, RandomResized, Values, View, Whole, fitted, normalised

Format = Literal["minus_one_to_one", "zero_to_one", "0_255"]
Picture = Image.Image | str | os.PathLike[str] | np.ndarray


@dataclass(frozen=True)
class PatchView:
    """An `Augment` of images of any size: the views in turn, then `values`, then at most `tokens` patches.

    With `shrink` an image of more patches is first made smaller (`views.fitted`); without, it is refused.
    """

    patch: int = 16
    tokens: int = 256
    views: tuple[View, ...] = ()
    values: Values = "minus_one_to_one"
    shrink: bool = True
    oriented: bool = True

    @property
    def description(self) -> str:
        return (
            f"PatchView(patch={self.patch}, tokens={self.tokens}, views=[{Chain(self.views).description}], "
            f"values={self.values!r}, shrink={self.shrink}, oriented={self.oriented})"
        )

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> Arrays:
        return self.of(decode_image(data, max_pixels=PIXEL_CEILING, oriented=self.oriented), rng)

    def of(self, image: HostImage, rng: np.random.Generator) -> Arrays:
        """The patches of pixels that are decoded already."""
        pixels = normalised(Chain(self.views)(image, rng), self.values)
        if self.shrink:
            pixels = fitted(pixels, self.patch, self.tokens)
        return to_patches(pixels, self.patch, self.tokens)


@dataclass(frozen=True)
class BudgetView:
    """A `PatchView` whose batches have one of several budgets: a `loader.BatchView`.

    Every batch draws its own from the seed and its number, all with equal chances, and images of more patches are made
    smaller. So all hosts have arrays of one shape, a program is compiled for each budget and for no other, and a
    network learns to read an image in fewer patches and in more. Called without a number of a batch, as an evaluation
    calls it, it is the view itself.

    Raises ValueError unless the largest budget is that of the view.
    """

    view: PatchView
    buckets: Buckets

    def __post_init__(self) -> None:
        if self.buckets.budgets[-1] != self.view.tokens:
            raise ValueError(
                f"the largest of the budgets {self.buckets.budgets} must be that of the view, {self.view.tokens}"
            )

    @property
    def description(self) -> str:
        return f"BudgetView({self.view.description}, budgets={self.buckets.budgets})"

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> Arrays:
        return self.view(data, rng)

    def of_batch(self, number: int, seed: int) -> PatchView:
        """The view of all images of a batch."""
        budgets = self.buckets.budgets
        drawn = int(np.random.default_rng((seed, number)).integers(len(budgets)))
        return dataclasses.replace(self.view, tokens=budgets[drawn])


def training_view(size: int, patch: int, tokens: int) -> PatchView:
    """ViTok's: a random resized crop of one image in four, a mirror image of every second, and the token budget."""
    crop = Choice((RandomResized(size), Whole()), (0.25, 0.75))
    return PatchView(patch, tokens, (crop, Flip(0.5)))


def preprocess(picture: Picture, *, view: PatchView | None = None, seed: int = 0) -> Arrays:
    """The patches of one picture: a file, a PIL image, or uint8 `[height, width, 3]`.

    `view=None` is that of 16-pixel patches, at most 256 of them. Raises `ImageError` for a file that is no image, and
    ValueError for an array that is none.
    """
    made = PatchView() if view is None else view
    return made.of(_pixels(picture, oriented=made.oriented), np.random.default_rng(seed))


def postprocess(
    patched: Arrays, *, patch: int = 16, values: Format = "minus_one_to_one", to: Format = "0_255"
) -> FloatImage | HostImage:
    """The image of one dictionary, from the range `values` to the range `to`, cropped to its true size.

    The same range is left as it is; every other conversion clips. `0_255` is uint8, rounded half to even.
    """
    return converted(from_patches(patched, patch), values=values, to=to)


def converted(image: np.ndarray, *, values: Format, to: Format) -> np.ndarray:
    """`image` in another range. Raises ValueError for an unknown one."""
    for name in (values, to):
        if name not in get_args(Format):
            raise ValueError(f"a range {name!r} is none of {', '.join(get_args(Format))}")
    if values == to:
        return image
    wide = np.asarray(image, np.float32)
    if values == "0_255":
        wide = wide / np.float32(255)
    elif values == "minus_one_to_one":
        wide = (np.clip(wide, -1, 1) + np.float32(1)) / np.float32(2)
    unit = np.clip(wide, 0, 1)
    if to == "0_255":
        return np.rint(unit * np.float32(255)).astype(np.uint8)
    return unit if to == "zero_to_one" else unit * np.float32(2) - np.float32(1)


def _pixels(picture: Picture, *, oriented: bool) -> HostImage:
    if isinstance(picture, str | os.PathLike):
        return decode_image(Path(picture).read_bytes(), oriented=oriented)
    if isinstance(picture, Image.Image):
        turned = ImageOps.exif_transpose(picture) if oriented else picture
        return np.array(to_rgb(turned))
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
        raise ValueError(
            f"an image is uint8 [height, width, 3], and this array is {picture.dtype} {list(picture.shape)}: scale "
            "pixels in [0, 1] by 255 and round them"
        )
    return picture
