"""The slots of single layers, in the words that PyTorch's checkpoints use and in those of FlatDINO's.

Names are whole names of layers: one, or, for a layer that is stacked over depth, a tuple of one for each of them.
"""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import numpy as np

from laminate.nn import BatchNorm, GroupNorm, JointRMSNorm, LayerNorm, PatchEmbed, RMSNorm, Rotary
from laminate.pretrained.keymaps.base import SAME, TRANSPOSED, ArrayLayout, Pick, Slot

CHANNELS = ArrayLayout(lambda a: a.reshape(-1), lambda a: a.reshape(1, -1, 1, 1))
"""A number for each channel, published with the axes of an image around it."""
POINTWISE = ArrayLayout(lambda a: a[:, :, 0, 0], lambda a: a[:, :, None, None])
"""A 1x1 convolution as a linear map."""
LAST_FRAME = ArrayLayout(
    lambda a: a[:, :, -1], lambda a: np.stack([np.zeros_like(a), np.zeros_like(a), a], axis=2)
)
"""A causal convolution over three frames as it meets a first one, which has nothing before it."""
POINTWISE_FRAME = ArrayLayout(lambda a: a[:, :, 0, 0, 0], lambda a: a[:, :, None, None, None])
"""A 1x1x1 convolution as a linear map."""

Names = str | tuple[str, ...]
Norm = LayerNorm | RMSNorm | GroupNorm | JointRMSNorm | BatchNorm


@runtime_checkable
class Weighted(Protocol):
    """A linear map or a convolution."""

    @property
    def weight(self) -> Any: ...

    @property
    def bias(self) -> Any: ...


@dataclasses.dataclass(frozen=True)
class Words:
    """What stands behind the name of a layer: `join`, and the word for each of its arrays.

    `weight_layout` is how the weight of a linear map is laid out.
    """

    join: str
    weight: str
    scale: str
    weight_layout: ArrayLayout = SAME
    bias: str = "bias"

    def slot(
        self, names: Names, word: str, leaf: Pick, layout: ArrayLayout = SAME, *, joined: int = 1
    ) -> Slot:
        """The slot of the array `word` of a layer, which `leaf` picks out of the module."""
        stacked = isinstance(names, tuple)
        keys = tuple(f"{name}{self.join}{word}" for name in (names if stacked else (names,)))
        return Slot(keys, leaf, layout, stacked=stacked, joined=joined)

    def linear(
        self,
        layer: Weighted,
        names: Names,
        pick: Pick,
        *,
        joined: int = 1,
        layout: ArrayLayout | None = None,
        bias_layout: ArrayLayout = SAME,
    ) -> list[Slot]:
        """Weight and, if the layer has one, bias; `layout` is that of the weight, if it is not the usual one."""
        layout = self.weight_layout if layout is None else layout
        slots = [self.slot(names, self.weight, lambda m: pick(m).weight, layout, joined=joined)]
        if layer.bias is not None:
            slots.append(self.slot(names, self.bias, lambda m: pick(m).bias, bias_layout, joined=joined))
        return slots

    def norm(self, norm: Norm, names: Names, pick: Pick, layout: ArrayLayout = SAME) -> list[Slot]:
        """Scale and bias, as far as the norm has them, and the statistics that are kept."""
        slots: list[Slot] = []
        if norm.scale is not None:
            slots.append(self.slot(names, self.scale, lambda m: pick(m).scale, layout))
        if not isinstance(norm, JointRMSNorm) and norm.bias is not None:
            slots.append(self.slot(names, self.bias, lambda m: pick(m).bias, layout))
        if isinstance(norm, BatchNorm):
            slots.append(self.slot(names, "running_mean", lambda m: pick(m).mean.value, layout))
            slots.append(self.slot(names, "running_var", lambda m: pick(m).variance.value, layout))
        return slots

    def rotary(self, rotary: Rotary | None, name: str, pick: Pick) -> list[Slot]:
        """The two tables of a rotary embedding, which the module computes itself; none without one."""
        if rotary is None:
            return []
        cos = Slot((f"{name}{self.join}freqs_cos",), lambda m: pick(m).cos.value, constant=True)
        return [cos, Slot((f"{name}{self.join}freqs_sin",), lambda m: pick(m).sin.value, constant=True)]


TORCH = Words(".", "weight", "weight")
"""Linear weights are `(out, in)`, which is how `nn.Linear` has them."""
FLAX = Words("/", "kernel", "scale", TRANSPOSED)
"""Linear weights are `(in, out)`."""


def patch_layout(patch: PatchEmbed) -> ArrayLayout:
    """A convolution whose kernel is as large as its stride, as the linear map of a flattened patch."""
    kernel = (patch.channels, patch.patch, patch.patch)
    return ArrayLayout(lambda a: a.reshape(len(a), -1), lambda a: a.reshape(len(a), *kernel))
