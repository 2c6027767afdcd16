"""The frozen networks whose features a tokenizer compresses."""

from laminate.pretrained.patches import Patches


def load_teacher(name: str, *, image_size: int, patch: int) -> Patches:
    """The teacher of that name: an image in [0, 1] in, patch features out.

    Raises ValueError for one whose weights this version cannot load.
    """
    if name != "patches":
        raise ValueError(
            f"The teacher {name!r} needs published weights, which this version cannot load yet: use "
            "--teacher patches-IMAGE-PATCH, which needs none."
        )
    return Patches(image_size, patch)
