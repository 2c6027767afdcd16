"""The diffusion transformer with adaLN-zero: LightningDiT, over tokens and over images of features."""

from functools import partial
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from laminate.models.latent_shape import (
    Embedding,
    LatentShape,
    Positions,
    Table,
    add_positions,
    position_table,
)
from laminate.models.vit import Trunk
from laminate.nn import (
    ConditionedBlock,
    ConditionedOutput,
    FourierFeatures,
    Initializer,
    LabelEmbed,
    LayerNorm,
    Linear,
    Modulation,
    RMSNorm,
    Rotary,
    SinusoidalFeatures,
    Stack,
    TimeEmbed,
    trunc_normal,
    xavier_uniform,
)
from laminate.types import RandomKey, Scalar

TimeFeatures = Literal["fourier", "sinusoidal"]
Latent = Float[Array, "tokens features"] | Float[Array, "height width channels"]


class Dit(eqx.Module):
    """The velocity at a noisy latent `x`, a time `t` and a class `label` (Peebles & Xie 2023; Yao et al. 2025).

    Tokens are embedded, positions added, `depth` conditioned blocks applied, and one conditioned linear map gives
    the output. The condition is the sum of the embeddings of time and label. `rotary` turns queries and keys as
    well; `learn_sigma` doubles the output, whose second half is not returned. With `cls_dim` a class token of the
    teacher is denoised along (`joint`).

    `t` is 0 at noise and 1 at data. Blocks and output start at zero, so a fresh network returns zeros.
    """

    embed: Embedding
    positions: Table
    rotary: Rotary | None
    time: TimeEmbed
    label: LabelEmbed
    cls_in: Linear | None
    cls_out: Linear | None
    stack: Stack
    output: ConditionedOutput
    shape: LatentShape = eqx.field(static=True)
    learn_sigma: bool = eqx.field(static=True)

    def __init__(
        self,
        trunk: Trunk,
        shape: LatentShape,
        *,
        classes: int = 1000,
        null_class: bool = True,
        positions: Positions = "sincos",
        rotary: bool = True,
        shift: bool = True,
        norm_affine: bool = True,
        learn_sigma: bool = False,
        cls_dim: int | None = None,
        time_features: TimeFeatures = "fourier",
        time_backwards: bool = False,
        embed_init: Initializer = xavier_uniform,
        init: Initializer = trunc_normal(0.02),
        key: RandomKey,
    ):
        k_embed, k_positions, k_time, k_label, k_in, k_out, k_stack, k_output = jax.random.split(key, 8)
        dim = trunk.dim
        self.shape = shape
        self.learn_sigma = learn_sigma
        self.embed = shape.embedding(dim, bias=trunk.mlp_bias, init=embed_init, key=k_embed)
        self.positions = position_table(positions, shape, dim, init=init, key=k_positions)
        self.rotary = shape.rotary(head_dim(trunk)) if rotary else None
        self.time = time_embed(time_features, dim, backwards=time_backwards, init=init, key=k_time)
        self.label = LabelEmbed(classes, dim, null_class=null_class, init=init, key=k_label)
        self.cls_in = None if cls_dim is None else Linear(cls_dim, dim, init=embed_init, key=k_in)
        self.cls_out = None if cls_dim is None else Linear(dim, cls_dim, init=embed_init, key=k_out)
        self.stack = conditioned_stack(trunk, shift=shift, norm_affine=norm_affine, key=k_stack)
        out_dim = shape.token_dim * (2 if learn_sigma else 1)
        self.output = ConditionedOutput(output_norm(trunk), dim, out_dim, key=k_output)

    def __call__(
        self, x: Latent, t: Scalar, label: Int[Array, ""] | None = None, *, key: RandomKey | None = None
    ) -> Latent:
        """The velocity, in the shape and dtype of `x`. `label=None` is the null class."""
        return self._run(x, None, t, label, key=key)[0]

    def joint(
        self,
        x: Latent,
        cls: Float[Array, " cls_dim"],
        t: Scalar,
        label: Int[Array, ""] | None = None,
        *,
        key: RandomKey | None = None,
    ) -> tuple[Latent, Float[Array, " cls_dim"]]:
        """The velocities of a latent and of the class token beside it, which stands in front and is not rotated."""
        velocity, of_cls = self._run(x, cls, t, label, key=key)
        assert of_cls is not None
        return velocity, of_cls

    @jax.named_scope("dit")
    def _run(
        self,
        x: Latent,
        cls: Float[Array, " cls_dim"] | None,
        t: Scalar,
        label: Int[Array, ""] | None,
        *,
        key: RandomKey | None,
    ) -> tuple[Latent, Float[Array, " cls_dim"] | None]:
        condition = (self.time(t).astype(jnp.float32) + self.label(label).astype(jnp.float32)).astype(
            x.dtype
        )[None]
        h = with_cls(add_positions(self.embed(x), self.positions), cls, self.cls_in)
        h = self.stack(h, condition, self.rotary, key=key)
        h, of_cls = without_cls(h, cls, self.cls_out)
        return latent_of(self.output(h, condition), self.shape, self.learn_sigma), of_cls


def head_dim(trunk: Trunk) -> int:
    """Width of one attention head."""
    return trunk.dim // trunk.heads if trunk.head_dim is None else trunk.head_dim


def time_embed(
    features: TimeFeatures, dim: int, *, backwards: bool, init: Initializer, key: RandomKey
) -> TimeEmbed:
    """The time embedding with 256 random or 128 geometric frequencies."""
    k_features, k_mlp = jax.random.split(key)
    if features not in ("fourier", "sinusoidal"):
        raise ValueError(f"time_features={features!r} is neither fourier nor sinusoidal.")
    made = FourierFeatures(key=k_features) if features == "fourier" else SinusoidalFeatures()
    return TimeEmbed(made, dim, backwards=backwards, init=init, key=k_mlp)


def conditioned_stack(trunk: Trunk, *, shift: bool, norm_affine: bool, key: RandomKey) -> Stack:
    """The layers of `trunk`, each with a modulation; a LayerNorm without `norm_affine` has no scale and bias."""

    affine = norm_affine or trunk.norm is RMSNorm
    norm = partial(
        trunk.norm, trunk.dim, eps=trunk.norm_eps, scale=affine, bias=affine and trunk.norm is not RMSNorm
    )

    def layer(key: RandomKey) -> ConditionedBlock:
        k_block, k_modulation = jax.random.split(key)
        attention, mlp = trunk.branches(k_block)
        modulation = Modulation(trunk.dim, 6 if shift else 4, key=k_modulation)
        return ConditionedBlock(norm(), attention, norm(), mlp, modulation)

    return trunk.stack(key, layer)


def output_norm(trunk: Trunk) -> LayerNorm | RMSNorm:
    """The last norm: an RMSNorm with its scale, or a LayerNorm without scale and bias."""
    if trunk.norm is RMSNorm:
        return RMSNorm(trunk.dim, eps=trunk.norm_eps)
    return LayerNorm(trunk.dim, eps=trunk.norm_eps, scale=False, bias=False)


def with_cls(
    x: Float[Array, "tokens dim"], cls: Float[Array, " cls_dim"] | None, *embed: Linear | None
) -> Float[Array, "all_tokens dim"]:
    """`x` behind the class token, if there is one, which goes through the first of `embed` and those that follow."""
    if cls is None:
        return x
    if embed[0] is None:
        raise ValueError("This network does not denoise a class token: build it with cls_dim.")
    token = cls.astype(x.dtype)
    for linear in embed:
        token = token if linear is None else linear(token)
    return jnp.concatenate([token[None], x])


def without_cls(
    x: Float[Array, "all_tokens dim"], cls: Float[Array, " cls_dim"] | None, project: Linear | None
) -> tuple[Float[Array, "tokens dim"], Float[Array, " cls_dim"] | None]:
    """The tokens, and what the network says of the class token in front of them."""
    if cls is None or project is None:
        return x, None
    return x[1:], project(x[0])


def latent_of(tokens: Float[Array, "tokens dim"], shape: LatentShape, learn_sigma: bool) -> Latent:
    """The latent that output tokens stand for, without a learned variance."""
    latent = shape.assemble(tokens)
    return latent[..., : shape.channels] if learn_sigma else latent
