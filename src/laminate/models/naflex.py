"""Transformers over the patches of images of any size, and the autoencoder of two of them (ViTok-v2)."""

import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from laminate.models.vit import Trunk
from laminate.nn import (
    Initializer,
    LayerNorm,
    Linear,
    Padding,
    RMSNorm,
    Rotary,
    Sight,
    Stack,
    SwiGlu,
    fan_in_uniform,
    grid_band,
    multiple_of_16,
    place_angles,
    raster_band,
    trunc_normal,
)
from laminate.types import RandomKey


class Places(eqx.Module):
    """Where the tokens of one image stand on its grid, and which are padding; `mask=None` is none.

    With axes in front they are the places of a batch, which go through `vmap`.
    """

    row: Int[Array, "*batch tokens"]
    col: Int[Array, "*batch tokens"]
    mask: Bool[Array, "*batch tokens"] | None = None

    def clear(self, x: Float[Array, "tokens dim"]) -> Float[Array, "tokens dim"]:
        """`x` with zeros for padding."""
        return x if self.mask is None else jnp.where(self.mask[:, None], x, jnp.zeros_like(x))


def whole_grid(rows: int, columns: int) -> Places:
    """The places of a grid without padding, row by row."""
    row, col = (axis.reshape(-1).astype(np.int32) for axis in np.mgrid[0:rows, 0:columns])
    return Places(jnp.asarray(row), jnp.asarray(col))


@dataclasses.dataclass(frozen=True)
class Window:
    """How far a token sees: `reach` tokens to each side along the raster, or rows and columns on the grid.

    The raster is that of the sequence as it is given, as ViTok's flash attention has it, padding included.
    """

    reach: int
    on: Literal["raster", "grid"] = "grid"

    def sight(self, places: Places, prefix: int) -> Sight:
        """What `prefix` tokens and those at `places` see."""
        valid = jnp.ones(places.row.shape, bool) if places.mask is None else places.mask
        if self.on == "raster":
            return raster_band(valid, self.reach, prefix=prefix)
        return grid_band(places.row, places.col, valid, self.reach, prefix=prefix)


def naflex_trunk(
    dim: int,
    depth: int,
    heads: int,
    *,
    factor: float = 2.67,
    layer_scale: float | None = 1e-4,
    drop_path_rate: float = 0.0,
    init: Initializer = fan_in_uniform,
) -> Trunk:
    """ViTok's layers: parallel branches behind one RMSNorm, SwiGLU, normed queries and keys, no bias anywhere.

    The hidden width is `factor * dim`, rounded down and then to a multiple of 16. Raises ValueError for heads that do
    not divide `dim` into multiples of four, which rotation on a grid needs.
    """
    if dim % heads or (dim // heads) % 4:
        raise ValueError(
            f"dim={dim} cannot be split over heads={heads}: heads must divide it into widths that are multiples of 4, "
            "for rotary positions on a grid."
        )
    return Trunk(
        dim,
        depth,
        heads,
        multiple_of_16(int(dim * factor)),
        mlp=SwiGlu,
        norm=RMSNorm,
        attention_bias=False,
        mlp_bias=False,
        layer_scale=layer_scale,
        parallel=True,
        drop_path_rate=drop_path_rate,
        init=init,
    )


class NaFlexTransformer(eqx.Module):
    """Tokens at any places of a grid in, as many out: linear map, layers, linear map, both with biases.

    Positions are rotations by row and column (`nn.place_angles` of `theta`), nothing else; so one network serves
    every size and aspect ratio. A cls token and registers stand in front, are not turned, and end with the layers;
    no norm follows them. `window` limits what tokens see; those in front see everything.

    Padding changes no other token: nobody sees it. The output of padding is zero.
    """

    input: Linear
    cls: Float[Array, "1 dim"] | None
    registers: Float[Array, "registers dim"] | None
    stack: Stack
    output: Linear
    prefix: int = eqx.field(static=True)
    theta: float = eqx.field(static=True)
    window: Window | None = eqx.field(static=True)

    def __init__(
        self,
        trunk: Trunk,
        in_dim: int,
        out_dim: int,
        *,
        cls_token: bool = False,
        registers: int = 0,
        theta: float = 10000.0,
        window: Window | None = None,
        table_init: Initializer = trunc_normal(0.02),
        key: RandomKey,
    ):
        k_in, k_cls, k_registers, k_stack, k_out = jax.random.split(key, 5)
        self.input = Linear(in_dim, trunk.dim, init=trunk.init, key=k_in)
        self.cls = table_init(k_cls, (1, trunk.dim)) if cls_token else None
        self.registers = table_init(k_registers, (registers, trunk.dim)) if registers else None
        self.stack = trunk.stack(k_stack)
        self.output = Linear(trunk.dim, out_dim, init=trunk.init, key=k_out)
        self.prefix = int(cls_token) + registers
        self.theta = theta
        self.window = window

    @jax.named_scope("naflex")
    def __call__(
        self,
        x: Float[Array, "tokens {self.input.in_dim}"],
        places: Places,
        *,
        key: RandomKey | None = None,
    ) -> Float[Array, "tokens {self.output.out_dim}"]:
        front = [table.astype(x.dtype) for table in (self.cls, self.registers) if table is not None]
        h = jnp.concatenate([*front, self.input(x)])
        head_dim = self.stack.layers.attention.head_dim
        rotary = Rotary(place_angles(places.row, places.col, head_dim, theta=self.theta))
        h = self.stack(h, self.sight(places), rotary, key=key)
        return places.clear(self.output(h[self.prefix :]))

    def sight(self, places: Places) -> Sight:
        """What every token sees."""
        if self.window is not None:
            return self.window.sight(places, self.prefix)
        return None if places.mask is None else Padding(places.mask, self.prefix)


class NaFlexAutoencoder(eqx.Module):
    """Patches to latent tokens and back, for images of any size (ViTok-v2); either half may be absent.

    A latent token is normed to mean 0 and variance 1 over its channels, without weights of its own; there is no
    posterior. Patches are `[tokens, channels * patch^2]` with pixels in [-1, 1], flattened as in
    `laminate.data.patches`; nothing is clipped.

    Raises ValueError if both halves are absent, or if the decoder reads other latents than the encoder writes.
    """

    encoder: NaFlexTransformer | None
    decoder: NaFlexTransformer | None
    norm: LayerNorm
    patch: int = eqx.field(static=True)
    channels: int = eqx.field(static=True)

    def __init__(
        self, encoder: NaFlexTransformer | None, decoder: NaFlexTransformer | None, *, patch: int
    ) -> None:
        width = {half.output.out_dim for half in (encoder,) if half is not None}
        width |= {half.input.in_dim for half in (decoder,) if half is not None}
        if len(width) != 1:
            raise ValueError(
                "An autoencoder needs an encoder or a decoder, and both must agree on the channels of a latent, "
                f"got {sorted(width) or 'neither'}."
            )
        self.encoder = encoder
        self.decoder = decoder
        self.channels = width.pop()
        self.norm = LayerNorm(self.channels, scale=False, bias=False)
        self.patch = patch

    @jax.named_scope("encode")
    def encode(
        self, patches: Float[Array, "tokens patch_dim"], places: Places, *, key: RandomKey | None = None
    ) -> Float[Array, "tokens {self.channels}"]:
        """The latent tokens, zero for padding. Raises ValueError if there is no encoder."""
        if self.encoder is None:
            raise ValueError("This autoencoder is a decoder alone: load its encoder too.")
        return places.clear(self.norm(self.encoder(patches, places, key=key)))

    @jax.named_scope("decode")
    def decode(
        self, latents: Float[Array, "tokens {self.channels}"], places: Places, *, key: RandomKey | None = None
    ) -> Float[Array, "tokens patch_dim"]:
        """The patches, zero for padding. Raises ValueError if there is no decoder."""
        if self.decoder is None:
            raise ValueError("This autoencoder is an encoder alone: load its decoder too.")
        return self.decoder(latents, places, key=key)

    def __call__(
        self, patches: Float[Array, "tokens patch_dim"], places: Places, *, key: RandomKey | None = None
    ) -> Float[Array, "tokens patch_dim"]:
        k_encode, k_decode = (None, None) if key is None else jax.random.split(key)
        return self.decode(self.encode(patches, places, key=k_encode), places, key=k_decode)
