"""Names of published discriminators: heads over DINO (RAE's and FlatDINO's), and PatchGAN."""

from typing import Any

from laminate.models.dino_discriminator import DinoDiscriminator
from laminate.models.patchgan import PatchGan
from laminate.nn import ActNorm, SpectralNorm
from laminate.pretrained.keymaps.base import LEADING_ONE, ArrayLayout, Pick, Slot
from laminate.pretrained.keymaps.layers import CHANNELS, TORCH

RAE_IGNORED = ("dino.*", "dino_proxy.*")
"""The frozen backbone, of which some files keep a copy."""
FLATDINO_IGNORED = ("*'sigma')", "*/rngs/count", "*/rngs/key")
"""Estimates that follow from the weight and its vector, and counters of random streams."""
PATCHGAN_IGNORED = ("*.num_batches_tracked", "*.initialized")

_OUT_LAST = ArrayLayout(lambda a: a.transpose(2, 1, 0), lambda a: a.transpose(2, 1, 0))


def rae_head_slots(discriminator: DinoDiscriminator) -> list[Slot]:
    """The heads as RAE stores them, `heads.I.{0.0, 0.1, 1.fn.0, 1.fn.1, 2}`."""
    slots: list[Slot] = []
    for i in range(len(discriminator.heads)):
        for name, pick in _convolutions(i):
            part = {"first": "0.0", "residual": "1.fn.0", "output": "2"}[name]
            slots += _spectral(f"heads.{i}.{part}", pick)
        for name, pick in _norms(i):
            slots += _affine(f"heads.{i}.{'0.1' if name == 'first' else '1.fn.1'}", ".", pick)
    return slots


def flatdino_head_slots(discriminator: DinoDiscriminator) -> list[Slot]:
    """The heads as FlatDINO stores them, with kernels `(k, in, out)`; `v` is not stored, it follows from `u`."""
    slots: list[Slot] = []
    for i in range(len(discriminator.heads)):
        inside = {"first": f"heads/{i}/layers/0", "residual": f"heads/{i}/layers/1/fn"}
        for name, pick in _convolutions(i):
            at = f"norms/{i}" if name == "output" else f"{inside[name]}/conv"
            slots += [
                Slot((f"{at}/layer_instance/kernel",), lambda m, p=pick: p(m).layer.weight, _OUT_LAST),
                Slot((f"{at}/layer_instance/bias",), lambda m, p=pick: p(m).layer.bias),
                Slot((f"{at}/batch_stats/('kernel', 'u')",), lambda m, p=pick: p(m).u.value, LEADING_ONE),
            ]
        for name, pick in _norms(i):
            slots += _affine(f"{inside[name]}/norm", "/", pick)
    return slots


def patchgan_slots(discriminator: PatchGan) -> list[Slot]:
    """`main.N`, where N counts convolutions, norms and ReLUs."""
    slots: list[Slot] = []
    number = 0
    for i, stage in enumerate(discriminator.stages):
        slots += _convolution(stage.conv, f"main.{number}", lambda m, i=i: m.stages[i].conv)
        number += 1
        if stage.norm is not None:
            slots += _channel_norm(stage.norm, f"main.{number}", lambda m, i=i: m.stages[i].norm)
            number += 1
        number += 1
    return slots + _convolution(discriminator.output, f"main.{number}", lambda m: m.output)


def _convolutions(head: int) -> list[tuple[str, Pick]]:
    return [
        ("first", lambda m: m.heads[head].first.conv),
        ("residual", lambda m: m.heads[head].residual.conv),
        ("output", lambda m: m.heads[head].output),
    ]


def _norms(head: int) -> list[tuple[str, Pick]]:
    return [
        ("first", lambda m: m.heads[head].first.norm),
        ("residual", lambda m: m.heads[head].residual.norm),
    ]


def _convolution(layer: Any, name: str, pick: Pick) -> list[Slot]:
    if isinstance(layer, SpectralNorm):
        return _spectral(name, pick)
    return TORCH.linear(layer, name, pick)


def _spectral(name: str, pick: Pick) -> list[Slot]:
    return [
        Slot((f"{name}.weight_orig",), lambda m: pick(m).layer.weight),
        Slot((f"{name}.weight_u",), lambda m: pick(m).u.value),
        Slot((f"{name}.weight_v",), lambda m: pick(m).v.value),
        Slot((f"{name}.bias",), lambda m: pick(m).layer.bias),
    ]


def _channel_norm(norm: Any, name: str, pick: Pick) -> list[Slot]:
    if isinstance(norm, ActNorm):
        return [
            Slot((f"{name}.loc",), lambda m: pick(m).shift, CHANNELS),
            Slot((f"{name}.scale",), lambda m: pick(m).scale, CHANNELS),
        ]
    return TORCH.norm(norm, name, pick)


def _affine(name: str, separator: str, pick: Pick) -> list[Slot]:
    return [
        Slot((f"{name}{separator}weight",), lambda m: pick(m).scale),
        Slot((f"{name}{separator}bias",), lambda m: pick(m).bias),
    ]
