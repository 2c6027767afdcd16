"""Published weights of VGG-16 or AlexNet and of the heads of LPIPS, as torchvision or the lpips package name them."""

from collections.abc import Mapping
from functools import partial
from typing import Literal

import jax.numpy as jnp
import numpy as np

from laminate.models.alexnet import ALEXNET_WIDTHS, AlexNet
from laminate.models.vgg import SCALE, SHIFT, WIDTHS, Lpips, LpipsNetwork
from laminate.pretrained.keymaps.base import ArrayLayout, Fixed, KeyMapError, Slot, load_new
from laminate.pretrained.layouts import looks_like

Naming = Literal["torchvision", "lpips"]

# Numbers of the convolutions in torchvision's list of layers, which counts ReLUs and poolings too.
_NUMBERS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_ALEXNET_NUMBERS = ((0,), (3,), (6,), (8,), (10,))
_HEAD = ArrayLayout(lambda a: a.reshape(-1), lambda a: a.reshape(1, -1, 1, 1))


def load_lpips(
    weights: Mapping[str, np.ndarray],
    *,
    widths: tuple[int, ...] | None = None,
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
) -> Lpips:
    """LPIPS with published weights: those of the network and of the heads together, stored in `dtype`.

    The names tell which of the two namings they are in, and the first convolution whose they are: that of AlexNet has
    11 x 11 taps. Without `widths` they are those of the published network. Raises KeyMapError for weights that do not
    fit.
    """
    naming: Naming = "lpips" if any(name.startswith("net.slice") for name in weights) else "torchvision"
    first = weights.get("features.0.weight" if naming == "torchvision" else "net.slice1.0.weight")
    network: LpipsNetwork = "alex" if first is not None and first.shape[-1] == 11 else "vgg"
    sizes = widths or (ALEXNET_WIDTHS if network == "alex" else WIDTHS)
    # The package keeps its heads a second time, as a list.
    ignored = ("classifier.*", "lins.*")
    try:
        return load_new(
            lambda key: Lpips(sizes, network=network, key=key),
            partial(_slots, naming),
            weights,
            ignored=ignored,
            dtype=dtype,
        )
    except KeyMapError as error:
        raise KeyMapError(f"{looks_like(weights, 'lpips', 'LPIPS')} {error}") from error


def lpips_slots(lpips: Lpips, *, naming: Naming = "torchvision") -> list[Slot | Fixed]:
    """Which published name holds which leaf."""
    slots: list[Slot | Fixed] = []
    of_alexnet = isinstance(lpips.network, AlexNet)
    for stage, numbers in enumerate(_ALEXNET_NUMBERS if of_alexnet else _NUMBERS):
        for place, number in enumerate(numbers):
            name = f"features.{number}" if naming == "torchvision" else f"net.slice{stage + 1}.{number}"
            slots += [
                Slot((f"{name}.weight",), lambda m, s=stage, p=place: m.network.stages[s][p].weight),
                Slot((f"{name}.bias",), lambda m, s=stage, p=place: m.network.stages[s][p].bias),
            ]
        slots.append(Slot((f"lin{stage}.model.1.weight",), lambda m, s=stage: m.heads[s], _HEAD))
    if naming == "lpips":
        for name, values in (("shift", SHIFT), ("scale", SCALE)):
            slots.append(Fixed(f"scaling_layer.{name}", np.asarray(values, np.float32).reshape(1, 3, 1, 1)))
    return slots


def _slots(naming: Naming, lpips: Lpips) -> list[Slot | Fixed]:
    return lpips_slots(lpips, naming=naming)
