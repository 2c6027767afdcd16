"""DINO-SAE (2026), or HAE: a convolutional stem before a frozen DINOv3, and a convolutional decoder of its tokens."""

from typing import Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.models.conv_stem import ConvStem, with_stem
from laminate.models.dc_decoder import DcDecoder
from laminate.models.vit import Vit
from laminate.types import Image, RandomKey, Tokens

OutputRange = Literal["unit", "signed", "normalised"]
"""What the decoder's numbers are: pixels in [0, 1]; pixels in [-1, 1]; or pixels minus the mean of the encoder's input,
over its deviation."""

Rgb = tuple[float, float, float]


class Encoded(NamedTuple):
    """What an image becomes: `[rows * columns, dim]` row by row, the cls token if there is one, and (rows, columns)."""

    patch_tokens: Tokens
    cls_token: Float[Array, " dim"] | None
    grid: tuple[int, int]


class DinoSae(eqx.Module):
    """Images to tokens behind the final norm of `encoder`, a `Vit` whose patch embedding is a `ConvStem`, and back.

    Images are float32 in [0, 1], of any size whose sides are multiples of `encoder.patch.patch`. `mean` and `std` are
    those of what the encoder sees (the DINOv3 convention, which the authors do not state); `output` is the range of
    the decoder's numbers, which they do not state either.

    Raises ValueError for parts that do not fit each other.
    """

    encoder: Vit
    decoder: DcDecoder
    mean: Rgb = eqx.field(static=True)
    std: Rgb = eqx.field(static=True)
    output: OutputRange = eqx.field(static=True)

    def __init__(
        self,
        encoder: Vit,
        decoder: DcDecoder,
        *,
        mean: Rgb,
        std: Rgb,
        output: OutputRange = "unit",
    ):
        if output not in get_args(OutputRange):
            raise ValueError(f"output={output!r} is none of {', '.join(get_args(OutputRange))}.")
        if not isinstance(encoder.patch, ConvStem):
            raise ValueError("The encoder of a DinoSae begins with a ConvStem: see conv_stem.with_stem.")
        if (encoder.out_dim, encoder.patch.patch) != (decoder.in_dim, decoder.patch):
            raise ValueError(
                f"The encoder gives {encoder.out_dim} numbers for every {encoder.patch.patch} pixels, and the decoder "
                f"takes {decoder.in_dim} for every {decoder.patch}: they have to be the same."
            )
        self.encoder = encoder
        self.decoder = decoder
        self.mean = mean
        self.std = std
        self.output = output

    @jax.named_scope("dino_sae")
    def __call__(self, image: Image, *, key: RandomKey | None = None) -> Image:
        """The reconstruction, not clipped."""
        encoded = self.encode(image)
        return self.decode(encoded.patch_tokens, encoded.grid)

    def encode(self, image: Image, *, dtype: jnp.dtype | None = None) -> Encoded:
        """The tokens of an image, computed in `dtype` (that of the image if None).

        Raises ValueError for a side that is no multiple of the patch.
        """
        stem = self.encoder.patch
        assert stem is not None
        if image.shape[0] % stem.patch or image.shape[1] % stem.patch:
            raise ValueError(
                f"An image of {image.shape[0]}x{image.shape[1]} pixels has no whole number of tokens, each of which "
                f"stands for {stem.patch}x{stem.patch}: resize or crop it to multiples of {stem.patch}."
            )
        seen = normalise(image, self.mean, self.std).astype(image.dtype if dtype is None else dtype)
        return encoded(self.encoder, seen)

    def decode(self, tokens: Tokens, grid: tuple[int, int]) -> Image:
        """The float32 image of tokens, nominally in [0, 1], not clipped. Raises ValueError for another grid."""
        rows, columns = grid
        if tokens.shape[0] != rows * columns:
            raise ValueError(f"{tokens.shape[0]} tokens are no grid of {rows}x{columns}.")
        return self.pixels(self.decoder(tokens.reshape(rows, columns, -1)))

    def pixels(self, numbers: Image) -> Image:
        """What the decoder gave as an image in [0, 1]."""
        return as_pixels(numbers, self.output, self.mean, self.std)


class StemAndDecoder(eqx.Module):
    """What of a `DinoSae` is trained: the blocks between are those of a frozen network."""

    stem: ConvStem
    decoder: DcDecoder

    def around(self, vit: Vit, *, mean: Rgb, std: Rgb, output: OutputRange) -> DinoSae:
        """The autoencoder with `vit` between, whose own patch embedding is not used. Raises what both raise."""
        return DinoSae(with_stem(vit, self.stem), self.decoder, mean=mean, std=std, output=output)


def encoded(encoder: Vit, seen: Image) -> Encoded:
    """The tokens of a normalised image."""
    assert encoder.patch is not None
    tokens = encoder(seen)
    cls = None if encoder.cls is None else tokens[0]
    return Encoded(tokens[encoder.prefix :], cls, encoder.patch.grid_of(*seen.shape[:2]))


def normalise(image: Image, mean: Rgb, std: Rgb) -> Image:
    """`(image - mean) / std`, channel by channel, in float32."""
    wide = image.astype(jnp.float32)
    shift, scale = (jnp.broadcast_to(jnp.asarray(c, jnp.float32), wide.shape) for c in (mean, std))
    return (wide - shift) / scale


def as_pixels(numbers: Image, output: OutputRange, mean: Rgb, std: Rgb) -> Image:
    """What a decoder gave, in the range `output`, as an image in [0, 1]."""
    if output == "signed":
        return 0.5 * (numbers + 1.0)
    if output == "normalised":
        shift, scale = (jnp.broadcast_to(jnp.asarray(c, numbers.dtype), numbers.shape) for c in (mean, std))
        return numbers * scale + shift
    return numbers
