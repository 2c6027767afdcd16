"""The decoder of representation autoencoders: patch features to pixels with a plain transformer."""

import jax
from jaxtyping import Array, Float

from laminate.models.pixel_decoder import PixelDecoder
from laminate.models.vit import Trunk, Vit
from laminate.nn import LayerNorm, resize_grid
from laminate.nn.position import square
from laminate.types import RandomKey


class RaeDecoder(PixelDecoder):
    """`tokens` features of width `in_dim` become an image of `patch * sqrt(tokens)` pixels (Zheng et al. 2025).

    Linear map, cls token, learned positions (the cls token has one too), blocks, LayerNorm, linear map to the pixels of
    a patch. A square of another number of features is first resized bilinearly. `mean` and `std` are those that the
    encoder's images were normalised by.
    """

    def __init__(
        self,
        trunk: Trunk,
        *,
        tokens: int,
        in_dim: int,
        patch: int = 16,
        overlap: int = 0,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        key: RandomKey,
    ):
        k_vit, k_last = jax.random.split(key)
        vit = Vit(
            trunk,
            tokens=tokens,
            in_dim=in_dim,
            cls_token=True,
            cls_position=True,
            maps="biased-input",
            norm=LayerNorm(trunk.dim, eps=trunk.norm_eps),
            key=k_vit,
        )
        super().__init__(vit, square(tokens), patch=patch, overlap=overlap, mean=mean, std=std, key=k_last)

    def hidden(
        self, latents: Float[Array, "latents {self.vit.in_dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "patches {self.last.in_dim}"]:
        return self.vit(self.fitted(latents), key=key)[self.vit.prefix :]

    def fitted(
        self, features: Float[Array, "tokens {self.vit.in_dim}"]
    ) -> Float[Array, "fitted {self.vit.in_dim}"]:
        """As many features as the decoder has positions. Raises ValueError for a number that is no square."""
        # Resizing mixes features with weights that sum to one, so it may come before the linear map as well.
        return resize_grid(features, square(features.shape[0]), self.grid, "bilinear")
