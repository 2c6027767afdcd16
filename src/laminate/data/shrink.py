"""Images stored smaller once, so that no epoch decodes pixels that it throws away."""

import dataclasses
import io
import math
from typing import Literal

import numpy as np
from PIL import Image

from laminate.data.decode import HostImage, decode_image, image_header
from laminate.data.transforms import resize_short_side
from laminate.storage.strict_json import Field

StoredFormat = Literal["jpeg", "webp"]
QUALITY = 95


@dataclasses.dataclass(frozen=True)
class Shrunk:
    """What storing smaller images did: how many of them, their bytes before and after, and the sum over them of the
    mean squared difference that encoding made, in steps of uint8."""

    count: int = 0
    before: int = 0
    after: int = 0
    squared_error: float = 0.0

    def __add__(self, other: "Shrunk") -> "Shrunk":
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Shrunk(*(a + b for a, b in pairs))

    @property
    def psnr(self) -> float:
        """Of the encoded pictures against the resized pixels, from the mean of their errors, in dB."""
        mean = self.squared_error / max(self.count, 1)
        return math.inf if mean == 0.0 else 10.0 * math.log10(255.0**2 / mean)


NOTHING = Shrunk()


@dataclasses.dataclass(frozen=True)
class Shrink:
    """Images with a shorter side above `short_side` get one of so many pixels, by Lanczos' kernel, and are encoded
    again with quality 95, JPEGs with whole chroma; they stand upright then, and transparency is white. Others are
    stored as they are.

    Raises ValueError for a side below one pixel.
    """

    short_side: int
    format: StoredFormat = "jpeg"

    def __post_init__(self) -> None:
        if self.short_side < 1:
            raise ValueError(f"--resize must be at least 1, got {self.short_side}")

    def concerns(self, data: bytes) -> bool:
        """Whether an image is larger. Raises `ImageError` for what is none."""
        header = image_header(data)
        return min(header.height, header.width) > self.short_side

    def apply(self, data: bytes, *, max_pixels: int) -> tuple[bytes, Shrunk]:
        """A larger image as it is stored, and what that did. Raises `ImageError`."""
        resized = resize_short_side(decode_image(data, max_pixels=max_pixels), self.short_side, "lanczos")
        encoded = self._encoded(resized)
        error = np.subtract(decode_image(encoded), resized, dtype=np.float64)
        return encoded, Shrunk(1, len(data), len(encoded), float(np.mean(np.square(error))))

    def _encoded(self, image: HostImage) -> bytes:
        file = io.BytesIO()
        if self.format == "jpeg":
            Image.fromarray(image).save(file, "JPEG", quality=QUALITY, subsampling=0)
        else:
            Image.fromarray(image).save(file, "WEBP", quality=QUALITY)
        return file.getvalue()

    def said(self, done: Shrunk, images: int) -> str:
        """A line about what was done to some of so many images."""
        if done.count == 0:
            return f"no image has a shorter side above {self.short_side} pixels: all are stored as they are"
        return (
            f"{done.count} of {images} images are stored with a shorter side of {self.short_side} pixels, as "
            f"{self.format.upper()} of quality {QUALITY}: {done.before / 1e6:.1f} MB became {done.after / 1e6:.1f} MB; "
            f"encoding costs {done.psnr:.1f} dB, and views of more pixels than that enlarge them"
        )


def read_shrunk(entry: Field) -> Shrunk:
    """What a journal or a manifest says. Raises JsonError."""
    numbers = (entry[name].integer(least=0) for name in ("count", "before", "after"))
    return Shrunk(*numbers, squared_error=entry["squared_error"].number())
