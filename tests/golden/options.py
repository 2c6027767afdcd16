"""Reference configurations into our modules; an option that is not understood is named, never passed over."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from laminate.models.vit import Trunk, Vit
from laminate.nn import LayerNorm, Mlp, PatchEmbed, RMSNorm, SwiGlu, gelu_exact, gelu_tanh, zeros

from .reader import CannotRun

_NORMS: dict[str, type[LayerNorm] | type[RMSNorm]] = {"ln": LayerNorm, "rms": RMSNorm}


class Options:
    """A JSON object from which every field has to be taken, so that none is silently ignored."""

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        self.name = name
        self._left = dict(values)

    def take(self, field: str, default: Any = None) -> Any:
        return self._left.pop(field, default)

    def choose(self, field: str, choices: Mapping[str, Any], default: str) -> Any:
        value = self.take(field, default)
        if value not in choices:
            raise CannotRun(f"config {self.name}.{field}={value!r} is none of {sorted(choices)}")
        return choices[value]

    def ignore(self, *fields: str) -> None:
        """Take fields that cannot change an output in evaluation mode."""
        for field in fields:
            self.take(field)

    def none_left(self) -> None:
        if self._left:
            raise CannotRun(
                f"config has options that the runner does not know: {self.name}.{sorted(self._left)}"
            )


def trunk(name: str, values: Mapping[str, Any]) -> tuple[Trunk, bool]:
    """The transformer of a `TransformerConfig`, and whether its attention is causal."""
    options = Options(name, values)
    embed_dim, head_dim, input_dim = (options.take(field) for field in ("embed_dim", "head_dim", "input_dim"))
    split = head_dim is not None and input_dim is not None
    if (embed_dim is not None) == split:
        raise CannotRun(f"config {name} needs either embed_dim, or head_dim and input_dim")
    exact = {True: gelu_tanh, False: gelu_exact}
    gelu = partial(Mlp, activation=exact[options.take("gelu_approximate", True)])
    attention_recomputed = options.take("selective", False)
    made = Trunk(
        dim=input_dim if split else embed_dim,
        depth=options.take("num_layers", 12),
        heads=options.take("num_heads", 3),
        hidden=options.take("mlp_hidden_dim", 768),
        head_dim=head_dim if split else None,
        mlp=options.choose("mlp_type", {"gelu": gelu, "swiglu": SwiGlu}, "gelu"),
        norm=options.choose("norm_type", _NORMS, "ln"),
        norm_eps=options.take("layer_norm_eps", 1e-6),
        qk_norm=options.take("qk_norm", True),
        attention_bias=options.take("qkv_bias", True),
        mlp_bias=options.take("mlp_bias", True),
        init=zeros,
        remat="attention" if attention_recomputed else "none",
    )
    causal = options.take("causal", False)
    options.ignore("drop_mlp", "drop_proj", "drop_rate", "implementation")
    options.ignore("linear_init_std", "linear_kernel_init")
    options.none_left()
    return made, causal


def vit(name: str, values: Mapping[str, Any]) -> tuple[Vit, bool]:
    """The network of a `ViTConfig` with weights to be replaced, and whether its attention is causal."""
    options = Options(name, values)
    body, causal = trunk(f"{name}.transformer", options.take("transformer", {}))
    patch = options.take("patch")
    use_positions = options.take("use_pos_embeds", True)
    kind = options.choose("pos_embed_type", {"learned": "learned", "sincos": "sincos"}, "learned")
    make = partial(
        Vit,
        body,
        tokens=options.take("num_patches"),
        in_dim=options.take("input_dim"),
        patch=None if patch is None else _patch(f"{name}.patch", patch, body.dim),
        out_dim=options.take("output_dim"),
        registers=options.take("num_registers", 0),
        positions=kind if use_positions else "none",
        init=zeros,
        key=jax.random.key(0),
    )
    use_cls = options.take("use_cls", False)
    options.ignore("init_std")
    options.none_left()
    # Compiled as one program, and not as one for each array.
    return jax.jit(partial(make, cls_token=True) if use_cls else make)(), causal


def causal_mask(tokens: int) -> np.ndarray:
    """True where a token may attend: to itself and to those before it."""
    return np.tri(tokens, dtype=bool)


def _patch(name: str, values: Mapping[str, Any], dim: int) -> PatchEmbed:
    options = Options(name, values)
    made = PatchEmbed(
        _square(options, "img_size", 224),
        _square(options, "patch_size", 16),
        dim,
        channels=options.take("in_channels", 3),
        init=zeros,
        key=jax.random.key(0),
    )
    options.ignore("init_std", "kernel_init")
    options.none_left()
    return made


def _square(options: Options, field: str, default: int) -> int:
    value = options.take(field, default)
    sides = set(value) if isinstance(value, list) else {value}
    if len(sides) != 1:
        raise CannotRun(f"config {options.name}.{field}={value} is not square")
    return int(sides.pop())
