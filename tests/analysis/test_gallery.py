"""Pictures of images of different sizes, every pixel as it is."""

import numpy as np
import pytest
from PIL import Image

from laminate.analysis.gallery import Pair, pair_gallery


def colour(height: int, width: int, *rgb: int) -> np.ndarray:
    return np.broadcast_to(np.array(rgb, np.uint8), (height, width, 3)).copy()


def test_every_image_is_there_enlarged_by_one_whole_factor(tmp_path):
    """Wide ones above each other, tall ones beside each other, and rows no wider than asked for."""
    sizes = [(20, 50), (50, 20), (30, 30), (1, 40), (40, 1), (25, 50), (33, 44)]
    pairs = [
        Pair(colour(*size, 255, 10 * n, 0), colour(*size, 0, 10 * n, 255), f"{size[0]} x {size[1]}\n1.0 dB")
        for n, size in enumerate(sizes)
    ]
    pair_gallery(pairs, tmp_path / "gallery.png", width=420, longest=100)
    with Image.open(tmp_path / "gallery.png") as picture:
        shown = np.asarray(picture.convert("RGB"))
    assert shown.shape[1] == 420
    for n, (height, width) in enumerate(sizes):
        for rgb in ((255, 10 * n, 0), (0, 10 * n, 255)):
            rows, columns = np.nonzero((shown == rgb).all(axis=-1))
            assert (np.ptp(rows) + 1, np.ptp(columns) + 1, len(rows)) == (
                2 * height,
                2 * width,
                4 * height * width,
            )


def test_no_pair_and_images_of_two_sizes_are_refused(tmp_path):
    for pairs in ([], [Pair(colour(2, 3, 0, 0, 0), colour(3, 2, 0, 0, 0))]):
        with pytest.raises(ValueError, match="images of a pair have one size"):
            pair_gallery(pairs, tmp_path / "none.png")
