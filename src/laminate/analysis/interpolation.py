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
    """`steps` latents from `first` to `second`, both included, each `between` them.

    Raises ValueError for fewer than two steps.
    """
    if steps < 2:
        raise ValueError(f"A way from one latent to another has at least 2 steps, got {steps}.")
    return between(first, second, np.linspace(0.0, 1.0, steps), way).astype(np.float32)


def between(
    first: Float[np.ndarray, "*pairs latents latent_dim"],
    second: Float[np.ndarray, "*pairs latents latent_dim"],
    places: Float[np.ndarray, " places"],
    way: Way,
    *,
    eps: float = 1e-6,
) -> Float[np.ndarray, "*pairs {len(places)} latents latent_dim"]:
    """Latents at `places` from 0 (`first`) to 1 (`second`), in float64 (FlatDINO).

    `spherical` turns the direction of each token evenly and moves its length linearly. Cosines are kept `eps` away from
    one and minus one, and lengths and sines above it, so that equal tokens stay, a token of length zero has no
    direction, and opposite ones go through zero.
    """
    a, b = (x.astype(np.float64)[..., None, :, :] for x in (first, second))
    t = places.astype(np.float64)[:, None, None]
    if way == "linear":
        return (1.0 - t) * a + t * b
    length, other = (np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    u, v = a / np.maximum(length, eps), b / np.maximum(other, eps)
    angle = np.arccos(np.clip(np.sum(u * v, axis=-1, keepdims=True), -1.0 + eps, 1.0 - eps))
    sine = np.maximum(np.sin(angle), eps)
    turned = (np.sin((1.0 - t) * angle) * u + np.sin(t * angle) * v) / sine
    return turned * ((1.0 - t) * length + t * other)


def flat_slerp(
    first: Float[np.ndarray, "*pairs latents latent_dim"],
    second: Float[np.ndarray, "*pairs latents latent_dim"],
    places: Float[np.ndarray, " places"],
) -> Float[np.ndarray, "*pairs {len(places)} latents latent_dim"]:
    """Latents at `places` on the arc between two latents as single vectors, in float64 (iFID).

    `(sin((1 - t) h) a + sin(t h) b) / sin h` of the vectors as they are, with `h` the angle between them; straight
    where they have (almost) one direction, or opposite ones.
    """
    a, b = (x.astype(np.float64)[..., None, :, :] for x in (first, second))
    t = places.astype(np.float64)[:, None, None]
    p, q = (x / (np.sqrt(np.square(x).sum(axis=(-2, -1), keepdims=True)) + 1e-7) for x in (a, b))
    angle = np.arccos(np.clip((p * q).sum(axis=(-2, -1), keepdims=True), -1.0, 1.0))
    sine = np.sin(angle)
    arc = (np.sin((1.0 - t) * angle) * a + np.sin(t * angle) * b) / (sine + 1e-7)
    return np.where(sine < 1e-6, (1.0 - t) * a + t * b, arc)


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
