"""The way from one latent to another, and a picture that moves along it."""

import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, UInt8

from laminate.analysis.figures import FilePath
from laminate.storage.writing import write_bytes

PAIRS = 6
LARGEST = 2_000_000  # bytes of a moving picture: one that is mailed, or stands on a page
QUALITIES = (90, 75, 50)
Way = Literal["linear", "spherical"]


def interpolate(
    first: Float[np.ndarray, "latents latent_dim"],
    second: Float[np.ndarray, "latents latent_dim"],
    steps: int,
    way: Way,
) -> Float[np.ndarray, "{steps} latents latent_dim"]:
    """`steps` latents from `first` to `second`, both included.

    `spherical` turns the direction of each token evenly and moves its length linearly; directions that are (almost)
    equal or opposite go straight. Raises ValueError for fewer than two steps.
    """
    if steps < 2:
        raise ValueError(f"A way from one latent to another has at least 2 steps, got {steps}.")
    place = np.linspace(0.0, 1.0, steps)[:, None, None]
    a, b = first.astype(np.float64)[None], second.astype(np.float64)[None]
    straight = (1.0 - place) * a + place * b
    if way == "linear":
        return straight.astype(np.float32)
    length = [np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b)]
    unit = [x / np.maximum(n, 1e-6) for x, n in zip((a, b), length, strict=True)]
    cosine = np.clip(np.sum(unit[0] * unit[1], axis=-1, keepdims=True), -1.0, 1.0)
    angle = np.arccos(cosine)
    sine = np.sin(angle)
    turning = sine > 1e-4
    safe = np.where(turning, sine, 1.0)
    turned = np.sin((1.0 - place) * angle) / safe * unit[0] + np.sin(place * angle) / safe * unit[1]
    turned = turned * ((1.0 - place) * length[0] + place * length[1])
    return np.where(turning, turned, straight).astype(np.float32)


def back_and_forth(frames: int) -> list[int]:
    """The numbers of the frames of a loop that goes there and back."""
    return [*range(frames), *range(frames - 2, 0, -1)]


def travellers(labels: Int[np.ndarray, " images"], pairs: int = PAIRS) -> Int[np.ndarray, " travellers"]:
    """Which images `pairs` ways lead through, from each to the next: the first of every class, then the second ones,
    and so on; fewer where there are fewer images."""
    places = np.arange(len(labels))
    of_class = np.array([np.count_nonzero(labels[:place] == labels[place]) for place in places])
    return np.lexsort((places, of_class))[: pairs + 1]


def side_by_side(images: UInt8[np.ndarray, "images height width 3"]) -> UInt8[np.ndarray, "height wide 3"]:
    """The images in one row."""
    return np.concatenate(list(images), axis=1)


def write_webp(
    frames: Sequence[UInt8[np.ndarray, "high wide 3"]],
    path: FilePath,
    *,
    frame_ms: int = 60,
    most: int = LARGEST,
) -> None:
    """An animated WebP that repeats for ever: without loss if that takes at most so many bytes, else as well as it
    can be within them, at last at half the size."""
    from PIL import Image

    pictures = [Image.fromarray(frame) for frame in frames]
    found = _webp(pictures, None, frame_ms)
    for quality in QUALITIES:
        if len(found) <= most:
            break
        found = _webp(pictures, quality, frame_ms)
    while len(found) > most and min(pictures[0].size) > 1:
        pictures = [one.resize((max(1, one.width // 2), max(1, one.height // 2))) for one in pictures]
        found = _webp(pictures, QUALITIES[-1], frame_ms)
    write_bytes(path, found)


def _webp(pictures: list[Any], quality: int | None, frame_ms: int) -> bytes:
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=frame_ms,
        loop=0,
        lossless=quality is None,
        quality=80 if quality is None else quality,
        method=2,
    )
    return buffer.getvalue()
