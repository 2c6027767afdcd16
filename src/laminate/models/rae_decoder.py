"""The decoder of representation autoencoders: patch features to pixels with a plain transformer."""

import equinox as eqx
import jax
from jaxtyping import Array, Float

from laminate.models.vit import Trunk, Vit
from laminate.nn import LayerNorm, resize_grid, unpatchify
from laminate.nn.position import square
from laminate.types import Image, RandomKey


class RaeDecoder(eqx.Module):
    """`tokens` features of width `in_dim` become an image of `patch * sqrt(tokens)` pixels (Zheng et al. 2025).

    Linear map, cls token, learned positions (the cls token has one too), blocks, LayerNorm, linear map to the pixels of
    a patch in the order (row, column, channel). A square of another number of features is first resized bilinearly.
    The pixels are on the scale that the encoder's images were normalised to; nothing is clipped.
    """

    vit: Vit
    grid: tuple[int, int] = eqx.field(static=True)
    patch: int = eqx.field(static=True)

    def __init__(
        self,
        trunk: Trunk,
        *,
        tokens: int,
        in_dim: int,
        patch: int = 16,
        channels: int = 3,
        key: RandomKey,
    ):
        self.vit = Vit(
            trunk,
            tokens=tokens,
            in_dim=in_dim,
            out_dim=patch * patch * channels,
            cls_token=True,
            cls_position=True,
            maps="biased",
            norm=LayerNorm(trunk.dim, eps=trunk.norm_eps),
            key=key,
        )
        self.grid = square(tokens)
        self.patch = patch

    @jax.named_scope("rae_decoder")
    def __call__(
        self, features: Float[Array, "tokens {self.vit.in_dim}"], *, key: RandomKey | None = None
    ) -> Image:
        return unpatchify(self.patches(features, key=key), self.patch, self.grid)

    def patches(
        self, features: Float[Array, "tokens {self.vit.in_dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "patches patch_dim"]:
        """The pixels of each patch, flattened as (row, column, channel)."""
        return self.vit(self.fitted(features), key=key)[self.vit.prefix :]

    def fitted(
        self, features: Float[Array, "tokens {self.vit.in_dim}"]
    ) -> Float[Array, "fitted {self.vit.in_dim}"]:
        """As many features as the decoder has positions. Raises ValueError for a number that is no square."""
        # Resizing mixes features with weights that sum to one, so it may come before the linear map as well.
        return resize_grid(features, square(features.shape[0]), self.grid, "bilinear")
