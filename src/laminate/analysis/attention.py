"""Who attends to whom in a vision transformer: maps of single layers, and their product over all of them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Weights = Float[Array, "depth heads tokens tokens"]
Matrix = Float[Array, "tokens tokens"]


def rollout(weights: Weights) -> Matrix:
    """`A_last ... A_1 A_0` with `A_i = (mean over heads + identity) / 2`, of rows that sum to one (Abnar & Zuidema
    2020): from how much of each input token an output token is made, if attention were all."""
    mixed = (jnp.mean(weights.astype(jnp.float32), axis=1) + jnp.eye(weights.shape[-1])[None]) / 2.0
    mixed = mixed / jnp.sum(mixed, axis=-1, keepdims=True)

    def after(product: Matrix, layer: Matrix) -> tuple[Matrix, None]:
        return jnp.matmul(layer, product, precision=jax.lax.Precision.HIGHEST), None

    return jax.lax.scan(after, jnp.eye(weights.shape[-1], dtype=jnp.float32), mixed)[0]


def on_grid(
    matrix: Float[Array, "*lead queries keys"], queries: slice, prefix: int, grid: tuple[int, int]
) -> Float[Array, "*lead some rows columns"]:
    """What these queries give to each patch, laid out on the grid; patches come after `prefix` other tokens.

    Raises ValueError if the patches are not those of the grid.
    """
    chosen = matrix[..., queries, prefix:]
    if chosen.shape[-1] != grid[0] * grid[1]:
        raise ValueError(
            f"on_grid: {chosen.shape[-1]} patches behind {prefix} tokens are no grid of {grid[0]} x {grid[1]}."
        )
    return chosen.reshape(*chosen.shape[:-1], *grid)
