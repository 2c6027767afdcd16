"""The neighbours and interpolants of iFID, whose rFID predicts what a generator on the latents will reach."""

import numpy as np
from jaxtyping import Float, Int

from laminate.evals.neighbours import nearest

Flat = Float[np.ndarray, "latents numbers"]


def nearest_latents(
    latents: Flat, others: Float[np.ndarray, "others numbers"], *, top: int, itself: bool = False
) -> Int[np.ndarray, "latents top"]:
    """The `top` others of the largest cosine to each latent, the most similar first, in float64.

    With `itself` the others are the latents, and none is its own neighbour.

    Raises ValueError for fewer others than `top`.
    """
    if not 1 <= top <= len(others) - itself:
        raise ValueError(
            f"nearest_latents: top={top} must be at least 1, and there are {len(others) - itself} others."
        )
    return nearest(latents, others, top, by="cosine", itself=itself).places.astype(np.int32)


def neighbour_weights(
    latents: Flat, others: Float[np.ndarray, "others numbers"], neighbours: Int[np.ndarray, "latents top"]
) -> Float[np.ndarray, "latents top"]:
    """The probability with which each neighbour is drawn: the softmax of minus its mean squared difference."""
    x = latents.astype(np.float64)
    columns = [np.square(others[places] - x).mean(axis=-1) for places in neighbours.T]
    difference = np.stack(columns, axis=1)
    weight = np.exp(difference.min(axis=1, keepdims=True) - difference)
    return weight / weight.sum(axis=1, keepdims=True)


def same_class_neighbours(
    latents: Flat,
    labels: Int[np.ndarray, " latents"],
    others: Float[np.ndarray, "others numbers"],
    other_labels: Int[np.ndarray, " others"],
    *,
    top: int,
) -> Int[np.ndarray, "latents top"]:
    """`nearest_latents` among the others of the same label. Raises ValueError where there are fewer than `top`."""
    found = np.empty((len(latents), top), np.int32)
    for label in np.unique(labels):
        mine, theirs = np.flatnonzero(labels == label), np.flatnonzero(other_labels == label)
        if len(theirs) < top:
            raise ValueError(
                f"same_class_neighbours: {len(theirs)} others have the label {label}, {top} are needed."
            )
        found[mine] = theirs[nearest_latents(latents[mine], others[theirs], top=top)]
    return found
