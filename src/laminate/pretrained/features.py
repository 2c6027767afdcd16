"""What a teacher says of one example of a batch: computed from its image, or read from the records that hold it."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.pretrained.teachers import VitTeacher
from laminate.types import Image, Tokens, UInt8Image

FEATURES = "features"
"""The name of what `experiments/encode.py` wrote, in a batch."""


class Features(NamedTuple):
    """The teacher's patch tokens, and those that leave an intermediate layer, if they were asked for."""

    final: Tokens
    intermediate: Tokens | None


def unit_image(image: UInt8Image | Image) -> Float[Array, "height width channels"]:
    """A stored image as float32 in [0, 1]; one that is float already, which has a derivative, is there."""
    return image.astype(jnp.float32) / 255.0 if image.dtype == jnp.uint8 else image.astype(jnp.float32)


def features_of(
    teacher: Any, example: dict[str, Array], *, layer: int | None = None, dtype: jnp.dtype | None = None
) -> Features:
    """The features of one example, computed by `teacher` in `dtype` (float32 if None), whose `layer` is wanted too.

    Where the example has them already, as `[tokens, dim]` or, with a layer, `[2, tokens, dim]`, the teacher (which may
    be None) is not asked. Raises ValueError for a layer that is not to be had.
    """
    if FEATURES in example:
        stored = example[FEATURES]
        if layer is None:
            return Features(stored if stored.ndim == 2 else stored[0], None)
        if stored.ndim != 3:
            raise ValueError("These records hold no intermediate layer: encode them again with --layer.")
        return Features(stored[0], stored[1])
    image = unit_image(example["image"])
    if layer is None:
        return Features(teacher(image, dtype=dtype), None)
    if not isinstance(teacher, VitTeacher):
        raise ValueError(
            f"A {type(teacher).__name__} has no intermediate layers, and layer {layer} was asked for."
        )
    final, taps = teacher.taps(image, (layer,), dtype=dtype)
    return Features(final, taps[0])
