"""Images, channels last, at twice or half their size without a trained number."""

import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float


def nearest_double(
    x: Float[Array, "rows columns channels"],
) -> Float[Array, "new_rows new_columns channels"]:
    """Every place four times, as a square."""
    return jnp.repeat(jnp.repeat(x, 2, axis=0), 2, axis=1)


def pixel_shuffle(
    x: Float[Array, "rows columns channels"],
) -> Float[Array, "new_rows new_columns new_channels"]:
    """Four channels as a square of four places: `y[2i + a, 2j + b, c] = x[i, j, 4c + 2a + b]` (Shi et al. 2016).

    Raises ValueError for channels that are no multiple of four.
    """
    if x.shape[2] % 4:
        raise ValueError(f"Four channels become one with four times the places, and {x.shape[2]} are given.")
    return rearrange(x, "i j (c a b) -> (i a) (j b) c", a=2, b=2)


def pixel_unshuffle(
    x: Float[Array, "rows columns channels"],
) -> Float[Array, "new_rows new_columns new_channels"]:
    """The inverse of `pixel_shuffle`. Raises ValueError for sides that are no multiples of two."""
    if x.shape[0] % 2 or x.shape[1] % 2:
        raise ValueError(f"A square of four places becomes one, and {x.shape[0]}x{x.shape[1]} are given.")
    return rearrange(x, "(i a) (j b) c -> i j (c a b)", a=2, b=2)


def repeat_channels(
    x: Float[Array, "rows columns channels"], channels: int
) -> Float[Array, "rows columns {channels}"]:
    """Every channel as often as makes `channels` of them, its copies side by side.

    Raises ValueError if that is no whole number of times.
    """
    if channels % x.shape[2]:
        raise ValueError(
            f"{x.shape[2]} channels cannot be repeated to {channels}: that is no multiple of them."
        )
    return jnp.repeat(x, channels // x.shape[2], axis=2)


def duplicate_up(
    x: Float[Array, "rows columns channels"], channels: int
) -> Float[Array, "new_rows new_columns {channels}"]:
    """The shortcut around an up-sampling of DC-AE (Chen et al. 2025): `pixel_shuffle` of repeated channels.

    `y[2i + a, 2j + b, c] = x[i, j, (4c + 2a + b) // r]` with `r = 4 channels / x.channels`; without a change of
    channels that is `nearest_double`. Raises ValueError where `r` is no whole number.
    """
    return pixel_shuffle(repeat_channels(x, 4 * channels))


def average_channels(
    x: Float[Array, "rows columns channels"], channels: int
) -> Float[Array, "rows columns {channels}"]:
    """The means of as many neighbouring channels as make `channels` of them: what undoes `repeat_channels`.

    Raises ValueError if that is no whole number.
    """
    if x.shape[2] % channels:
        raise ValueError(
            f"{x.shape[2]} channels cannot be averaged to {channels}: they are no multiple of that."
        )
    return jnp.mean(x.reshape(*x.shape[:2], channels, -1), axis=3)


def average_down(
    x: Float[Array, "rows columns channels"], channels: int
) -> Float[Array, "new_rows new_columns {channels}"]:
    """The shortcut around a down-sampling of DC-AE (Chen et al. 2025): means of channels of `pixel_unshuffle`.

    It undoes `duplicate_up`. Raises ValueError for sides that are no multiples of two, and where `channels` does not
    divide four times those of `x`.
    """
    return average_channels(pixel_unshuffle(x), channels)
