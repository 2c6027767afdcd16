"""The pre-norm transformer block."""

import equinox as eqx
import jax
from jaxtyping import Array, Float

from laminate.nn.attention import Attention, Mask
from laminate.nn.dropout import drop_path
from laminate.nn.mlp import Mlp, SwiGlu
from laminate.nn.norm import LayerNorm, RMSNorm
from laminate.types import RandomKey, Scalar


class Block(eqx.Module):
    """`x + attention(norm(x))`, then `x + mlp(norm(x))` (Xiong et al. 2020), from parts made by the caller."""

    attention_norm: LayerNorm | RMSNorm
    attention: Attention
    mlp_norm: LayerNorm | RMSNorm
    mlp: Mlp | SwiGlu

    @jax.named_scope("block")
    def __call__(
        self,
        x: Float[Array, "tokens dim"],
        mask: Mask | None = None,
        *,
        drop_rate: Scalar | None = None,
        key: RandomKey | None = None,
    ) -> Float[Array, "tokens dim"]:
        k_attention, k_mlp, k_path1, k_path2 = (None,) * 4 if key is None else jax.random.split(key, 4)
        branch = self.attention(self.attention_norm(x), mask, key=k_attention)
        x = x + drop_path(branch, drop_rate, key=k_path1)
        branch = self.mlp(self.mlp_norm(x), key=k_mlp)
        return x + drop_path(branch, drop_rate, key=k_path2)

    def attention_weights(
        self, x: Float[Array, "tokens dim"], mask: Mask | None = None
    ) -> Float[Array, "heads tokens tokens"]:
        """The attention probabilities that `__call__` uses on the same input."""
        return self.attention.weights(self.attention_norm(x), mask)
