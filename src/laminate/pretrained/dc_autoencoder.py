"""DC-AE's published autoencoders, as diffusers has them (`AutoencoderDC`)."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from laminate.models.conv_blocks import Activation, LinearAttentionBlock, MakeBlock, PostNorm, ResBlock
from laminate.models.dc_autoencoder import DcAutoencoder
from laminate.models.dc_decoder import DcDecoder
from laminate.models.dc_encoder import DcEncoder
from laminate.models.latent_scaling import LatentScaling
from laminate.nn import BatchNorm, RMSNorm, gelu_exact
from laminate.pretrained.config_fields import ConfigFields
from laminate.pretrained.keymaps.base import load_new
from laminate.pretrained.keymaps.dc_autoencoder import IGNORED, autoencoder_slots
from laminate.types import RandomKey

Make = Callable[[RandomKey], DcAutoencoder]

_RMS = partial(RMSNorm, eps=1e-5, bias=True)
_NORMS: dict[str, PostNorm] = {"rms_norm": _RMS, "batch_norm": BatchNorm}
_ACTIVATIONS: dict[str, Activation] = {
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "relu": jax.nn.relu,
    "gelu": gelu_exact,
    "mish": jax.nn.mish,
}
_ATTENDED = {"ResBlock": False, "EfficientViTBlock": True}
_WIDTHS = (128, 256, 512, 512, 1024, 1024)
_KERNELS = ((), (), (), (5,), (5,), (5,))


def autoencoder_dc(config: Mapping[str, Any]) -> Make:
    """What makes the network of a `config.json` of diffusers' `AutoencoderDC`.

    Raises ValueError for a field that is not known, or a value that the network does not cover.
    """
    fields = ConfigFields("AutoencoderDC", config)
    channels, latent_dim = fields.count("in_channels", 3), fields.count("latent_channels", 32)
    head_dim = fields.count("attention_head_dim", 32)
    # Each of the two asks for one word: whatever else stands there means the other way.
    unshuffles = fields.text("downsample_block_type", "pixel_unshuffle") == "pixel_unshuffle"
    interpolates = fields.text("upsample_block_type", "pixel_shuffle") == "interpolate"
    shortcuts = (fields.flag("encoder_out_shortcut", True), fields.flag("decoder_in_shortcut", True))
    stages = (
        _stages(fields, "encoder", (2, 2, 2, 3, 3, 3), head_dim),
        _stages(fields, "decoder", (3,) * 6, head_dim),
    )
    for half, (widths, _, _), around in zip(("encoder", "decoder"), stages, shortcuts, strict=True):
        if around and widths[-1] % latent_dim:
            wanted = (
                f"what divides the last width of {half}_block_out_channels, {widths[-1]}, for its shortcut"
            )
            fields.refuse("latent_channels", latent_dim, wanted)
    encoder = partial(
        DcEncoder,
        latent_dim,
        *stages[0],
        channels=channels,
        down="unshuffle" if unshuffles else "strided",
        out_shortcut="average" if shortcuts[0] else "none",
    )
    decoder = partial(
        DcDecoder,
        latent_dim,
        *stages[1],
        channels=channels,
        up="nearest" if interpolates else "shuffle",
        in_shortcut="duplicate" if shortcuts[1] else "none",
        out_norm=_RMS,
        out_activation=fields.word("decoder_conv_act_fn", _ACTIVATIONS, "relu"),
    )
    scaling = LatentScaling(scale=(fields.number("scaling_factor", 1.0),))
    fields.none_left()

    def make(key: RandomKey) -> DcAutoencoder:
        k_encoder, k_decoder = jax.random.split(key)
        return DcAutoencoder(encoder(key=k_encoder), decoder(key=k_decoder), scaling=scaling)

    return make


def load_autoencoder_dc(
    config: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    *,
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
    on_host: bool = False,
) -> DcAutoencoder:
    """The network of `autoencoder_dc` with published weights, stored in `dtype`.

    Raises ValueError for a configuration that is not covered, KeyMapError for weights that do not fit it.
    """
    make = autoencoder_dc(config)
    return load_new(make, autoencoder_slots, weights, ignored=IGNORED, dtype=dtype, on_host=on_host)


def _stages(
    fields: ConfigFields, half: Literal["encoder", "decoder"], depths: tuple[int, ...], head_dim: int
) -> tuple[tuple[int, ...], tuple[int, ...], list[MakeBlock]]:
    """Widths, depths and blocks of the stages of one half, from the finest on."""
    widths = fields.counts(f"{half}_block_out_channels", _WIDTHS)
    stages = len(widths)
    depths = fields.counts(f"{half}_layers_per_block", depths, least=0, length=stages)
    if not any(depths):
        fields.refuse(f"{half}_layers_per_block", list(depths), "a layer in some stage at least")
    attended = fields.words(f"{half}_block_types", _ATTENDED, "ResBlock", stages)
    kernels = fields.kernels(f"{half}_qkv_multiscales", _KERNELS, stages)
    norms: tuple[PostNorm, ...] = (_RMS,) * stages
    activations: tuple[Activation, ...] = (jax.nn.silu,) * stages
    if half == "decoder":  # the encoder's are always these
        norms = fields.words("decoder_norm_types", _NORMS, "rms_norm", stages)
        activations = fields.words("decoder_act_fns", _ACTIVATIONS, "silu", stages)
    if narrow := [w for w, a, d in zip(widths, attended, depths, strict=True) if a and d and w < head_dim]:
        raise ValueError(
            f"The configuration of AutoencoderDC has attention_head_dim={head_dim}; covered is at most the width of "
            f"each stage with attention, of which {half}_block_out_channels has one of {narrow[0]}."
        )
    blocks: list[MakeBlock] = [
        partial(
            LinearAttentionBlock,
            head_dim=head_dim,
            heads=width // head_dim,
            kernels=around,
            norm=norm,
            local_norm=_RMS,
        )
        if attends
        else partial(ResBlock, norm=norm, activation=activation)
        for width, attends, around, norm, activation in zip(
            widths, attended, kernels, norms, activations, strict=True
        )
    ]
    return widths, depths, blocks
