"""A trained tokenizer of images of any size as people use it: a grid of tokens for every image, and back."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

from laminate.data.any_image import AnyImage, one_or_many, viewed
from laminate.data.augment import Augment
from laminate.data.batch import Arrays, stack
from laminate.data.patch_views import converted
from laminate.data.patches import GRID, MASK, PATCH_COL, PATCH_ROW, PATCHES, SIZE, from_patches
from laminate.runs.pretrained_tokenizer import PretrainedTokenizer, in_parts
from laminate.tokenizers.vitok import Vitok, places_of


@dataclass(frozen=True, eq=False)
class SizedTokens:
    """The tokens of one image, where they stand on it, and its size in pixels: an array `[rows, columns, channels]`."""

    grid: Float[np.ndarray, "rows columns channels"]
    size: tuple[int, int]
    """Height and width; the last row and column of tokens may stand for less than a whole patch."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.grid.shape

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.grid, dtype=dtype) if copy else np.asarray(self.grid, dtype=dtype)


class AnySizeTokenizer(PretrainedTokenizer):
    """A `PretrainedTokenizer` whose images have any size and shape, and as many tokens as patches.

        tokenizer = laminate.from_pretrained("runs/embedded-vitok")
        tokens = tokenizer.encode_image("cat.jpg")
        tokenizer.decode_image(tokens).save("again.png")

    An image that has more patches than there is `room` for is made smaller, and any other is seen as it is. Without one
    it is the room of the recipe: a network sees best what it was trained on.
    """

    @property
    def token_shape(self) -> tuple[int, ...]:
        """The shape of the tokens of the largest square, `(rows, columns, channels)`: those of an image are as many as
        it has patches."""
        side = self.latent.image_size // self._patch
        return (side, side, self.latent.latent_dim)

    def __repr__(self) -> str:
        return f"<{self.identity.name}: images of any size to {self.kind}>"

    @property
    def kind(self) -> str:
        """What the tokens of an image are, in words."""
        numbers, patch = self.latent.latent_dim, self._patch
        fewer = 3 * patch**2 / numbers
        return f"{numbers} real numbers for each patch of {patch} x {patch} pixels; {fewer:,.1f}x fewer than pixels"

    def encode_image(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, image: object, *, room: int | None = None
    ) -> "SizedTokens | list[SizedTokens]":
        """The tokens of an image, or a list of those of several, in at most `room` patches each.

        Images are given as to `PretrainedTokenizer`; raises as that does, and ValueError for no room.
        """
        images, batch = one_or_many(image)
        named = (lambda number: f"image {number} of the batch") if batch else (lambda number: "")
        view = self._view_of(room)
        examples = [viewed(one, view, name=named(i)) for i, one in enumerate(images)]
        run = partial(_latents, self._vitok, dtype=self.dtype)
        raw = np.asarray(in_parts(run, {name: jnp.asarray(rows) for name, rows in stack(examples).items()}))
        tokens = [_sized(latents, example) for latents, example in zip(raw, examples, strict=True)]
        return tokens if batch else tokens[0]

    def decode_image(self, tokens: object) -> Image.Image | list[Image.Image]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The picture that tokens stand for; of a list, a list of pictures.

        Args:
            tokens: What `encode_image` gives, or any array `[rows, columns, channels]`, which stands for a picture of
                whole patches.

        Raises:
            ValueError: tokens of another shape or type, or that are not finite.
        """
        many = tokens if isinstance(tokens, list | tuple) else [tokens]
        pictures = [self._picture(one) for one in many]
        return pictures if isinstance(tokens, list | tuple) else pictures[0]

    def seen(self, image: AnyImage, *, name: str = "", room: int | None = None) -> Image.Image:
        """What the tokenizer sees of an image, as `encode_image` has it."""
        return _as_image(viewed(image, self._view_of(room), name=name), self._patch)

    def _view_of(self, room: object) -> Augment:
        if room is None:
            return self._transform
        if not isinstance(room, int | np.integer) or room < 1:
            raise ValueError(
                f"room is for how many patches an image may have, a whole number from 1 on; got {room!r}. Without one "
                f"it is that of {self.identity.name}, {self.recipe.augment.tokens}."
            )
        return dataclasses.replace(self.recipe.augment.still(), budgets=(int(room),)).transform()

    @property
    def _patch(self) -> int:
        assert self.latent.patch is not None
        return self.latent.patch

    @property
    def _vitok(self) -> Vitok:
        found = self._encoding
        assert isinstance(found, Vitok)
        return found

    def _checked(self, tokens: object) -> "SizedTokens":
        """`tokens` in float32, with the size of their picture. Raises ValueError for what is none of an image."""
        grid = np.asarray(tokens)
        channels = self.latent.latent_dim
        if grid.ndim != 3 or grid.shape[-1] != channels or not grid.size or grid.dtype.kind not in "fV":
            raise ValueError(
                f"decode_image of {self.identity.name} takes the tokens of an image, [rows, columns, {channels}] "
                f"numbers, or a list of such; got {grid.dtype} {list(grid.shape)}: give what its encode_image gave."
            )
        grid = grid.astype(np.float32)
        if not np.isfinite(grid).all():
            raise ValueError("decode_image got a NaN or an infinity: such tokens stand for no image.")
        whole = (grid.shape[0] * self._patch, grid.shape[1] * self._patch)
        return SizedTokens(grid, tokens.size if isinstance(tokens, SizedTokens) else whole)

    def _picture(self, tokens: object) -> Image.Image:
        grid, size = (found := self._checked(tokens)).grid, found.size
        (rows, columns), channels = grid.shape[:2], self.latent.latent_dim
        example = _places(grid, size, self._room(rows * columns))
        latents = np.zeros((len(example[MASK]), channels), np.float32)
        latents[: rows * columns] = grid.reshape(-1, channels)
        patches = _patches(self._vitok, jnp.asarray(latents), _on_device(example), dtype=self.dtype)
        return _as_image({**example, PATCHES: np.asarray(patches)}, self._patch)

    def _room(self, tokens: int) -> int:
        """For how many tokens a program is compiled: those of the recipe, or the next power of two."""
        usual = self.recipe.augment.tokens
        return usual if tokens <= usual else 1 << (tokens - 1).bit_length()


def _sized(latents: np.ndarray, example: Arrays) -> SizedTokens:
    rows, columns = example[GRID].tolist()
    height, width = example[SIZE].tolist()
    return SizedTokens(latents[: rows * columns].reshape(rows, columns, -1), (height, width))


def _places(grid: np.ndarray, size: Sequence[int], room: int) -> Arrays:
    """Everything of a dictionary of patches but the patches."""
    rows, columns = grid.shape[:2]
    row, col = np.zeros(room, np.int32), np.zeros(room, np.int32)
    row[: rows * columns], col[: rows * columns] = np.divmod(np.arange(rows * columns), columns)
    return {
        MASK: np.arange(room) < rows * columns,
        PATCH_ROW: row,
        PATCH_COL: col,
        GRID: np.asarray((rows, columns), np.int32),
        SIZE: np.asarray(size, np.int32),
    }


def _on_device(example: Arrays) -> dict[str, Array]:
    return {name: jnp.asarray(array) for name, array in example.items()}


def _as_image(example: Arrays, patch: int) -> Image.Image:
    return Image.fromarray(converted(from_patches(example, patch), values="minus_one_to_one", to="0_255"))


@partial(jax.jit, static_argnames="dtype")
def _latents(tokenizer: Vitok, examples: dict[str, Array], *, dtype: jnp.dtype) -> Array:
    return jax.vmap(lambda example: tokenizer.encode(example, dtype=dtype))(examples)


@partial(jax.jit, static_argnames="dtype")
def _patches(tokenizer: Vitok, latents: Array, example: dict[str, Array], *, dtype: jnp.dtype) -> Array:
    decoded = tokenizer.autoencoder.decode(latents.astype(dtype), places_of(example))
    return decoded.astype(jnp.float32)
