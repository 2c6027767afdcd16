"""The generators of reference configurations, with weights to be replaced."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import jax
import numpy as np

from laminate.models import Ddt, Dit, FlatLatent, ImageLatent, Trunk
from laminate.nn import LayerNorm, Mlp, RMSNorm, SwiGlu, gelu_tanh, zeros

from ..options import Options, trunk
from ..reader import CannotRun

_KEY = jax.random.key(0)

N = TypeVar("N")


def _at_once(make: Callable[[], N]) -> N:
    """What `make` builds, compiled as one program and not as one for each array."""
    return jax.jit(make)()


def flatdino_dit(options: Options) -> Dit:
    """The network of a `DiTConfig`; fields of the file that are not the network's are left in `options`."""
    body, causal = trunk("transformer", options.take("transformer", {}))
    if causal:
        raise CannotRun("config transformer.causal=true is not an option of the generator")
    _require_no_registers(options)
    patch, channels = options.take("patch_embed"), options.take("in_channels", 768)
    tokens = options.take("num_tokens"), options.take("num_patches")
    if patch is None:
        count = next((n for n in tokens if n is not None), None)
        if count is None:
            raise CannotRun("config needs patch_embed, num_tokens or num_patches")
        shape = FlatLatent(count, channels)
    else:
        shape = _image(Options("patch_embed", patch), channels)
    return _at_once(
        lambda: Dit(
            body,
            shape,
            **_classes(options),
            rotary=options.take("use_rope", True),
            shift=not options.take("wo_shift", False),
            learn_sigma=options.take("learn_sigma", False),
            cls_dim=options.take("in_cls_dim"),
            embed_init=zeros,
            init=zeros,
            key=_KEY,
        )
    )


def flatdino_ddt(options: Options) -> Ddt:
    """The network of a `DiTDHConfig`."""
    _require_no_registers(options)
    size, channels, patch = (
        options.take("input_size", 16),
        options.take("in_channels", 768),
        options.take("patch_size", 1),
    )
    ratio = options.take("mlp_ratio", 4.0)
    layers = _layers(options, hidden=lambda dim: int(dim * ratio), qk_norm=None)
    encoder, head = (
        layers(*(options.take(f"{part}_{field}") for field in ("dim", "depth", "heads")))
        for part in ("encoder", "decoder")
    )
    positions = "sincos" if patch is not None else "learned"
    return _at_once(
        lambda: Ddt(
            encoder,
            head,
            FlatLatent(size, channels) if patch is None else ImageLatent(size, channels, patch),
            **_classes(options),
            positions=positions if options.take("use_pos_embed", True) else "none",
            rotary=options.take("use_rope", True),
            shift=not options.take("wo_shift", False),
            cls_dim=options.take("in_cls_dim"),
            embed_init=zeros,
            init=zeros,
            key=_KEY,
        )
    )


def torch_dit(options: Options, *, rae: bool) -> Dit:
    """The LightningDiT of RAE's second stage or, with its own time, of the LightningDiT project."""
    fourier = options.take("use_gembed", rae)
    options.ignore("use_checkpoint")
    layers = _torch_layers(options)
    return _at_once(
        lambda: Dit(
            layers(options.take("hidden_size"), options.take("depth"), options.take("num_heads")),
            _square(options),
            **_classes(options),
            positions="sincos" if options.take("use_pos_embed", True) else "none",
            rotary=options.take("use_rope", True),
            shift=not options.take("wo_shift", False),
            norm_affine=False,
            learn_sigma=options.take("learn_sigma", False),
            time_features="fourier" if fourier else "sinusoidal",
            time_backwards=rae,
            embed_init=zeros,
            init=zeros,
            key=_KEY,
        )
    )


def torch_ddt(options: Options) -> Ddt:
    """The DiT^DH of RAE's second stage."""
    layers = _torch_layers(options)
    sizes = [_pair(options.take(field)) for field in ("hidden_size", "depth", "num_heads")]
    encoder, head = (layers(*(size[part] for size in sizes)) for part in (0, 1))
    return _at_once(
        lambda: Ddt(
            encoder,
            head,
            _square(options),
            **_classes(options),
            positions="sincos" if options.take("use_pos_embed", True) else "none",
            rotary=options.take("use_rope", True),
            shift=not options.take("wo_shift", False),
            time_backwards=True,
            embed_init=zeros,
            init=zeros,
            key=_KEY,
        )
    )


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -3, -1)


def channels_first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.asarray(x), -1, -3)


def _torch_layers(options: Options) -> Callable[[int, int, int], Trunk]:
    ratio, swiglu = options.take("mlp_ratio", 4.0), options.take("use_swiglu", True)
    hidden = (lambda dim: int(2 / 3 * int(dim * ratio))) if swiglu else (lambda dim: int(dim * ratio))
    return _layers(options, hidden=hidden, qk_norm=partial(LayerNorm, eps=1e-5), swiglu=swiglu)


def _layers(
    options: Options,
    *,
    hidden: Callable[[int], int],
    qk_norm: Callable[[int], LayerNorm] | None,
    swiglu: bool | None = None,
) -> Callable[[int, int, int], Trunk]:
    """Trunks of a width, depth and heads; `qk_norm` is the one that goes with LayerNorm, None for the usual one."""
    swiglu = options.take("use_swiglu", True) if swiglu is None else swiglu
    rms, normed = options.take("use_rmsnorm", True), options.take("use_qknorm", False)

    def make(dim: int, depth: int, heads: int) -> Trunk:
        return Trunk(
            dim=dim,
            depth=depth,
            heads=heads,
            hidden=hidden(dim),
            mlp=SwiGlu if swiglu else partial(Mlp, activation=gelu_tanh),
            norm=RMSNorm if rms else LayerNorm,
            qk_norm=qk_norm if normed and qk_norm is not None and not rms else normed,
            init=zeros,
        )

    return make


def _classes(options: Options) -> dict[str, int | bool]:
    options.ignore("null_label")
    return {
        "classes": options.take("num_classes", 1000),
        "null_class": options.take("class_dropout_prob", 0.1) > 0,
    }


def _image(patch: Options, channels: int) -> ImageLatent:
    shape = ImageLatent(
        patch.take("img_size", 16), patch.take("in_channels", channels), patch.take("patch_size", 1)
    )
    patch.ignore("init_std", "kernel_init")
    patch.none_left()
    return shape


def _square(options: Options) -> ImageLatent:
    patch = options.take("patch_size", 1)
    if isinstance(patch, list):
        if len(set(patch)) != 1:
            raise CannotRun(f"config patch_size={patch}: both streams must have one patch size")
        patch = patch[0]
    return ImageLatent(options.take("input_size", 16), options.take("in_channels", 768), patch)


def _pair(value: int | list[int]) -> tuple[int, int]:
    first, second = value if isinstance(value, list) else (value, value)
    return first, second


def _require_no_registers(options: Options) -> None:
    if options.take("num_registers", 0):
        raise CannotRun("config num_registers is not an option of the generator")
