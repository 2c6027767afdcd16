"""The pre-norm transformer block, with its two branches one after the other or side by side."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.nn.attention import Attention, Rotation, Sight
from laminate.nn.dropout import drop_path
from laminate.nn.mlp import Mlp, SwiGlu
from laminate.nn.norm import LayerNorm, RMSNorm
from laminate.types import RandomKey, Scalar


class Block(eqx.Module):
    """`x + attention(norm(x))`, then `x + mlp(norm(x))` (Xiong et al. 2020), from parts made by the caller.

    With layer scale (Touvron et al. 2021) each branch is multiplied, channel by channel, before it is added.
    """

    attention_norm: LayerNorm | RMSNorm
    attention: Attention
    mlp_norm: LayerNorm | RMSNorm
    mlp: Mlp | SwiGlu
    attention_scale: Float[Array, " dim"] | None = None
    mlp_scale: Float[Array, " dim"] | None = None

    @jax.named_scope("block")
    def __call__(
        self,
        x: Float[Array, "tokens dim"],
        mask: Sight = None,
        rotate: Rotation | None = None,
        *,
        drop_rate: Scalar | None = None,
        key: RandomKey | None = None,
    ) -> Float[Array, "tokens dim"]:
        k_attention, k_mlp, k_path1, k_path2 = (None,) * 4 if key is None else jax.random.split(key, 4)
        branch = self.attention(self.attention_norm(x), mask, rotate, key=k_attention)
        x = x + drop_path(_scaled(branch, self.attention_scale), drop_rate, key=k_path1)
        branch = self.mlp(self.mlp_norm(x), key=k_mlp)
        return x + drop_path(_scaled(branch, self.mlp_scale), drop_rate, key=k_path2)

    def attention_weights(
        self, x: Float[Array, "tokens dim"], mask: Sight = None, rotate: Rotation | None = None
    ) -> Float[Array, "heads tokens tokens"]:
        """The attention probabilities that `__call__` uses on the same input."""
        return self.attention.weights(self.attention_norm(x), mask, rotate)


class ParallelBlock(eqx.Module):
    """`x + scale * (attention(norm(x)) + mlp(norm(x)))`: both branches read one norm, and share one layer scale.

    Wang & Komatsuzaki (2021) and, with layer scale, ViTok-v2. The sum is dropped as a whole, if at all.
    """

    norm: LayerNorm | RMSNorm
    attention: Attention
    mlp: Mlp | SwiGlu
    scale: Float[Array, " dim"] | None = None

    @jax.named_scope("parallel_block")
    def __call__(
        self,
        x: Float[Array, "tokens dim"],
        mask: Sight = None,
        rotate: Rotation | None = None,
        *,
        drop_rate: Scalar | None = None,
        key: RandomKey | None = None,
    ) -> Float[Array, "tokens dim"]:
        k_attention, k_mlp, k_path = (None,) * 3 if key is None else jax.random.split(key, 3)
        y = self.norm(x)
        branch = self.attention(y, mask, rotate, key=k_attention) + self.mlp(y, key=k_mlp)
        return x + drop_path(_scaled(branch, self.scale), drop_rate, key=k_path)

    def attention_weights(
        self, x: Float[Array, "tokens dim"], mask: Sight = None, rotate: Rotation | None = None
    ) -> Float[Array, "heads tokens tokens"]:
        """The attention probabilities that `__call__` uses on the same input."""
        return self.attention.weights(self.norm(x), mask, rotate)


def _scaled(branch: Float[Array, "tokens dim"], scale: Float[Array, " dim"] | None) -> Array:
    return branch if scale is None else branch * jnp.broadcast_to(scale.astype(branch.dtype), branch.shape)
