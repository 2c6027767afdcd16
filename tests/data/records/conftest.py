import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def encoded(number: int, form: str = "JPEG") -> bytes:
    """A small picture whose pixels depend on `number`; no two sizes agree."""
    pixels = np.random.default_rng(number).integers(0, 256, (9 + number % 5, 17 + number % 7, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """Encoded bytes of picture `number`, as JPEG or another format."""
    return encoded


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Eleven pictures each of a cat, a dog and an emu."""
    root = tmp_path / "animals"
    for label, name in enumerate(("cat", "dog", "emu")):
        (root / name).mkdir(parents=True)
        for number in range(11):
            (root / name / f"{number:02d}.jpg").write_bytes(encoded(100 * label + number))
    return root
