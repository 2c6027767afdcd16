"""A flow that is known exactly: from standard normal noise to data N(mean, std^2), on the straight path."""

import jax.numpy as jnp

MEAN, STD = 1.5, 0.6


def velocity(x, t):
    variance = t**2 * STD**2 + (1.0 - t) ** 2
    return MEAN + (t * STD**2 - (1.0 - t)) / variance * (x - t * MEAN)


def at(noise, t):
    """Where `noise` is at time `t`."""
    return t * MEAN + jnp.sqrt(t**2 * STD**2 + (1.0 - t) ** 2) * noise
