"""The contract that every bottleneck keeps."""

import abc
from typing import Generic, TypeVar

import equinox as eqx
from jaxtyping import Array, Float

from laminate.types import Latents, RandomKey

Aux = TypeVar("Aux")


class Bottleneck(eqx.Module, Generic[Aux]):
    """Turns the encoder's latent tokens into the latents that the decoder receives.

    `in_features` is the width that the encoder has to produce per latent token, `out_features` the width of
    the latents. `Aux` is the bottleneck's own typed by-product: a posterior, indices.
    """

    in_features: eqx.AbstractVar[int]
    out_features: eqx.AbstractVar[int]

    @abc.abstractmethod
    def __call__(
        self, tokens: Float[Array, "latents {self.in_features}"], *, key: RandomKey | None = None
    ) -> tuple[Latents, Aux]:
        """The latents `[latents, out_features]` in float32, and the by-product.

        `key=None` is the deterministic mode.
        """
