"""Where each latent token acts: zero it, decode, and measure what changed at every patch."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.types import Latents, Tokens

Decode = Callable[[Latents], Tokens]
Heat = Float[Array, "latents patches"]


def ablate(decode: Decode, z: Latents) -> Heat:
    """heat[t, p] = || decode(z)_p - decode(z with token t zeroed)_p ||_2 in float32, for one example.

    `decode` maps latents (latents, features) to patch features (patches, dim), without randomness.
    """
    whole = decode(z).astype(jnp.float32)

    def change(token: Array) -> Float[Array, " patches"]:
        kept = jnp.arange(z.shape[0]) != token
        difference = decode(jnp.where(kept[:, None], z, jnp.zeros_like(z))).astype(jnp.float32) - whole
        return jnp.sqrt(jnp.sum(jnp.square(difference), axis=-1))

    return jax.lax.map(change, jnp.arange(z.shape[0]))


@eqx.filter_jit
def token_ablation(
    decode: Decode, latents: Float[Array, "examples latents latent_dim"], *, device_batch_size: int = 32
) -> Heat:
    """`ablate` averaged over examples (FlatDINO, token ablation), `device_batch_size` of them at a time.

    Hand over `decode` as a module or a module's method, so that its arrays are arguments of the compiled
    function. Zero is what `decode` reads as zero: with normalised latents it is the mean latent.
    """
    heat = jax.lax.map(lambda z: ablate(decode, z), latents, batch_size=device_batch_size)
    return jnp.mean(heat, axis=0)


def spatial_entropy(heat: Heat) -> Float[Array, " latents"]:
    """H[t] = -sum_p q log q with q = heat[t, p] / (sum_p heat[t, p] + 1e-10), in nats.

    0 for a token that acts on one patch, log(patches) for one that acts everywhere alike.
    """
    share = heat / (jnp.sum(heat, axis=-1, keepdims=True) + 1e-10)
    return -jnp.sum(jax.scipy.special.xlogy(share, share), axis=-1)


def token_importance(heat: Heat) -> Float[Array, " latents"]:
    """The mean of a token's heat over patches."""
    return jnp.mean(heat, axis=-1)
