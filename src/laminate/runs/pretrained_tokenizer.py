"""A trained tokenizer as people use it: images in, tokens out, and back."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import NewType, TypeVar, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

from laminate.data.any_image import AnyImage, HasArray, one_or_many, viewed
from laminate.data.augment import Augment
from laminate.data.batch import Arrays, stack
from laminate.pretrained.features import FEATURES
from laminate.recipes.family import Described
from laminate.recipes.latent import LatentSpec, LoadedTokenizer, TokenizerId
from laminate.recipes.modules import image_tokenizer
from laminate.runs.load_decoder import DecoderChoice, require_images
from laminate.tokenizers.base import ImageTokenizer
from laminate.tokenizers.latent_decoders import LatentDecoder
from laminate.tokenizers.normalization import Normalization
from laminate.types import Latents, RandomKey, Tokens

TokenBatch = NewType("TokenBatch", Array)
"""Tokens of several images, with the images along the first axis."""

Batch = TypeVar("Batch", Array, dict[str, Array])

AT_ONCE = 32
"""Images that are computed together; of fewer, the next power of two is compiled for."""


class PretrainedTokenizer:
    """A trained tokenizer with all that it takes to go from images to tokens and back.

        tokenizer = laminate.from_pretrained("runs/embedded-vae")
        tokens = tokenizer.encode_image("cat.jpg")
        tokenizer.decode_image(tokens).save("again.png")

    It knows its frozen teacher (opened when an image is encoded for the first time), what makes images of its latents
    (the image decoder that was trained on it, else the tokenizer itself), and the mean and variance of its latents.

    Attributes:
        model: The network that was trained, a pytree of arrays for `jax.jit`, `jax.grad` and `save_pretrained`.
        recipe: The typed recipe that it was trained by.
        latent: What its latents are: `tokens`, `latent_dim`, `image_size`, `codes` (whole numbers), `teacher`.
        identity: The name of its training and the hash of its weights.
        source: Where it was found.
        decoder: What makes images of latents, in words.
        dtype: Number format that the networks compute in; tokens are float32 or int32.
    """

    model: eqx.Module
    recipe: Described
    latent: LatentSpec
    identity: TokenizerId
    source: str
    decoder: str
    dtype: jnp.dtype

    def __init__(self, loaded: LoadedTokenizer, decoder: DecoderChoice, *, dtype: jnp.dtype):
        """`from_pretrained` makes one."""
        self.model, self.recipe, self.latent = loaded.model, loaded.recipe, loaded.latent
        self.identity, self.source, self.decoder = loaded.identity, loaded.source, decoder.said
        self.dtype = dtype
        self._loaded, self._choice = loaded, decoder
        self._view = loaded.recipe.augment.still()

    def __repr__(self) -> str:
        teacher = "" if self.latent.teacher is None else f", teacher {self.latent.teacher.name}"
        side = self.latent.image_size
        sizes = f"{side} x {side} pixels to {self._tokens_text}"
        return f"<{self.identity.name}: {sizes}{teacher}; images by {self.decoder}>"

    @property
    def normalization(self) -> Normalization | None:
        """Mean and deviation of the raw latents over the training set; None for a tokenizer that needs none."""
        return self._decoding.normalization

    @property
    def codebook_size(self) -> int | None:
        """How many values a whole number of a token has (FSQ); None where tokens are real numbers."""
        return self._decoding.codebook_size

    @property
    def token_shape(self) -> tuple[int, ...]:
        """The shape of the tokens of one image: `(tokens, latent_dim)`, and of whole numbers `(tokens,)`, or
        `(tokens, codebooks)` where each has several."""
        return self.latent.token_shape

    @property
    def kind(self) -> str:
        """What the tokens of an image are, in words."""
        shape, pixels = " x ".join(map(str, self.token_shape)), 3 * self.latent.image_size**2
        if self.codebook_size is None:
            return f"{shape} real numbers; {pixels / math.prod(self.token_shape):,.0f}x fewer than pixels"
        each = math.prod(self.token_shape) * math.log2(self.codebook_size) / 8
        return f"{shape} whole numbers below {self.codebook_size:,}; {each:,.0f} bytes, {pixels / each:,.0f}x fewer"

    @property
    def view(self) -> str:
        """What is done to an image before it is encoded, in words: the recipe's view in which nothing is random."""
        return self._view.text

    # Images

    @overload
    def encode_image(self, image: AnyImage) -> Array: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def encode_image(self, image: Sequence[AnyImage]) -> TokenBatch: ...
    def encode_image(self, image: object) -> Array:
        """The tokens of an image, or of several.

        Args:
            image: A path, the bytes of a file, a Pillow image, or an array `[height, width, channels]` of uint8 or of
                floats in [0, 1], of any size; a list of such, or an array with one more axis in front, is a batch.
                Files are JPEG, PNG, WebP, GIF (the first frame), BMP or TIFF. Gray, palette, CMYK and 16-bit images
                become 8-bit RGB, transparency is laid over white. The image is resized as validation does it: as the
                `view` of the recipe says, which is the whole image squashed to a square of `latent.image_size` pixels
                unless the recipe has another one, turned upright as EXIF says.

        Returns:
            Of a Gaussian tokenizer float32 `[tokens, latent_dim]`: the mean of the posterior, without sampling, brought
            to mean 0 and variance 1 over the training set. Of an FSQ tokenizer int32 `[tokens]`, and
            `[tokens, codebooks]` where a token has several: positions in the codebook, from 0 to `codebook_size - 1`.
            A batch has one more axis in front.

        Raises:
            TypeError: `image` is none of these.
            ValueError: an array that is no image, a file that is damaged or too large (`ImageError`), or a teacher
                whose weights have changed.
            OSError: there is no such file, or no such teacher.
        """
        images, batch = one_or_many(image)
        named = (lambda number: f"image {number} of the batch") if batch else (lambda number: "")
        tokens = self._encoded([self._example(one, named(i)) for i, one in enumerate(images)])
        return tokens if batch else tokens[0]

    @overload
    def decode_image(self, tokens: TokenBatch | Sequence[HasArray]) -> list[Image.Image]: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def decode_image(self, tokens: HasArray) -> Image.Image: ...
    def decode_image(self, tokens: object) -> Image.Image | list[Image.Image]:
        """The picture that tokens stand for; of a batch, a list of pictures.

        Args:
            tokens: What `encode_image` gives, as an array of JAX or NumPy: `token_shape`, or with one more axis in
                front (or a list) for a batch.

        Returns:
            A Pillow image in RGB of `latent.image_size` pixels a side, which has `.save("again.png")`;
            `numpy.asarray(...)` of it is uint8 `[height, width, 3]`.

        Raises:
            ValueError: tokens of another shape or type, beyond the codebook, or not finite; or nothing makes images of
                these latents, as of features of a DINO without an image decoder.
        """
        if isinstance(tokens, list | tuple):
            tokens = np.stack([np.asarray(one) for one in tokens]) if tokens else np.zeros((0,))
        given = np.asarray(tokens)
        batch = given.ndim == len(self.token_shape) + 1
        raw = self._raw(given if batch else given[None], given)
        decoder = self._image_decoder
        run: Callable[[Array], Array] = lambda part: _decoded(decoder, part, dtype=self.dtype)
        pictures = [Image.fromarray(pixels) for pixels in np.asarray(in_parts(run, raw))]
        return pictures if batch else pictures[0]

    def seen(self, image: AnyImage, *, name: str = "") -> Image.Image:
        """What the tokenizer sees of an image: upright and resized, as `encode_image` has it; a picture in RGB.

        `name` stands in messages. Raises as `encode_image`.
        """
        original = self._decoding.original({k: jnp.asarray(v) for k, v in self._example(image, name).items()})
        return Image.fromarray(np.asarray(_to_bytes(original)))

    # Features of the teacher

    def encode(self, features: Array, *, key: RandomKey | None = None) -> Latents:
        """Normalised latents float32 `[tokens, latent_dim]` of the teacher's features of one image.

        `features` are `[patches, width]` of any floating dtype, which is the compute dtype. Without a key the mean of
        the posterior is taken, else a sample. May stand inside `jax.jit` and `jax.vmap`.

        Raises ValueError for another shape, and for a tokenizer that compresses images themselves.
        """
        teacher = self.latent.teacher
        if teacher is None:
            raise ValueError(
                f"{self.identity.name} compresses images, not features of a teacher: use encode_image."
            )
        if features.shape != (teacher.patches, teacher.dim):
            looks = (
                ", which looks like an image: use encode_image" if features.shape[-1:] in ((3,), (4,)) else ""
            )
            raise ValueError(
                f"encode takes the features of {teacher.name} of one image, [patches, width] = [{teacher.patches}, "
                f"{teacher.dim}], got {list(features.shape)}{looks}. Batches go through jax.vmap."
            )
        return self._decoding.encode({FEATURES: features}, dtype=features.dtype, key=key)

    def decode(self, latents: Array) -> Tokens:
        """The teacher's features float32 `[patches, width]` that normalised latents `[tokens, latent_dim]` stand for.

        May stand inside `jax.jit` and `jax.vmap`. Raises ValueError for another shape, and for a tokenizer that
        compresses images themselves.
        """
        wanted = (self.latent.tokens, self.latent.latent_dim)
        if latents.shape != wanted:
            raise ValueError(
                f"decode takes the normalised latents of one image, [tokens, latent_dim] = {list(wanted)}, got "
                f"{list(latents.shape)}. Batches go through jax.vmap."
            )
        return self._decoding.features(self._denormalised(latents), dtype=jnp.dtype(jnp.float32))

    # Inside

    @cached_property
    def _decoding(self) -> ImageTokenizer:
        """The tokenizer without the networks that only encoding images needs."""
        return _on_device(image_tokenizer(self._loaded, like=self.latent, encodes=False))

    @cached_property
    def _encoding(self) -> ImageTokenizer:
        return _on_device(image_tokenizer(self._loaded, like=self.latent))

    @cached_property
    def _image_decoder(self) -> LatentDecoder:
        found = self._choice.of(self._decoding)
        require_images(found, self._loaded)
        assert found is not None
        return found

    @cached_property
    def _transform(self) -> Augment:
        return self._view.transform()

    @property
    def _tokens_text(self) -> str:
        size = self.codebook_size
        kind = "float32" if size is None else f"whole numbers below {size}"
        return f"{list(self.token_shape)} {kind}"

    def _example(self, image: AnyImage, name: str) -> Arrays:
        return viewed(image, self._transform, name=name)

    def _encoded(self, examples: list[Arrays]) -> Array:
        run = partial(_tokens, self._encoding, codes=self.latent.codes > 0, dtype=self.dtype)
        return in_parts(run, {name: jnp.asarray(rows) for name, rows in stack(examples).items()})

    def _denormalised(self, latents: Array) -> Array:
        return latents if self.normalization is None else self.normalization.inverse(latents)

    def _raw(self, tokens: np.ndarray, given: np.ndarray) -> Array:
        """Raw latents of a batch of tokens. Raises ValueError, with what was `given`, if they are no tokens of this."""
        size, shape = self.codebook_size, self.token_shape
        got = f"got {given.dtype} {list(given.shape)}"
        kind = (
            np.issubdtype(tokens.dtype, np.integer)
            if size is not None
            else jnp.issubdtype(tokens.dtype, jnp.floating)
        )
        if not kind or tokens.shape[1:] != shape or not len(tokens):
            raise ValueError(
                f"decode_image of {self.identity.name} takes {self._tokens_text}, or with one more axis in front for "
                f"a batch; {got}: give what its encode_image gave."
            )
        if size is not None:
            if tokens.min() < 0 or tokens.max() >= size:
                raise ValueError(
                    f"The tokens of {self.identity.name} are positions in a codebook of {size}, from 0 to {size - 1}; "
                    f"got {tokens.min()} to {tokens.max()}."
                )
            return jax.vmap(self._decoding.from_indices)(jnp.asarray(tokens.astype(np.int32)))
        tokens = tokens.astype(np.float32)
        if not np.isfinite(tokens).all():
            raise ValueError(f"decode_image {got} with a NaN or an infinity: such tokens stand for no image.")
        return jax.vmap(self._denormalised)(jnp.asarray(tokens))


@partial(jax.jit, static_argnames=("codes", "dtype"))
def _tokens(tokenizer: ImageTokenizer, examples: dict[str, Array], *, codes: bool, dtype: jnp.dtype) -> Array:
    def one(example: dict[str, Array]) -> Array:
        if not codes:
            return tokenizer.encode(example, dtype=dtype)
        return tokenizer.indices(tokenizer.encode_raw(example, dtype=dtype)[0])

    return jax.vmap(one)(examples)


@partial(jax.jit, static_argnames="dtype")
def _decoded(decoder: LatentDecoder, raw: Array, *, dtype: jnp.dtype) -> Array:
    return jax.vmap(lambda latents: _to_bytes(decoder(latents, dtype=dtype)))(raw)


def _to_bytes(image: Float[Array, "height width channels"]) -> Array:
    return jnp.round(jnp.clip(image.astype(jnp.float32), 0.0, 1.0) * 255.0).astype(jnp.uint8)


def in_parts(run: Callable[[Batch], Array], batch: Batch) -> Array:
    """`run` of the rows of `batch`, at most `AT_ONCE` of them at a time, so that a few shapes are compiled."""
    rows = len(jax.tree.leaves(batch)[0])

    def parts() -> Iterator[Array]:
        for start in range(0, rows, AT_ONCE):
            count = min(AT_ONCE, rows - start)
            padded = 1 << (count - 1).bit_length()
            places = jnp.minimum(start + jnp.arange(padded), rows - 1)
            yield run(jax.tree.map(partial(_at, places), batch))[:count]

    return jnp.concatenate(list(parts()))


def _at(places: Array, rows: Array) -> Array:
    return rows[places]


def _on_device(tree: ImageTokenizer) -> ImageTokenizer:
    with jax.ensure_compile_time_eval():  # it is kept, also where somebody else's `jax.jit` asks for it first
        return jax.tree.map(jnp.asarray, tree)
