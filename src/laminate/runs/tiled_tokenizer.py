"""A published autoencoder as people use it: images of any size as they are, large ones in tiles if asked to."""

from collections.abc import Callable
from fractions import Fraction
from functools import cached_property

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from PIL import Image

from laminate.data.any_image import AnyImage, one_or_many, viewed
from laminate.data.augment import Native
from laminate.runs.any_size_tokenizer import AnySizeTokenizer, SizedTokens
from laminate.tokenizers.autoencoder import AutoencoderTokenizer, whole_patches
from laminate.tokenizers.tiling import Tiles, tiled

_OVERLAP = 4  # a quarter of a tile, unless told otherwise


class TiledTokenizer(AnySizeTokenizer):
    """An `AnySizeTokenizer` that makes no image smaller.

        tokenizer = laminate.from_pretrained("flux")
        tokens = tokenizer.encode_image("cat.jpg")
        tokenizer.decode_image(tokens).save("again.png")
        tokenizer.decode_image(tokenizer.encode_image("wall.jpg", tile=512), tile=512)

    `tokens` are `[rows, columns, latent_dim]`, scaled as a generator has them; their size is that of the picture. An
    image of no whole patches is continued by its reflection. For every size of an image, or of a tile, a program is
    compiled.
    """

    @property
    def view(self) -> str:
        return f"as they are, continued to whole patches of {self._patch}²"

    def encode_image(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, image: object, *, tile: int | None = None, overlap: int | None = None
    ) -> "SizedTokens | list[SizedTokens]":
        """The tokens of an image, or a list of those of several.

        Args:
            image: As in `PretrainedTokenizer.encode_image`.
            tile: Side in pixels of the tiles that a larger image is cut into; None computes it whole. A network that
                looks at all of an image, as by the norms of groups, then sees a tile in place of it.
            overlap: Pixels that neighbouring tiles share, where their tokens are blended linearly; a quarter of a tile
                by default. Both are multiples of a patch.

        Raises ValueError for tiles of no whole patches, and as `PretrainedTokenizer.encode_image`.
        """
        tiles = self._tiles(tile, overlap)
        images, batch = one_or_many(image)
        named = (lambda number: f"image {number} of the batch") if batch else (lambda number: "")
        tokens = [self._encoded_one(self._pixels(one, named(i)), tiles) for i, one in enumerate(images)]
        return tokens if batch else tokens[0]

    def decode_image(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, tokens: object, *, tile: int | None = None, overlap: int | None = None
    ) -> Image.Image | list[Image.Image]:
        """The picture that tokens stand for; of a list, a list of pictures. `tile` and `overlap` are in pixels.

        Raises ValueError for tokens of another shape or type, and as `encode_image`.
        """
        tiles = self._tiles(tile, overlap)
        many = tokens if isinstance(tokens, list | tuple) else [tokens]
        pictures = [self._decoded_one(self._checked(one), tiles) for one in many]
        return pictures if isinstance(tokens, list | tuple) else pictures[0]

    def seen(self, image: AnyImage, *, name: str = "", room: int | None = None) -> Image.Image:
        return Image.fromarray(self._pixels(image, name))

    def _pixels(self, image: AnyImage, name: str) -> np.ndarray:
        return viewed(image, Native(), name=name)["image"]

    def _tiles(self, tile: int | None, overlap: int | None) -> Tiles | None:
        if tile is None:
            if overlap is not None:
                raise ValueError(f"An overlap of {overlap} is one of tiles: give their side too.")
            return None
        shared = tile // _OVERLAP // self._patch * self._patch if overlap is None else overlap
        return Tiles(tile, shared, self._patch)

    @cached_property
    def _network(self) -> AutoencoderTokenizer:
        found = self._encoding
        assert isinstance(found, AutoencoderTokenizer)
        return found

    def _encoded_one(self, pixels: np.ndarray, tiles: Tiles | None) -> SizedTokens:
        height, width = pixels.shape[:2]
        whole = np.asarray(whole_patches(jnp.asarray(pixels), self._patch))
        run = lambda part: np.asarray(_grid(self._network, jnp.asarray(part), dtype=self.dtype))
        grid = _in_tiles(run, whole, tiles, Fraction(1, self._patch))
        return SizedTokens(grid, (height, width))

    def _decoded_one(self, tokens: SizedTokens, tiles: Tiles | None) -> Image.Image:
        run = lambda part: np.asarray(_unit(self._network, jnp.asarray(part), dtype=self.dtype))
        small = None if tiles is None else tiles.along(Fraction(1, self._patch))
        unit = _in_tiles(run, tokens.grid, small, Fraction(self._patch))
        height, width = tokens.size
        return Image.fromarray(np.rint(unit[:height, :width] * np.float32(255.0)).astype(np.uint8))


def _in_tiles(
    run: Callable[[np.ndarray], np.ndarray], whole: np.ndarray, tiles: Tiles | None, scale: Fraction
) -> np.ndarray:
    if tiles is None or tiles.number(*whole.shape[:2]) == 1:
        return run(whole)
    return tiled(run, whole, tiles, scale=scale)


@eqx.filter_jit
def _grid(tokenizer: AutoencoderTokenizer, pixels: Array, *, dtype: jnp.dtype) -> Array:
    return tokenizer.encode_grid(pixels.astype(jnp.float32) / 255.0, dtype=dtype)


@eqx.filter_jit
def _unit(tokenizer: AutoencoderTokenizer, latents: Array, *, dtype: jnp.dtype) -> Array:
    return tokenizer.decode_grid(latents, dtype=dtype)
