"""The tokenizer of a reference configuration, with the weights of a file."""

from typing import Any

import jax
import numpy as np

from laminate.bottlenecks.base import Bottleneck
from laminate.nn import zeros
from laminate.pretrained.keymaps.base import Slot, load
from laminate.pretrained.keymaps.flatdino import IGNORED, flatdino_slots
from laminate.tokenizers.flatdino import FlatDino, NestedLatents

from ..options import Options, vit
from ..reader import CannotRun, Golden


def tokenizer(
    golden: Golden,
    options: Options,
    bottleneck: Bottleneck[Any],
    *,
    intermediate: bool = False,
    nested: bool = False,
) -> tuple[FlatDino, list[Slot]]:
    """The model that the file's weights fill entirely, and the slots that they fill."""
    encoder_options, decoder_options = options.take("encoder"), options.take("decoder")
    encoder, encoder_causal = vit("encoder", encoder_options)
    decoder, decoder_causal = vit("decoder", decoder_options)
    for name, values, causal in (
        ("encoder", encoder_options, encoder_causal),
        ("decoder", decoder_options, decoder_causal),
    ):
        if causal:
            raise CannotRun(f"config {name}.transformer.causal=true is not an option of the tokenizer")
        if values.get("use_cls") or values.get("patch"):
            raise CannotRun(f"config {name}: a tokenizer's network has no CLS token and no patch embedding")
    projection = None
    if nested:
        projection = NestedLatents(
            bottleneck.out_features, decoder.norm.dim, init=zeros, key=jax.random.key(0)
        )
    model = FlatDino(
        encoder,
        bottleneck,
        decoder,
        encoder_disposable=options.take("encoder_disposable_registers", 0),
        decoder_disposable=options.take("decoder_disposable_registers", 0),
        intermediate=intermediate,
        nested=projection,
    )
    slots = flatdino_slots(model)
    return load(model, slots, golden.weights, ignored=IGNORED), slots


def weight_gradients(gradients: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Gradients by their published names, under the names of a golden file."""
    return {f"{prefix}/grad_weights/{key}": value for key, value in gradients.items()}
