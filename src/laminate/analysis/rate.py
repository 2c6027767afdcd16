"""What latents cost: bits of an image, and how much of a codebook is used."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from laminate.bottlenecks.base import Bottleneck
from laminate.bottlenecks.fsq import Fsq
from laminate.bottlenecks.gaussian import Gaussian
from laminate.losses.divergence import kl_per_element
from laminate.types import Scalar

PIXEL_BITS = 24  # of three colours at 8 bits


def image_bits(bottleneck: Bottleneck[Any], aux: Any) -> Scalar | None:
    """Bits of one example, from what its bottleneck gave beside the latents; None where a latent has no precision.

    Of a code, the logarithm of the codebook, index by index. Of a Gaussian posterior, its divergence from the prior:
    what a sample of it costs, at the precision that the posterior itself has (bits back, Hinton & van Camp 1993).
    """
    match bottleneck:
        case Fsq():
            return jnp.asarray(aux.indices.size * math.log2(bottleneck.codebook_size), jnp.float32)
        case Gaussian(deterministic=False):
            return jnp.sum(kl_per_element(*aux)) / math.log(2.0)
        case _:
            return None


def code_indices(bottleneck: Bottleneck[Any], aux: Any) -> dict[str, Array]:
    """The indices of one example, where latents are codes."""
    return {"indices": aux.indices} if isinstance(bottleneck, Fsq) else {}


class CodebookUse(NamedTuple):
    """Of `tokens` tokens: how many different codes they are, the exponential of the entropy of their frequencies, and
    the share of each level of each channel (NaN where a channel has fewer levels). Of several codebooks, codes are
    counted in each, and the perplexity is their mean."""

    tokens: int
    used: int
    perplexity: float
    levels: Float[np.ndarray, "channels levels"]


def codebook_use(
    levels: tuple[int, ...], indices: Int[np.ndarray, "*tokens_codebooks"], *, codebooks: int = 1
) -> CodebookUse:
    """How `indices` of a codebook of these `levels` are spread, `[...]`, or `[..., codebooks]` of several."""
    books = [_book_use(levels, book) for book in indices.reshape(-1, codebooks).astype(np.int64).T]
    return CodebookUse(
        tokens=books[0].tokens,
        used=sum(book.used for book in books),
        perplexity=float(np.mean([book.perplexity for book in books])),
        levels=np.concatenate([book.levels for book in books]),
    )


def _book_use(levels: tuple[int, ...], indices: Int[np.ndarray, " tokens"]) -> CodebookUse:
    _, counts = np.unique(indices, return_counts=True)
    tokens = max(len(indices), 1)
    share = counts / tokens
    spread = np.full((len(levels), max(levels)), np.nan)
    rest = indices
    for channel, level in enumerate(levels):  # the first channel is the least significant digit
        spread[channel, :level] = np.bincount(rest % level, minlength=level) / tokens
        rest = rest // level
    return CodebookUse(len(indices), len(counts), float(np.exp(-np.sum(share * np.log(share)))), spread)
