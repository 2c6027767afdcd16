"""What tables and figures read off the numbers of an analysis; None where these do not hold it."""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from laminate.runs.paper.exhibit import Figure

Take = Callable[[Mapping[str, Any]], Figure | None]

DIFFUSE = 0.5
"""A token that acts on more than this share of the patches (e to the entropy of its map) counts as image-wide; the
paper goes by the eye."""


def wide_tokens(numbers: Mapping[str, Any]) -> Figure | None:
    """How many tokens of how many act on most of the image."""
    entropy, whole = numbers.get("spatial_entropy_nats"), numbers.get("entropy_of_everywhere_nats")
    if entropy is None or whole is None:
        return None
    shares = [math.exp(float(one) - float(whole)) for one in entropy]
    return f"{sum(share > DIFFUSE for share in shares)} of {len(shares)}"


def reach(numbers: Mapping[str, Any]) -> Figure | None:
    """The share of the patches that a token acts on, in percent, on average."""
    entropy, whole = numbers.get("spatial_entropy_nats"), numbers.get("entropy_of_everywhere_nats")
    if entropy is None or whole is None:
        return None
    return 100.0 * sum(math.exp(float(one) - float(whole)) for one in entropy) / len(entropy)


def lost(level: float) -> Take:
    """How many dB noise of that strength costs."""

    def take(numbers: Mapping[str, Any]) -> Figure | None:
        levels = [round(float(one), 6) for one in numbers.get("levels", ())]
        if level not in levels:
            return None
        psnr = [float(one) for one in numbers["psnr"]]
        return psnr[0] - psnr[levels.index(level)]

    return take


def likeness(of: str, what: str) -> Take:
    """A number of a curve of likeness over distance."""

    def take(numbers: Mapping[str, Any]) -> Figure | None:
        found = numbers.get(of)
        return float(found[what]) if isinstance(found, Mapping) else None

    return take


def monotone(numbers: Mapping[str, Any]) -> Figure | None:
    """Whether the likeness of the teacher's features falls from each filled bin to the next."""
    found = numbers.get("teacher's features")
    if not isinstance(found, Mapping):
        return None
    mean = [float(m) for m, pairs in zip(found["mean"], found["pairs"], strict=True) if pairs]
    rises = sum(after > before for before, after in pairwise(mean))
    return "falls everywhere" if not rises else f"rises in {rises} of {len(mean) - 1} bins"


def weakest(numbers: Mapping[str, Any]) -> Figure | None:
    """How near a picture without its most needed token is to the whole one, in dB."""
    found = numbers.get("psnr_mean")
    return None if found is None else min(float(one) for one in found)


def components(kind: str, of: str) -> Take:
    """Of a set of points: its numbers, the components that hold 95 % of their variance, or the ratio of the two."""

    def take(numbers: Mapping[str, Any]) -> Figure | None:
        found = numbers.get(kind)
        if not isinstance(found, Mapping):
            return None
        dims, needed = float(found["numbers"]), float(found["pca_95"])
        return {"numbers": dims, "pca_95": needed, "ratio": dims / needed}[of]

    return take
