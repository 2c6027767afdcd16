"""What tokens see: padding, and windows against the array of all pairs."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.nn import Attention, Band, Padding, RMSNorm, grid_band, raster_band
from laminate.nn.sight import attended


def grid(rows: int, columns: int, tokens: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Rows, columns and mask of a grid behind which padding stands at row and column 0."""
    row, col = np.zeros(tokens, np.int32), np.zeros(tokens, np.int32)
    row[: rows * columns], col[: rows * columns] = np.divmod(np.arange(rows * columns), columns)
    return jnp.asarray(row), jnp.asarray(col), jnp.asarray(np.arange(tokens) < rows * columns)


def random(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@jax.jit
def both(band: Band, q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    return band.attend(q, k, v), attended(q, k, v, band.pairs())


def same_as_all_pairs(band: Band, valid: np.ndarray) -> None:
    tokens = len(valid) + band.prefix
    banded, dense = both(band, *(random(2, tokens, 4, seed=i) for i in range(3)))
    kept = np.concatenate([np.ones(band.prefix, bool), valid])
    assert np.isfinite(banded).all()
    np.testing.assert_allclose(np.asarray(banded)[:, kept], np.asarray(dense)[:, kept], atol=2e-6)


@pytest.mark.parametrize(("window", "prefix", "padding"), [(1, 0, 0), (3, 2, 17), (20, 1, 5), (130, 0, 40)])
def test_windows_along_the_raster_are_those_of_all_pairs(window, prefix, padding):
    valid = np.arange(331) < 331 - padding
    band = raster_band(jnp.asarray(valid), window, prefix=prefix)
    assert band.seen_by_block < 331 or window == 130
    same_as_all_pairs(band, valid)
    i = np.arange(331)
    near = (np.abs(i[:, None] - i) <= window) & valid
    np.testing.assert_array_equal(np.asarray(band.pairs())[prefix:, prefix:], near)


@pytest.mark.parametrize("shape", [(18, 20), (1, 360), (360, 1), (3, 119), (71, 5), (7, 8)])
@pytest.mark.parametrize("prefix", [0, 2])
def test_windows_on_any_grid_are_those_of_all_pairs(shape, prefix):
    row, col, valid = grid(*shape, 361)
    band = grid_band(row, col, valid, 2, prefix=prefix)
    assert band.seen_by_block < 361
    same_as_all_pairs(band, np.asarray(valid))
    seen = np.asarray(band.pairs())
    assert seen[:prefix, prefix:][:, np.asarray(valid)].all() and seen[prefix:, :prefix].all()
    assert seen[prefix:, prefix:].sum(axis=1).max() <= 25


@given(rows=st.integers(1, 30), columns=st.integers(1, 30), window=st.integers(1, 3))
def test_what_a_patch_sees_is_within_reach_in_the_order_of_the_band(rows, columns, window):
    row, col, valid = grid(rows, columns, 900)
    band = grid_band(row, col, valid, window)
    slow_fast = np.asarray(band.place)[np.asarray(band.order)][: rows * columns]
    at = {tuple(place): i for i, place in enumerate(slow_fast.tolist())}
    far = (
        max(
            abs(i - at[(r + dr, c + dc)])
            for (r, c), i in at.items()
            for dr in (-window, window)
            for dc in (-window, window)
            if (r + dr, c + dc) in at
        )
        if rows > window and columns > window
        else 0
    )
    assert far <= band.reach


def shapes_in(jaxpr) -> set[tuple[int, ...]]:
    found = set()
    for equation in jaxpr.eqns:
        found |= {tuple(v.aval.shape) for v in equation.outvars}
        for inner in jax.tree.leaves(
            equation.params,
            is_leaf=lambda p: isinstance(p, jax.extend.core.ClosedJaxpr | jax.extend.core.Jaxpr),
        ):
            if isinstance(inner, jax.extend.core.ClosedJaxpr):
                found |= shapes_in(inner.jaxpr)
            elif isinstance(inner, jax.extend.core.Jaxpr):
                found |= shapes_in(inner)
    return found


@pytest.mark.parametrize("kind", ["raster of 256", "grid of 4"])
def test_a_step_at_4096_tokens_holds_no_array_of_all_pairs(kind):
    tokens, heads = 4096, 2
    attention = Attention(16, heads, bias=False, qk_norm=RMSNorm, key=jax.random.key(0))
    row, col, valid = grid(64, 64, tokens)
    make = {
        "raster of 256": lambda: raster_band(valid, 256, prefix=1),
        "grid of 4": lambda: grid_band(row, col, valid, 4, prefix=1),
    }[kind]
    step = jax.grad(lambda x: jnp.sum(jnp.square(attention(x, make()))))
    jaxpr = jax.make_jaxpr(step)(jax.ShapeDtypeStruct((tokens + 1, 16), jnp.float32))
    largest = max(np.prod(shape, dtype=np.int64) for shape in shapes_in(jaxpr.jaxpr))
    assert heads * tokens * 256 < largest <= heads * tokens * (make().seen_by_block + 1)
    assert largest < heads * tokens**2 / 4
    assert not [s for s in shapes_in(jaxpr.jaxpr) if sum(n >= tokens for n in s) > 1]


def test_padding_is_seen_by_nobody_and_no_valid_token_at_all_is_finite():
    attention = Attention(8, 2, key=jax.random.key(0))
    x = random(9, 8)
    valid = jnp.arange(7) < 4
    run = jax.jit(lambda x, valid: attention(x, Padding(valid, 2)))
    whole = run(x, valid)
    changed = run(x.at[6:].add(100.0), valid)
    np.testing.assert_array_equal(whole[:6], changed[:6])
    np.testing.assert_allclose(whole[:6], jax.jit(lambda x: attention(x))(x[:6]), atol=1e-6)
    assert np.isfinite(jax.jit(lambda x: attention(x, Padding(jnp.zeros(9, bool))))(x)).all()
    weights = jax.jit(lambda x, valid: attention.weights(x, Padding(valid, 2)))(x, valid)
    assert not np.asarray(weights)[:, :, 6:].any()


def test_a_window_of_nothing_and_windows_of_another_kernel_are_refused():
    with pytest.raises(ValueError, match="got window=0"):
        raster_band(jnp.ones(4, bool), 0)
    attention = Attention(8, 2, kernel="cudnn", key=jax.random.key(0))
    with pytest.raises(ValueError, match="Windows are attended to by kernel='xla'"):
        attention(random(40, 8), raster_band(jnp.ones(40, bool), 1))
