"""A teacher that is left out: features of its shape, at no cost."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.types import RandomKey, Tokens


class StandIn(eqx.Module):
    """`tokens` features of `dim` numbers, which are those of the image, repeated or cut off.

    For the cost of what is trained beside a teacher whose weights are not at hand; the features mean nothing.
    """

    tokens: int = eqx.field(static=True)
    dim: int = eqx.field(static=True)

    def __call__(self, image: Float[Array, "height width 3"], *, key: RandomKey | None = None) -> Tokens:
        return jnp.resize(image, (self.tokens, self.dim))
