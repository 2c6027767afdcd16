"""Layers whose shift, scale and gate come from a condition (adaLN-zero, Peebles & Xie 2023).

A condition has one row for all tokens, or one row for each (as the wide head of RAE's DiT has it).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.nn.attention import Attention, Rotation
from laminate.nn.dropout import drop_path
from laminate.nn.init import zeros
from laminate.nn.linear import Linear
from laminate.nn.mlp import Mlp, SwiGlu
from laminate.nn.norm import LayerNorm, RMSNorm
from laminate.types import RandomKey, Scalar

Condition = Float[Array, "rows dim"]


class Modulation(eqx.Module):
    """`linear(silu(condition))`, cut into `parts` pieces of width `dim`; the linear map starts at zero."""

    linear: Linear
    parts: int = eqx.field(static=True)

    def __init__(self, dim: int, parts: int, *, condition_dim: int | None = None, key: RandomKey):
        self.linear = Linear(
            dim if condition_dim is None else condition_dim, parts * dim, init=zeros, key=key
        )
        self.parts = parts

    def __call__(self, condition: Condition) -> tuple[Float[Array, "rows dim"], ...]:
        return tuple(jnp.split(self.linear(jax.nn.silu(condition)), self.parts, axis=-1))


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


class ConditionedOutput(eqx.Module):
    """`linear(norm(x) (1 + scale) + shift)`; modulation and linear map start at zero, so the output does."""

    norm: LayerNorm | RMSNorm
    modulation: Modulation
    linear: Linear

    def __init__(self, norm: LayerNorm | RMSNorm, dim: int, out_dim: int, *, key: RandomKey):
        k_modulation, k_linear = jax.random.split(key)
        self.norm = norm
        self.modulation = Modulation(dim, 2, key=k_modulation)
        self.linear = Linear(dim, out_dim, init=zeros, key=k_linear)

    @jax.named_scope("conditioned_output")
    def __call__(self, x: Float[Array, "tokens dim"], condition: Condition) -> Float[Array, "tokens out_dim"]:
        shift, scale = self.modulation(condition)
        return self.linear(modulate(self.norm(x), scale, shift))
