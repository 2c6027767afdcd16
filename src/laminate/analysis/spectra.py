"""Frequencies of features over the grid of patches, and of latents over their tokens (FlatDINO, diffusability)."""

import numpy as np
from jaxtyping import Float


def radial_spectrum(grids: Float[np.ndarray, "images rows columns dim"]) -> Float[np.ndarray, " radii"]:
    """The mean magnitude of the orthonormal Fourier transform over rows and columns, by distance from the centre.

    Averaged over images and features, then over the frequencies whose distance to `((rows - 1) / 2, (columns - 1) / 2)`
    in the shifted transform has one whole part; the first `min(rows, columns) // 2` of these.
    """
    rows, columns = grids.shape[1:3]
    total = np.zeros((rows, columns))
    for image in grids:
        total += np.abs(np.fft.fft2(image.astype(np.float64), axes=(0, 1), norm="ortho")).mean(axis=-1)
    magnitude = np.fft.fftshift(total / len(grids))
    y, x = np.indices((rows, columns))
    radius = np.hypot(y - (rows - 1) / 2.0, x - (columns - 1) / 2.0).astype(int).reshape(-1)
    mean = np.bincount(radius, weights=magnitude.reshape(-1)) / np.maximum(np.bincount(radius), 1)
    return mean[: min(rows, columns) // 2]


def token_spectrum(tokens: Float[np.ndarray, "images tokens dim"]) -> Float[np.ndarray, " frequencies"]:
    """The mean magnitude of the orthonormal Fourier transform along the tokens; the first half of the frequencies."""
    magnitude = np.abs(np.fft.fft(tokens.astype(np.float64), axis=1, norm="ortho"))
    return magnitude.mean(axis=(0, 2))[: tokens.shape[1] // 2]


def normalised(curve: Float[np.ndarray, " values"]) -> Float[np.ndarray, " values"]:
    """A curve divided by its largest value; one without any height stays what it is."""
    peak = float(curve.max(initial=0.0))
    return curve / peak if peak > 0 else curve
