"""The way from one latent to another, and a picture that moves along it."""

import io
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from laminate.analysis.figures import FilePath
from laminate.storage.writing import write_bytes

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


def tiled(images: UInt8[np.ndarray, "images height width 3"]) -> UInt8[np.ndarray, "high wide 3"]:
    """The images side by side in rows of an (almost) square; places that are left over are white."""
    across = int(np.ceil(np.sqrt(len(images))))
    down = -(-len(images) // across)
    count, high, wide = images.shape[:3]
    canvas = np.full((down * across, high, wide, 3), 255, np.uint8)
    canvas[:count] = images
    return canvas.reshape(down, across, high, wide, 3).swapaxes(1, 2).reshape(down * high, across * wide, 3)


def write_webp(
    frames: Sequence[UInt8[np.ndarray, "high wide 3"]], path: FilePath, *, frame_ms: int = 60
) -> None:
    """An animated WebP, without loss, that repeats for ever."""
    from PIL import Image

    first, *rest = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    first.save(
        buffer, "WEBP", save_all=True, append_images=rest, duration=frame_ms, loop=0, lossless=True, method=2
    )
    write_bytes(path, buffer.getvalue())
