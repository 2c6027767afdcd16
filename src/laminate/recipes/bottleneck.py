"""Recipes of the bottlenecks: what happens to the tokens between encoder and decoder."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from laminate.recipes.checks import at_least, within
from laminate.recipes.serialization import JSON, UNSAID

REFERENCE_KL_WEIGHT = 1e-6
REFERENCE_NUMBERS = 512
LARGEST_CODEBOOK = 2**31 - 1
LARGEST_LEVEL = 1000


def normalised_kl_weight(tokens: int, latent_dim: int) -> float:
    """β = 1e-6 · 512 / (tokens · latent_dim): the same pressure per latent number (paper, eq. 10, Table 4)."""
    return REFERENCE_KL_WEIGHT * REFERENCE_NUMBERS / (tokens * latent_dim)


@dataclass(frozen=True)
class GaussianBottleneck:
    """A diagonal Gaussian posterior per token, pulled towards the unit Gaussian (a β-VAE)."""

    KIND: ClassVar[str] = "gaussian"

    latent_dim: int = field(metadata={JSON: "features"})
    """Latent numbers per token."""
    kl_weight: float | None = None
    """β, the weight of the KL divergence; None normalises it by the latent size."""
    anneal_steps: int | None = None
    """Steps over which β grows linearly from 0; None or 0 start at once."""
    free_bits: float | None = None
    """KL below this many nats per number costs nothing more; None means 0."""
    kl_variance_weight: float | None = None
    """Weight, relative to β, of the variance of the KL between tokens; None leaves the term out."""
    tanh: bool = False
    """Squash the sampled latents into (-1, 1)."""
    initial_logvar: float = 0.0
    """Log-variance of the posterior before training; the paper starts from unit variance, log-variance 0."""
    deterministic: bool = False
    """Use the mean of the posterior in training too."""

    def __post_init__(self) -> None:
        at_least("bottleneck.features", self.latent_dim, 1)
        for name in ("kl_weight", "anneal_steps", "free_bits", "kl_variance_weight"):
            value = getattr(self, name)
            if value is not None:
                at_least(f"bottleneck.{name}", value, 0)

    @property
    def width(self) -> int:
        """Numbers per token that the decoder reads."""
        return self.latent_dim

    def resolved_kl_weight(self, tokens: int) -> float:
        """β for a latent of `tokens` tokens."""
        return normalised_kl_weight(tokens, self.latent_dim) if self.kl_weight is None else self.kl_weight


@dataclass(frozen=True)
class FsqBottleneck:
    """Finite scalar quantisation: every channel of a token is rounded to a few values."""

    KIND: ClassVar[str] = "fsq"

    levels: tuple[int, ...]
    """Values per channel of a codebook; their product is its size."""
    nested_dropout: bool = False
    """Keep only the first 1, 2, 4, ... tokens in training, so that the first tokens matter most."""
    codebooks: int = field(default=1, metadata={UNSAID: 1})
    """Whole numbers per token, each with channels and a codebook of its own."""

    def __post_init__(self) -> None:
        if not self.levels:
            raise ValueError("bottleneck.levels must name at least one level, got none.")
        for level in self.levels:
            within("Each of bottleneck.levels", level, 2, LARGEST_LEVEL)
        at_least("bottleneck.codebooks", self.codebooks, 1)
        if self.codebook_size > LARGEST_CODEBOOK:
            raise ValueError(
                f"The product of bottleneck.levels must stay below 2^31, got {self.codebook_size} "
                f"from {len(self.levels)} levels: use fewer or smaller ones, or several of bottleneck.codebooks."
            )

    @property
    def width(self) -> int:
        """Numbers per token that the decoder reads."""
        return self.codebooks * len(self.levels)

    @property
    def codebook_size(self) -> int:
        """Codes of one codebook."""
        return math.prod(self.levels)

    def bits(self, tokens: int) -> float:
        """Information that `tokens` tokens can carry, in bits."""
        return tokens * self.codebooks * math.log2(self.codebook_size)


Bottleneck = GaussianBottleneck | FsqBottleneck
