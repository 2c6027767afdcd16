"""Names of published vision transformers: one map, and the words that each family uses for the same parts.

Linear weights are published `(out, in)` and patch embeddings `(out, channels, rows, columns)`, the layouts of
`nn.Linear` and `nn.PatchEmbed` up to a reshape.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from laminate.models.vit import Vit
from laminate.nn import (
    Attention,
    Block,
    Mlp,
    PatchEmbed,
    SwiGlu,
    rotation_periods,
)
from laminate.pretrained.keymaps.base import AS_ROW, LEADING_ONE, SAME, ArrayLayout, Fixed, Pick, Slot
from laminate.pretrained.keymaps.layers import TORCH, patch_layout


@dataclasses.dataclass(frozen=True)
class BlockNames:
    """The parts of one block. `qkv` is one fused projection, or query, key and value.

    `mlp` is (up, down); `gated`, for a gated MLP, is (gate, up, down) or (gate above up in one projection, down).
    `scales` are whole names, the others lack `.weight` and `.bias`. `bias_mask` is a whole name of the ones and
    zeros that a fused bias is multiplied by.
    """

    attention_norm: str
    mlp_norm: str
    qkv: tuple[str, ...]
    out: str
    mlp: tuple[str, str]
    gated: tuple[str, ...] = ()
    scales: tuple[str, str] = ("", "")
    bias_mask: str = ""


@dataclasses.dataclass(frozen=True)
class VitNames:
    """The parts of a network. `block` has a `{}` for the layer; `periods` is the name of the rotary periods.

    `positions`, `cls` and `registers` are whole names of tables with a leading axis of one, which positions lack
    if `bare_positions`, and the class token if `bare_cls`.
    """

    block: str
    inside: BlockNames
    norm: str
    positions: str = ""
    cls: str = ""
    registers: str = ""
    patch: str = ""
    input: str = ""
    output: str = ""
    periods: str = ""
    bare_positions: bool = False
    bare_cls: bool = False


def vit_slots(
    vit: Vit, names: VitNames, *, prefix: str = "", pick: Pick = lambda tree: tree
) -> list[Slot | Fixed]:
    """The slots of `vit`, which itself says what parts there are; a patch embedding of another kind has its own.

    `prefix` stands in front of every name; `pick` finds the `Vit` in the module that the slots are for.
    """
    slots: list[Slot | Fixed] = []
    if isinstance(vit.patch, PatchEmbed):
        slots += TORCH.linear(
            vit.patch.projection,
            prefix + names.patch,
            lambda m: pick(m).patch.projection,
            layout=patch_layout(vit.patch),
        )
    if vit.input is not None:
        slots += TORCH.linear(vit.input, prefix + names.input, lambda m: pick(m).input)
    if vit.positions is not None:
        layout = SAME if names.bare_positions else LEADING_ONE
        slots.append(Slot((prefix + names.positions,), lambda m: pick(m).positions, layout))
    if vit.cls is not None:
        layout = AS_ROW if names.bare_cls else LEADING_ONE
        slots.append(Slot((prefix + names.cls,), lambda m: pick(m).cls, layout))
    if vit.registers is not None:
        slots.append(Slot((prefix + names.registers,), lambda m: pick(m).registers, LEADING_ONE))
    if vit.rotary_base is not None and names.periods:
        periods = rotation_periods(vit.stack.layers.attention.head_dim, base=vit.rotary_base)
        slots.append(Fixed(prefix + names.periods, periods.astype(np.float32)))
    layers = tuple(prefix + names.block.format(layer) + "." for layer in range(vit.stack.depth))
    slots += _block_slots(vit.stack.layers, names.inside, layers, lambda m: pick(m).stack.layers)
    slots += TORCH.norm(vit.norm, prefix + names.norm, lambda m: pick(m).norm)
    if vit.output is not None:
        slots += TORCH.linear(vit.output, prefix + names.output, lambda m: pick(m).output)
    return slots


def _block_slots(block: Block, names: BlockNames, layers: tuple[str, ...], pick: Pick) -> list[Slot | Fixed]:
    def each(*inside: str) -> tuple[str, ...]:
        return tuple(layer + name for layer in layers for name in inside)

    slots: list[Slot | Fixed] = []
    slots += TORCH.norm(block.attention_norm, each(names.attention_norm), lambda m: pick(m).attention_norm)
    slots += TORCH.norm(block.mlp_norm, each(names.mlp_norm), lambda m: pick(m).mlp_norm)
    slots += _attention_slots(block.attention, names, each, lambda m: pick(m).attention)
    slots += _mlp_slots(block.mlp, names, each, lambda m: pick(m).mlp)
    if block.attention_scale is not None:
        slots.append(Slot(each(names.scales[0]), lambda m: pick(m).attention_scale, stacked=True))
        slots.append(Slot(each(names.scales[1]), lambda m: pick(m).mlp_scale, stacked=True))
    return slots


def _attention_slots(
    attention: Attention, names: BlockNames, each: Callable[..., tuple[str, ...]], pick: Pick
) -> list[Slot | Fixed]:
    slots: list[Slot | Fixed] = []
    slots += TORCH.linear(attention.qkv, each(*names.qkv), lambda m: pick(m).qkv, joined=len(names.qkv))
    slots += TORCH.linear(attention.out, each(names.out), lambda m: pick(m).out)
    if attention.partial_bias is not None and len(names.qkv) == 1:
        layout = _rows_of_three(attention.biased)
        biases = each(f"{names.qkv[0]}.bias")
        slots.append(Slot(biases, lambda m: pick(m).partial_bias, layout, stacked=True))
        mask = np.repeat(np.asarray(attention.biased, np.float32), attention.heads * attention.head_dim)
        slots += [Fixed(name, mask) for name in each(names.bias_mask)]
    elif attention.partial_bias is not None:
        biased = [name for name, has in zip(names.qkv, attention.biased, strict=True) if has]
        biases = each(*(f"{name}.bias" for name in biased))
        slots.append(Slot(biases, lambda m: pick(m).partial_bias, AS_ROW, stacked=True, joined=len(biased)))
    return slots


def _mlp_slots(
    mlp: Mlp | SwiGlu, names: BlockNames, each: Callable[..., tuple[str, ...]], pick: Pick
) -> list[Slot]:
    if not isinstance(mlp, SwiGlu):
        slots = TORCH.linear(mlp.up, each(names.mlp[0]), lambda m: pick(m).up)
        return slots + TORCH.linear(mlp.down, each(names.mlp[1]), lambda m: pick(m).down)
    slots = TORCH.linear(mlp.down, each(names.gated[-1]), lambda m: pick(m).down)
    if len(names.gated) == 3:
        slots += TORCH.linear(mlp.gate, each(names.gated[0]), lambda m: pick(m).gate)
        return slots + TORCH.linear(mlp.up, each(names.gated[1]), lambda m: pick(m).up)
    both = names.gated[0]
    slots.append(
        Slot(each(f"{both}.weight"), lambda m: (pick(m).gate.weight, pick(m).up.weight), stacked=True)
    )
    if mlp.up.bias is not None:
        slots.append(Slot(each(f"{both}.bias"), lambda m: (pick(m).gate.bias, pick(m).up.bias), stacked=True))
    return slots


def _rows_of_three(has: tuple[bool, bool, bool]) -> ArrayLayout:
    """Three parts in one row, of which those that are masked out are published as zeros."""
    rows = np.flatnonzero(has)

    def write(a: np.ndarray) -> np.ndarray:
        whole = np.zeros((3, a.shape[1]), a.dtype)
        whole[rows] = a
        return whole.reshape(-1)

    return ArrayLayout(lambda a: a.reshape(3, -1)[rows], write)
