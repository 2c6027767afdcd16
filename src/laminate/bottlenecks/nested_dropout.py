"""Nested dropout (Rippel et al. 2014): early latent tokens learn to carry what matters most."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from laminate.types import RandomKey


def keep_counts(latents: int) -> tuple[int, ...]:
    """The numbers of leading tokens that may be kept: the powers of two up to `latents`.

    Raises:
        ValueError: `latents` is not positive.
    """
    if latents < 1:
        raise ValueError(f"keep_counts: latents must be at least 1, got {latents}.")
    return tuple(2**power for power in range(latents.bit_length()))


def draw_keep(key: RandomKey, latents: int) -> Int[Array, ""]:
    """How many leading tokens to keep, uniform over `keep_counts(latents)`, an int32 scalar.

    One draw belongs to one example. The released FlatDINO code shares one draw in the whole batch; a draw
    per example has the same expectation and does not depend on how a batch is cut over devices.
    Where `latents` is no power of two, all of them are never drawn: validation covers that count.
    """
    counts = keep_counts(latents)
    chosen = jax.random.randint(key, (), 0, len(counts))
    return jnp.asarray(counts, jnp.int32)[chosen]


def keep_mask(keep: Int[Array, ""] | int, latents: int) -> Bool[Array, " latents"]:
    """True at the first `keep` of `latents` tokens, False at those that the mask token replaces."""
    return jnp.arange(latents, dtype=jnp.int32) < keep


def register_causal_mask(registers: int, tokens: int) -> Bool[np.ndarray, "tokens tokens"]:
    """Who may attend to whom in an encoder of `tokens` tokens, of which the first are `registers`.

    True at (query, key) means that the query attends to the key. Register `i` attends to registers `0..i`
    and to every patch; patches attend to everything. Information of a later register can therefore still
    reach an earlier one through the patches, as in the released code.

    Raises:
        ValueError: more registers than tokens.
    """
    if not 0 <= registers <= tokens:
        raise ValueError(
            f"register_causal_mask: registers={registers} must lie between 0 and tokens={tokens}."
        )
    mask = np.ones((tokens, tokens), bool)
    mask[:registers, :registers] = np.tri(registers, dtype=bool)
    return mask
