"""Pictures of several shapes made of others: whole, in the middle of a white frame, a shape for each batch."""

from dataclasses import dataclass

import numpy as np

from laminate.data.array_schema import IMAGE_FIELD
from laminate.data.augment import Augment
from laminate.data.batch import Arrays
from laminate.data.decode import decode_image
from laminate.data.options import PIXEL_CEILING
from laminate.data.transforms import DEFAULT_RATIO, crop_window, cut, resize

Size = tuple[int, int]


@dataclass(frozen=True)
class Framed:
    """A random crop of the picture, as large as it fits, in the middle of a white one of `size` (height, width)."""

    size: Size
    area: tuple[float, float] = (1.0, 1.0)
    ratio: tuple[float, float] = DEFAULT_RATIO
    oriented: bool = True

    @property
    def description(self) -> str:
        return f"Framed(size={self.size}, area={self.area}, ratio={self.ratio}, oriented={self.oriented})"

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> Arrays:
        image = decode_image(data, max_pixels=PIXEL_CEILING, oriented=self.oriented)
        if self.area != (1.0, 1.0):
            image = cut(image, crop_window(*image.shape[:2], rng, area=self.area, ratio=self.ratio))
        scale = min(side / have for side, have in zip(self.size, image.shape[:2], strict=True))
        height, width = (max(1, round(scale * side)) for side in image.shape[:2])
        top, left = (side - have for side, have in zip(self.size, (height, width), strict=True))
        frame = np.full((*self.size, 3), 255, np.uint8)
        frame[top // 2 : top // 2 + height, left // 2 : left // 2 + width] = resize(
            image, height, width, "area"
        )
        return {IMAGE_FIELD: frame}


@dataclass(frozen=True)
class FramedInTurn:
    """`Framed` in one of several sizes: a `loader.BatchView`.

    Every batch draws its own from the seed and its number, all with equal chances, so that all hosts have arrays of one
    shape, and a program is compiled for each size and for no other. Called without a number of a batch it has the
    first.
    """

    sizes: tuple[Size, ...]
    area: tuple[float, float] = (1.0, 1.0)
    ratio: tuple[float, float] = DEFAULT_RATIO
    oriented: bool = True

    @property
    def description(self) -> str:
        return f"FramedInTurn({self._of(self.sizes[0]).description}, sizes={self.sizes})"

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> Arrays:
        return self._of(self.sizes[0])(data, rng)

    def of_batch(self, number: int, seed: int) -> Augment:
        """The view of all images of a batch."""
        return self._of(self.sizes[int(np.random.default_rng((seed, number)).integers(len(self.sizes)))])

    def _of(self, size: Size) -> Framed:
        return Framed(size, self.area, self.ratio, self.oriented)
