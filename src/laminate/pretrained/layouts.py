"""Whose weights a file holds, told from the names and shapes of its tensors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from laminate.pretrained.families import FAMILIES
from laminate.pretrained.family import FileLayout
from laminate.pretrained.tensors import WeightsError

Shapes = Mapping[str, tuple[int, ...]]

_SIZES = {192: "T", 384: "S", 768: "B", 1024: "L", 1152: "XL", 1280: "H", 1536: "g"}


@dataclass(frozen=True)
class Guess:
    """The layout of a file, and the size of its network where the names tell."""

    layout: FileLayout
    width: int | None
    depth: int | None

    @property
    def family(self) -> str:
        return self.layout.family

    def __str__(self) -> str:
        return self.layout.label + size_text(self.width, self.depth)


def size_text(width: int | None, depth: int | None) -> str:
    """` (768 wide: B, 12 layers)`, or less where less is known."""
    letter = f": {_SIZES[width]}" if width in _SIZES else ""
    parts = [f"{width} wide{letter}"] if width is not None else []
    parts += [f"{depth} layers"] if depth is not None else []
    return f" ({', '.join(parts)})" if parts else ""


# The first layout that fits is the guess.
LAYOUTS: tuple[FileLayout, ...] = tuple(
    sorted((layout for family in FAMILIES for layout in family.layouts), key=lambda layout: not layout.whole)
)
LABELS: dict[str, str] = {layout.family: layout.label for layout in reversed(LAYOUTS)}


def guess(shapes: Shapes) -> Guess | None:
    """The first of `LAYOUTS` that these names fit; None for names of no known layout."""
    for layout in LAYOUTS:
        if all(_finds(mark, shapes) for mark in layout.marks) and not any(
            _finds(mark, shapes) for mark in layout.absent
        ):
            return Guess(layout, _width(layout, shapes), _depth(layout, shapes))
    return None


def require(
    weights: Mapping[str, np.ndarray],
    family: str,
    where: str,
    *,
    title: str = "",
    width: int | None = None,
    depth: int | None = None,
) -> None:
    """Refuse weights that are recognisably of another family of `LABELS` (or reader of `LAYOUTS`) or another size.

    Names of no known layout pass: the key map that reads them says what is wrong with them. `title` is what the
    message calls the network that was asked for.

    Raises WeightsError: `FILE looks like ViT-MAE (768 wide: B, 12 layers), you asked for DINOv2 ...`.
    """
    found = guess({name: array.shape for name, array in weights.items()})
    if found is None:
        return
    wrong_size = any(
        asked is not None and seen is not None and asked != seen
        for asked, seen in ((width, found.width), (depth, found.depth))
    )
    if not _may_be(found, family) or wrong_size:
        asked = (title or LABELS.get(family, family)) + size_text(width, depth)
        raise WeightsError(
            f"{where} looks like {found}, you asked for {asked}: give the file of the one you mean."
        )


def looks_like(weights: Mapping[str, np.ndarray], family: str, title: str) -> str:
    """The sentence for someone who asked for `title`, of `family`, and gave weights that do not fit it."""
    found = guess({name: array.shape for name, array in weights.items()})
    if found is None or _may_be(found, family):
        return f"The weights do not fit the {title} that was asked for."
    return f"This looks like {found}, you asked for {title}."


def _may_be(found: Guess, family: str) -> bool:
    return family in (found.family, found.layout.reader, *found.layout.also)


def _finds(pattern: str, shapes: Shapes) -> bool:
    return any(re.search(pattern, name) for name in shapes)


def _width(layout: FileLayout, shapes: Shapes) -> int | None:
    pattern, axis = layout.width
    for name, shape in shapes.items():
        if shape and re.search(pattern, name):
            return shape[axis]
    return None


def _depth(layout: FileLayout, shapes: Shapes) -> int | None:
    layers = {int(found[1]) for name in shapes if (found := re.search(layout.layer, name)) and found[1]}
    return max(layers) + 1 if layers else None
