"""Published weights of VGG-16 and of the LPIPS heads, under the names of torchvision or of the lpips package."""

from collections.abc import Mapping
from functools import partial
from typing import Literal

import jax.numpy as jnp
import numpy as np

from laminate.models.vgg import SCALE, SHIFT, WIDTHS, Lpips
from laminate.pretrained.keymaps.base import ArrayLayout, Fixed, KeyMapError, Slot, load_new
from laminate.pretrained.layouts import looks_like

Naming = Literal["torchvision", "lpips"]

# Numbers of the convolutions in torchvision's list of layers, which counts ReLUs and poolings too.
_NUMBERS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_HEAD = ArrayLayout(lambda a: a.reshape(-1), lambda a: a.reshape(1, -1, 1, 1))


def load_lpips(
    weights: Mapping[str, np.ndarray],
    *,
    widths: tuple[int, ...] = WIDTHS,
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
) -> Lpips:
    """LPIPS with published weights: those of the network and of the heads together, stored in `dtype`.

    The names tell which of the two namings they are in. Raises KeyMapError for weights that do not fit.
    """
    naming: Naming = "lpips" if any(name.startswith("net.slice") for name in weights) else "torchvision"
    # The package keeps its heads a second time, as a list.
    ignored = ("classifier.*", "lins.*")
    try:
        return load_new(
            lambda key: Lpips(widths, key=key), partial(_slots, naming), weights, ignored=ignored, dtype=dtype
        )
    except KeyMapError as error:
        raise KeyMapError(f"{looks_like(weights, 'lpips', 'LPIPS')} {error}") from error


def lpips_slots(lpips: Lpips, *, naming: Naming = "torchvision") -> list[Slot | Fixed]:
    """Which published name holds which leaf."""
    slots: list[Slot | Fixed] = []
    for stage, numbers in enumerate(_NUMBERS):
        for place, number in enumerate(numbers):
            name = f"features.{number}" if naming == "torchvision" else f"net.slice{stage + 1}.{number}"
            slots += [
                Slot((f"{name}.weight",), lambda m, s=stage, p=place: m.vgg.stages[s][p].weight),
                Slot((f"{name}.bias",), lambda m, s=stage, p=place: m.vgg.stages[s][p].bias),
            ]
        slots.append(Slot((f"lin{stage}.model.1.weight",), lambda m, s=stage: m.heads[s], _HEAD))
    if naming == "lpips":
        for name, values in (("shift", SHIFT), ("scale", SCALE)):
            slots.append(Fixed(f"scaling_layer.{name}", np.asarray(values, np.float32).reshape(1, 3, 1, 1)))
    return slots


def _slots(naming: Naming, lpips: Lpips) -> list[Slot | Fixed]:
    return lpips_slots(lpips, naming=naming)
