"""ViTok-v2's published autoencoders: sizes from the shapes of their weights, either half alone or both."""

import math
import re
from collections.abc import Mapping
from functools import partial
from typing import Literal

import jax.numpy as jnp
import numpy as np

from laminate.models.naflex import NaFlexAutoencoder, NaFlexTransformer, Window
from laminate.models.vit import Trunk
from laminate.nn import RMSNorm, SwiGlu
from laminate.pretrained.keymaps.base import KeyMapError, load_new
from laminate.pretrained.keymaps.vitok import autoencoder_slots, renamed
from laminate.types import RandomKey

Half = Literal["encoder", "decoder"]

_PARTS = {
    "encoder": ("patch_embed", "to_code", "encoder_blocks", "cls_token", "reg_token"),
    "decoder": ("decoder_embed", "to_pixels", "decoder_blocks", "decoder_cls_token", "decoder_reg_token"),
}


def load_autoencoder(
    weights: Mapping[str, np.ndarray],
    *,
    half: Half | None = None,
    window: Window | None = None,
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
    on_host: bool = False,
) -> NaFlexAutoencoder:
    """The autoencoder of a state dict, or the `half` of it; of what is there, if `half` is None.

    Names as published and as a training of the released code writes them are read. The weights do not know whether the
    network has windows. Raises KeyMapError for names that are missing, unexpected or of the wrong shape.
    """
    named = renamed(weights)
    if half is not None:
        kept = _PARTS[half]
        named = {name: array for name, array in named.items() if name.split(".")[0] in kept}
    halves: list[Half] = [one for one in ("encoder", "decoder") if f"{_PARTS[one][0]}.weight" in named]
    if not halves or (half is not None and halves != [half]):
        wanted = "an encoder (patch_embed.weight) or a decoder (decoder_embed.weight)"
        raise KeyMapError(
            f"The checkpoint does not hold {wanted if half is None else f'an {half}'} of ViTok."
        )
    pixels = _shape(named, "patch_embed.weight" if "encoder" in halves else "to_pixels.weight", 2)
    patch = math.isqrt(pixels[1 if "encoder" in halves else 0] // 3)
    make = {one: _half(named, one, window) for one in halves}

    def build(key: RandomKey) -> NaFlexAutoencoder:
        made = {one: make[one](key=key) for one in halves}
        return NaFlexAutoencoder(made.get("encoder"), made.get("decoder"), patch=patch)

    return load_new(build, autoencoder_slots, named, dtype=dtype, on_host=on_host)


def _half(
    weights: Mapping[str, np.ndarray], half: Half, window: Window | None
) -> "partial[NaFlexTransformer]":
    embed, head, blocks, cls, registers = _PARTS[half]
    dim, in_dim = _shape(weights, f"{embed}.weight", 2)
    numbered = (re.fullmatch(rf"{blocks}\.([0-9]+)\.norm1\.weight", name) for name in weights)
    depth = 1 + max((int(match[1]) for match in numbered if match), default=0)
    head_dim = _shape(weights, f"{blocks}.0.attn.norm_q.weight", 1)[0]
    heads, rest = divmod(dim, max(head_dim, 1))
    if rest or head_dim % 4:
        raise KeyMapError(f"The {half} is {dim} wide, which heads of width {head_dim} cannot be.")
    trunk = Trunk(
        dim,
        depth,
        heads,
        _shape(weights, f"{blocks}.0.ffn.fc2.weight", 2)[1],
        mlp=SwiGlu,
        norm=RMSNorm,
        attention_bias=False,
        mlp_bias=False,
        layer_scale=1e-4 if f"{blocks}.0.layer_scale.gamma" in weights else None,
        parallel=True,
    )
    return partial(
        NaFlexTransformer,
        trunk,
        in_dim,
        _shape(weights, f"{head}.weight", 2)[0],
        cls_token=cls in weights,
        registers=_shape(weights, registers, 3)[1] if registers in weights else 0,
        window=window,
    )


def _shape(weights: Mapping[str, np.ndarray], name: str, axes: int) -> tuple[int, ...]:
    if name not in weights:
        raise KeyMapError(f"The checkpoint does not fit: missing {name}.")
    shape = weights[name].shape
    if len(shape) != axes or not all(shape):
        raise KeyMapError(f"The checkpoint does not fit: {name} has shape {shape}, expected {axes} axes.")
    return tuple(shape)
