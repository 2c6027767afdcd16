"""Rebuilds the photographs that ship in `laminate.data`: ten public-domain pictures, cut into 64 x 64 crops.

    pip install scikit-image && python experiments/embedded_set.py OUT

Each class is one photograph. Crops of the validation split come from a box of the photograph that no training
crop touches. Positions follow a low-discrepancy sequence, so the result is the same on every run.
"""

import dataclasses
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

from laminate.data.prepare import Options, prepare

SIDE, QUALITY = 64, 90
TRAIN, VALIDATION = 160, 32
BLACK = 16
GOLDEN = 1.32471795724474602596  # the plastic number: positions i/g, i/g^2 modulo 1 fill the plane evenly
LICENCE = "CC0 or public domain (coins: no known copyright restrictions); see LICENSES.md"


@dataclasses.dataclass(frozen=True)
class Photograph:
    """A picture, the scales at which it is cut, and the held-out box (left, top, right, bottom; fractions).

    A crop is kept if at most the fraction `darkest` of it is black and its gray levels have the standard deviation
    `contrast`: plain sky and black borders teach nothing.
    """

    file: str
    scales: tuple[float, ...]
    held_out: tuple[float, float, float, float]
    darkest: float = 0.5
    contrast: float = 12.0


PHOTOGRAPHS = {
    "astronaut": Photograph("astronaut.png", (0.7, 0.4), (0.0, 0.55, 0.45, 1.0)),
    "brick": Photograph("brick.png", (0.6, 0.4), (0.62, 0.0, 1.0, 1.0)),
    "cameraman": Photograph("camera.png", (0.7, 0.35), (0.55, 0.0, 1.0, 0.5)),
    "cat": Photograph("chelsea.png", (0.8, 0.5), (0.56, 0.0, 1.0, 0.62)),
    "coffee": Photograph("coffee.png", (0.7, 0.35), (0.62, 0.3, 1.0, 1.0)),
    "coins": Photograph("coins.png", (1.0, 0.75), (0.74, 0.0, 1.0, 1.0)),
    "galaxies": Photograph(
        "hubble_deep_field.jpg", (1.0, 0.75), (0.74, 0.0, 1.0, 1.0), darkest=1.0, contrast=20.0
    ),
    "gravel": Photograph("gravel.png", (1.0, 0.8), (0.7, 0.0, 1.0, 1.0)),
    "retina": Photograph("retina.jpg", (0.25, 0.14), (0.0, 0.6, 1.0, 1.0)),
    "rocket": Photograph("rocket.jpg", (0.8, 0.4), (0.4, 0.52, 0.75, 1.0)),
}


def inside(
    box: tuple[float, float, float, float], left: int, top: int, width: int, height: int
) -> bool | None:
    """Whether a crop lies wholly inside `box`; None where it crosses the edge."""
    x0, y0, x1, y1 = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    if left >= x0 and left + SIDE <= x1 and top >= y0 and top + SIDE <= y1:
        return True
    # The margin keeps the resampling filter of a training crop from reaching into the held-out box.
    apart = left + SIDE + 2 <= x0 or left >= x1 + 2 or top + SIDE + 2 <= y0 or top >= y1 + 2
    return False if apart else None


def crops(picture: Image.Image, photograph: Photograph, held_out: bool) -> Iterator[Image.Image]:
    """Crops of one split, for ever, alternating between the scales."""
    sizes = [(round(picture.width * s), round(picture.height * s)) for s in photograph.scales]
    scaled = [picture.resize(size, Image.Resampling.LANCZOS) for size in sizes]
    turn = 0
    for i in range(1, 200_000):
        page = scaled[turn % len(scaled)]
        left = int((i / GOLDEN) % 1.0 * (page.width - SIDE + 1))
        top = int((i / GOLDEN**2) % 1.0 * (page.height - SIDE + 1))
        if inside(photograph.held_out, left, top, page.width, page.height) is not held_out:
            continue
        crop = page.crop((left, top, left + SIDE, top + SIDE))
        gray = np.asarray(crop.convert("L"), np.float64)
        if gray.std() < photograph.contrast or (gray < BLACK).mean() > photograph.darkest:
            continue
        turn += 1
        yield crop


def main(out: Path) -> None:
    source = Path(skimage.__file__).parent / "data"
    with tempfile.TemporaryDirectory() as folder:
        for name, photograph in PHOTOGRAPHS.items():
            picture = Image.open(source / photograph.file).convert("RGB")
            for split, count in (("train", TRAIN), ("validation", VALIDATION)):
                target = Path(folder, split, name)
                target.mkdir(parents=True)
                chosen = zip(range(count), crops(picture, photograph, split == "validation"), strict=False)
                for number, crop in chosen:
                    crop.save(target / f"{number:03d}.jpg", quality=QUALITY)
                if len(list(target.iterdir())) != count:
                    raise ValueError(f"{name} has too few crops with contrast for the split {split}")
        origin = "64 x 64 crops of ten photographs from scikit-image 0.26, split by region"
        prepare(folder, out, Options(shards=1, name="photographs", licence=LICENCE, origin=origin))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
