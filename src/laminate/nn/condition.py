"""Layers whose shift, scale and gate come from a condition (adaLN-zero, Peebles & Xie 2023).

A condition has one row for all tokens, or one row for each (as the wide head of RAE's DiT has it).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.nn.attention import Attention, Rotation
from laminate.nn.dropout import drop_path
from laminate.nn.init import Initializer, zeros
from laminate.nn.linear import Linear
from laminate.nn.mlp import Mlp, SwiGlu
from laminate.nn.norm import LayerNorm, RMSNorm
from laminate.nn.sight import Sight
from laminate.types import RandomKey, Scalar

Condition = Float[Array, "rows dim"]


class Modulation(eqx.Module):
    """`linear(silu(condition))`, cut into `parts` pieces of width `dim`. The map starts at zero, or at `init`."""

    linear: Linear
    parts: int = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        parts: int,
        *,
        condition_dim: int | None = None,
        bias: bool = True,
        init: Initializer = zeros,
        key: RandomKey,
    ):
        self.linear = Linear(
            dim if condition_dim is None else condition_dim, parts * dim, bias=bias, init=init, key=key
        )
        self.parts = parts

    def __call__(self, condition: Condition) -> tuple[Float[Array, "rows dim"], ...]:
        return tuple(jnp.split(self.linear(jax.nn.silu(condition)), self.parts, axis=-1))


def bounded(x: Float[Array, "..."], bound: float) -> Float[Array, "..."]:
    """`bound * tanh(x)`: a scale or a gate that cannot run away."""
    return bound * jnp.tanh(x)


def modulate(
    x: Float[Array, "tokens dim"], scale: Float[Array, "rows dim"], shift: Float[Array, "rows dim"] | None
) -> Float[Array, "tokens dim"]:
    """`x (1 + scale) + shift`."""
    y = x * (1.0 + scale)
    return y if shift is None else y + shift


class ConditionedBlock(eqx.Module):
    """The pre-norm transformer block with modulated branches, from parts made by the caller.

    `x + gate1 attention(norm(x) (1 + scale1) + shift1)`, then the same with the MLP. The modulation's parts are
    `shift1, scale1, gate1, shift2, scale2, gate2`; four parts are `scale1, gate1, scale2, gate2`, without shifts.
    """

    attention_norm: LayerNorm | RMSNorm
    attention: Attention
    mlp_norm: LayerNorm | RMSNorm
    mlp: Mlp | SwiGlu
    modulation: Modulation

    @jax.named_scope("conditioned_block")
    def __call__(
        self,
        x: Float[Array, "tokens dim"],
        condition: Condition,
        rotate: Rotation | None = None,
        *,
        drop_rate: Scalar | None = None,
        key: RandomKey | None = None,
    ) -> Float[Array, "tokens dim"]:
        k_attention, k_mlp, k_path1, k_path2 = (None,) * 4 if key is None else jax.random.split(key, 4)
        parts = self.modulation(condition)
        if len(parts) == 6:
            shift1, scale1, gate1, shift2, scale2, gate2 = parts
        else:
            (scale1, gate1, scale2, gate2), shift1, shift2 = parts, None, None
        y = modulate(self.attention_norm(x), scale1, shift1)
        x = x + drop_path(gate1 * self.attention(y, rotate=rotate, key=k_attention), drop_rate, key=k_path1)
        y = modulate(self.mlp_norm(x), scale2, shift2)
        return x + drop_path(gate2 * self.mlp(y, key=k_mlp), drop_rate, key=k_path2)


class SharedBlock(eqx.Module):
    """Parallel branches under a modulation that all layers share, and that each shifts by its own (ViTok-v2).

    With `shift, scale, attention_gate, mlp_gate = shared + offset`, all but the shift `bounded`, and
    `y = norm(x) (1 + scale) + shift`: `x + layer_scale * (attention_gate attention(y) + mlp_gate mlp(y))`.
    """

    norm: LayerNorm | RMSNorm
    attention: Attention
    mlp: Mlp | SwiGlu
    offset: Float[Array, "4 dim"]
    layer_scale: Float[Array, " dim"] | None
    bound: float = eqx.field(static=True, default=3.0)

    @jax.named_scope("shared_block")
    def __call__(
        self,
        x: Float[Array, "tokens dim"],
        shared: Float[Array, "4 dim"],
        rotate: Rotation | None = None,
        mask: Sight = None,
        *,
        drop_rate: Scalar | None = None,
        key: RandomKey | None = None,
    ) -> Float[Array, "tokens dim"]:
        k_attention, k_mlp, k_path = (None,) * 3 if key is None else jax.random.split(key, 3)
        parts = shared + self.offset.astype(shared.dtype)
        scale, attention_gate, mlp_gate = jnp.split(bounded(parts[1:], self.bound), 3)
        y = modulate(self.norm(x), scale, parts[:1])
        branch = attention_gate * self.attention(y, mask, rotate, key=k_attention)
        branch = branch + mlp_gate * self.mlp(y, key=k_mlp)
        if self.layer_scale is not None:
            branch = branch * jnp.broadcast_to(self.layer_scale.astype(x.dtype), x.shape)
        return x + drop_path(branch, drop_rate, key=k_path)


class ConditionedOutput(eqx.Module):
    """`linear(norm(x) (1 + scale) + shift)`; modulation and linear map start at zero, so the output does, or at `init`.

    With a `bound` the scale is `bounded`, and the modulation has no bias (ViTok-v2).
    """

    norm: LayerNorm | RMSNorm
    modulation: Modulation
    linear: Linear
    bound: float | None = eqx.field(static=True)

    def __init__(
        self,
        norm: LayerNorm | RMSNorm,
        dim: int,
        out_dim: int,
        *,
        bound: float | None = None,
        init: Initializer = zeros,
        key: RandomKey,
    ):
        k_modulation, k_linear = jax.random.split(key)
        self.norm = norm
        self.modulation = Modulation(dim, 2, bias=bound is None, init=init, key=k_modulation)
        self.linear = Linear(dim, out_dim, init=init, key=k_linear)
        self.bound = bound

    @jax.named_scope("conditioned_output")
    def __call__(self, x: Float[Array, "tokens dim"], condition: Condition) -> Float[Array, "tokens out_dim"]:
        shift, scale = self.modulation(condition)
        if self.bound is not None:
            scale = bounded(scale, self.bound)
        return self.linear(modulate(self.norm(x), scale, shift))
