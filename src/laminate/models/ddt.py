"""DiT^DH: a diffusion transformer with a wide, shallow head of its own (RAE; Wang et al. 2025, DDT)."""

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int

from laminate.models.dit import (
    Latent,
    conditioned_stack,
    head_dim,
    latent_of,
    output_norm,
    time_embed,
    with_cls,
    without_cls,
)
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
    ConditionedOutput,
    Initializer,
    LabelEmbed,
    Linear,
    Rotary,
    Stack,
    TimeEmbed,
    trunc_normal,
    xavier_uniform,
)
from laminate.types import RandomKey, Scalar


class Ddt(eqx.Module):
    """The velocity at a noisy latent `x`, a time `t` and a class `label`, from an encoder and a head.

    The encoder is a `Dit` without output, conditioned on `silu(time + label)`. `silu(time + tokens)` of its tokens,
    brought to the head's width, is the condition of the head token by token; the head sees `x` anew, without
    added positions. `t` is 0 at noise and 1 at data; a fresh network returns zeros.
    """

    encoder_embed: Embedding
    head_embed: Embedding
    positions: Table
    encoder_rotary: Rotary | None
    head_rotary: Rotary | None
    time: TimeEmbed
    label: LabelEmbed
    cls_in: Linear | None
    cls_out: Linear | None
    encoder: Stack
    project: Linear | None
    head: Stack
    output: ConditionedOutput
    shape: LatentShape = eqx.field(static=True)

    def __init__(
        self,
        encoder: Trunk,
        head: Trunk,
        shape: LatentShape,
        *,
        classes: int = 1000,
        null_class: bool = True,
        positions: Positions = "learned",
        rotary: bool = True,
        shift: bool = True,
        norm_affine: bool = False,
        cls_dim: int | None = None,
        time_backwards: bool = False,
        embed_init: Initializer = trunc_normal(0.01),
        init: Initializer = trunc_normal(0.02),
        key: RandomKey,
    ):
        keys = iter(jax.random.split(key, 11))
        self.shape = shape
        self.encoder_embed = shape.embedding(encoder.dim, bias=True, init=embed_init, key=next(keys))
        self.head_embed = shape.embedding(head.dim, bias=True, init=embed_init, key=next(keys))
        self.positions = position_table(positions, shape, encoder.dim, init=init, key=next(keys))
        self.encoder_rotary = shape.rotary(head_dim(encoder)) if rotary else None
        self.head_rotary = shape.rotary(head_dim(head)) if rotary else None
        self.time = time_embed("fourier", encoder.dim, backwards=time_backwards, init=init, key=next(keys))
        self.label = LabelEmbed(classes, encoder.dim, null_class=null_class, init=init, key=next(keys))
        k_in, k_out = next(keys), next(keys)
        self.cls_in = None if cls_dim is None else Linear(cls_dim, encoder.dim, init=xavier_uniform, key=k_in)
        self.cls_out = None if cls_dim is None else Linear(head.dim, cls_dim, init=xavier_uniform, key=k_out)
        self.encoder = conditioned_stack(encoder, shift=shift, norm_affine=norm_affine, key=next(keys))
        self.head = conditioned_stack(head, shift=shift, norm_affine=norm_affine, key=next(keys))
        k_project = next(keys)
        same = encoder.dim == head.dim
        self.project = None if same else Linear(encoder.dim, head.dim, init=xavier_uniform, key=k_project)
        self.output = ConditionedOutput(output_norm(head), head.dim, shape.token_dim, key=next(keys))

    def __call__(
        self, x: Latent, t: Scalar, label: Int[Array, ""] | None = None, *, key: RandomKey | None = None
    ) -> Latent:
        """The velocity, in the shape and dtype of `x`. `label=None` is the null class."""
        k_encoder, k_head = (None, None) if key is None else jax.random.split(key)
        return self.decode(x, self.encode(x, t, label, key=k_encoder), key=k_head)

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
        k_encoder, k_head = (None, None) if key is None else jax.random.split(key)
        velocity, of_cls = self._decode(x, cls, self._encode(x, cls, t, label, key=k_encoder), key=k_head)
        assert of_cls is not None
        return velocity, of_cls

    def encode(
        self, x: Latent, t: Scalar, label: Int[Array, ""] | None = None, *, key: RandomKey | None = None
    ) -> Float[Array, "tokens dim"]:
        """The encoder's tokens: what the head is conditioned on, before it is brought to the head's width."""
        return self._encode(x, None, t, label, key=key)

    def decode(
        self, x: Latent, encoded: Float[Array, "tokens dim"], *, key: RandomKey | None = None
    ) -> Latent:
        """The velocity at `x`, from tokens of `encode`."""
        return self._decode(x, None, encoded, key=key)[0]

    @jax.named_scope("ddt_encoder")
    def _encode(
        self,
        x: Latent,
        cls: Float[Array, " cls_dim"] | None,
        t: Scalar,
        label: Int[Array, ""] | None,
        *,
        key: RandomKey | None,
    ) -> Float[Array, "all_tokens dim"]:
        time = self.time(t)
        condition = jax.nn.silu(time + self.label(label)).astype(x.dtype)[None]
        s = with_cls(add_positions(self.encoder_embed(x), self.positions), cls, self.cls_in)
        s = self.encoder(s, condition, self.encoder_rotary, key=key)
        return jax.nn.silu(time.astype(s.dtype)[None] + s)

    @jax.named_scope("ddt_head")
    def _decode(
        self,
        x: Latent,
        cls: Float[Array, " cls_dim"] | None,
        encoded: Float[Array, "all_tokens dim"],
        *,
        key: RandomKey | None,
    ) -> tuple[Latent, Float[Array, " cls_dim"] | None]:
        s = encoded if self.project is None else self.project(encoded)
        h = with_cls(self.head_embed(x), cls, self.cls_in, self.project)
        h, of_cls = without_cls(self.head(h, s, self.head_rotary, key=key), cls, self.cls_out)
        return latent_of(self.output(h, s if cls is None else s[1:]), self.shape, False), of_cls
