"""Figures of single images as results of the set: their means, and how sure these are."""

import numpy as np
from jaxtyping import Float

from laminate.evals.protocols import Protocol
from laminate.evals.set_measures import Measured


def image_figures(
    figures: dict[str, Float[np.ndarray, " images"]], view: str, conventions: dict[str, str] | None = None
) -> list[Measured]:
    """The mean of each figure over the images, with its standard error. `conventions` say what each is, by name.

    Raises ValueError if one of them is not finite for some image.
    """
    found: list[Measured] = []
    for name, values in figures.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise ValueError(
                f"{name} of image {bad[0]} is not finite, and of {len(bad) - 1} more: one holds a NaN."
            )
        said = name if conventions is None else f"{name}: {conventions.get(name, '')}"
        made = Protocol(said, "none", len(values), "the originals", view=view, precision="float32")
        wide = values.astype(np.float64)
        error = float(wide.std(ddof=1) / np.sqrt(len(wide))) if len(wide) > 1 else None
        over = "standard error of the mean over the images" if error is not None else ""
        found.append(Measured(name, float(wide.mean()), made, error, over))
    return found
