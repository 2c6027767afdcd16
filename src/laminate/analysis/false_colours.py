"""Features as pictures: their three main directions as red, green and blue."""

import math

import numpy as np
from jaxtyping import Float

_SPREAD = 2.5  # standard deviations that fill the range of a colour


def false_colours(
    features: Float[np.ndarray, "examples tokens dim"],
    rebuilt: Float[np.ndarray, "examples tokens dim"],
    *,
    grid: tuple[int, int] | None = None,
) -> tuple[Float[np.ndarray, "examples rows columns 3"], Float[np.ndarray, "examples rows columns 3"]]:
    """Both as images in [0, 1], one pixel for each token, in the same colours: red, green and blue are the first three
    principal components of `features` over all examples and tokens.

    Tokens fill the rows of the `grid` one after the other (None: a square).

    Raises ValueError if the tokens do not form that grid.
    """
    count, tokens, dim = features.shape
    rows, columns = (math.isqrt(tokens),) * 2 if grid is None else grid
    if rows * columns != tokens:
        shape = "a square, and a picture is one" if grid is None else f"{rows} rows of {columns}"
        raise ValueError(f"{tokens} tokens do not form {shape}.")
    flat = features.reshape(-1, dim).astype(np.float64)
    mean = flat.mean(axis=0)
    _, directions = np.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    axes = np.zeros((dim, 3))
    axes[:, : min(3, dim)] = directions[:, ::-1][:, :3]
    # The sign of a direction is arbitrary: its largest number is made positive.
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(3)])
    axes = axes * np.where(signs == 0, 1.0, signs)
    scale = _SPREAD * np.maximum(((flat - mean) @ axes).std(axis=0), 1e-12)

    def picture(x: np.ndarray) -> np.ndarray:
        colours = 0.5 + 0.5 * ((x.astype(np.float64) - mean) @ axes) / scale
        return np.clip(colours, 0.0, 1.0).astype(np.float32).reshape(count, rows, columns, 3)

    return picture(features), picture(rebuilt)
