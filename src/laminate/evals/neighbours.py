"""The nearest features of a set, and those that lie in balls around them.

Found by products in float32, whose error is bounded, and decided in float64 wherever that error could matter; in tiles.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from laminate.evals.distances import padded, parts

By = Literal["distance", "product", "cosine"]
Features = Float[np.ndarray, "features dim"]
Others = Float[np.ndarray, "others dim"]

ROWS, COLUMNS = 1024, 4096
_SPARE = 8
"""Candidates beyond those asked for, among which an error of a product may have changed the order."""
_GROUP = 16
"""Columns of a tile that are looked at only if the smallest of them is small."""
_UNIT = 2.0**-24
"""Half the distance of neighbouring float32 numbers at one."""
_LEAST = 2.0**-120
_THREADS = min(4, os.cpu_count() or 1)
"""Tiles of rows that are looked at side by side: one's candidates are chosen, on one core, while another's products are
taken."""
_AT_ONCE, _WIDE = 128, 2**16
"""Features, and numbers of pairs of them, that are made wide at once: they stay in the cache."""


class Nearest(NamedTuple):
    """Of each feature, the places of its nearest others, nearest first, and how near they are in float64: `|x - y|^2`,
    rising, or `x . y` or its cosine, falling."""

    places: Int[np.ndarray, "features k"]
    values: Float[np.ndarray, "features k"]


class _Frame(NamedTuple):
    """`(x - centre) scale` has numbers of at most one, so that float32 can hold them and their products."""

    centre: Float[np.ndarray, " dim"]
    scale: float


def nearest(
    features: Features, others: Others, k: int, *, by: By = "distance", itself: bool = False
) -> Nearest:
    """The `k` others at the smallest distance, or of the largest product or cosine. With `itself` both sets are one,
    and no feature is its own neighbour. The cosine with a feature of length zero is zero.

    Distances are taken from the differences, so that those of near ones keep their digits and duplicates are at zero.

    Raises ValueError for a `k` below one or beyond the others.
    """
    if not 1 <= k <= len(others) - itself:
        raise ValueError(f"nearest: k={k} must be between 1 and the {len(others) - itself} others.")
    frame = _frame(features, others, by)
    longest = max(float(_lengths(part, frame, by).max()) for part in parts(others, COLUMNS))

    def of_rows(start: int) -> Nearest:
        mine = features[start : start + ROWS]
        own = np.arange(start, start + len(mine)) if itself else np.full(len(mine), -1)
        lengths = _lengths(mine, frame, by)
        slack = _slack(mine.shape[1], lengths * longest, longest**2)
        near, edge = _candidates(mine, own, others, k, by, frame, slack, wide=False)
        # What was left out lies beyond the edge, by up to the error of its gap.
        sure = _gap(near.values[:, -1], lengths, frame, by) <= edge - slack
        if not sure.all():
            again, _ = _candidates(mine[~sure], own[~sure], others, k, by, frame, slack[~sure], wide=True)
            near.places[~sure], near.values[~sure] = again
        return near

    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(of_rows, range(0, len(features), ROWS)))
    return Nearest(*(np.concatenate(each) for each in zip(*found, strict=True)))


def in_balls(
    features: Features,
    others: Others,
    radii: Float[np.ndarray, " features"],
    other_radii: Float[np.ndarray, " others"],
) -> tuple[Bool[np.ndarray, " features"], Bool[np.ndarray, " others"]]:
    """Which features lie in the ball of such a squared radius around one of the others, or on its surface; and which of
    the others in that of a feature."""
    frame = _frame(features, others, "distance")
    hit, other_hit = np.zeros(len(features), bool), np.zeros(len(others), bool)
    for row in range(0, len(features), ROWS):
        rows = slice(row, row + ROWS)
        x, r = features[rows], radii[rows]
        for column in range(0, len(others), COLUMNS):
            columns = slice(column, column + COLUMNS)
            y, s = others[columns], other_radii[columns]
            with jax.enable_x64(True):
                tile = _sides(padded(x), padded(y), padded(r, -np.inf), padded(s, -np.inf), *frame)
            product = np.asarray(tile[0])[: len(x), : len(y)]
            mine, theirs = (_Side(*map(np.asarray, side)) for side in tile[1:])
            _judge(hit[rows], product, mine, x, y, s)
            _judge(other_hit[columns], product.T, theirs, y, x, r)
    return hit, other_hit


class _Side(NamedTuple):
    """Of features and the others whose balls they may lie in: a feature is in one for sure if its `least` of
    `product + reach` is at most `sure`, and in none if it is beyond `may`."""

    least: Any
    sure: Any
    may: Any
    reach: Any


def _judge(
    hit: Bool[np.ndarray, " features"],
    product: Float[np.ndarray, "features others"],
    side: _Side,
    features: Features,
    others: Others,
    radii: Float[np.ndarray, " others"],
) -> None:
    """Sets `hit` of features that lie in one of the balls."""
    least, sure, may = (each[: len(hit)] for each in side[:3])
    hit |= least <= sure
    rows = np.flatnonzero(~hit & (least <= may))
    if len(rows):
        is_open = product[rows] + side.reach[: len(others)] <= may[rows, None]
        inside = np.zeros(len(rows), bool)
        _settle(inside, is_open, features[rows], others, radii)
        hit[rows] = inside


def _settle(
    hit: Bool[np.ndarray, " features"],
    is_open: Bool[np.ndarray, "features others"],
    features: Features,
    others: Others,
    radii: Float[np.ndarray, " others"],
) -> None:
    """Sets `hit` of features that lie in one of the balls that are open to them, by differences in float64."""
    while len(rows := np.flatnonzero(is_open.any(axis=1))):
        columns = is_open[rows].argmax(axis=1)
        is_open[rows, columns] = False
        inside = rows[_apart(features[rows], others[columns]) <= radii[columns]]
        hit[inside], is_open[inside] = True, False


def _candidates(
    mine: Features,
    own: Int[np.ndarray, " features"],
    others: Others,
    k: int,
    by: By,
    frame: _Frame,
    slack: Float[np.ndarray, " features"],
    *,
    wide: bool,
) -> tuple[Nearest, Float[np.ndarray, " features"]]:
    """The `k` nearest of the candidates that products find, and how near one has to be to be a candidate; `slack` is
    how far a product in float32 may be off."""
    there = len(others) - int(own[0] >= 0)
    many = min(k + _SPARE, there)
    gaps = np.empty((len(mine), 0), np.float64 if wide else np.float32)
    places = np.empty((len(mine), 0), np.int64)
    for start in range(0, len(others), COLUMNS):
        theirs = others[start : start + COLUMNS]
        with jax.enable_x64(True):
            tile = _tile(padded(mine), padded(theirs), len(theirs), *frame, by, wide)
        product, squares, least = map(np.asarray, tile)
        seen = len(mine)
        at, near = _least(product[:seen], squares, least[:seen], own - start, many)
        gaps = np.concatenate([gaps, near], axis=1)
        places = np.concatenate([places, at + start], axis=1)
        best = _smallest(gaps, many)
        gaps = np.take_along_axis(gaps, best, axis=1)
        places = np.take_along_axis(places, best, axis=1)
    edge = (
        np.full(len(mine), np.finfo(np.float64).max) if many == there else gaps.max(axis=1).astype(np.float64)
    )
    first = np.argsort(places, axis=1)  # of equals
    places, gaps = (np.take_along_axis(each, first, axis=1) for each in (places, gaps))
    # As many are as near as the `k`-th, give or take the error of both: no other one can be among the nearest.
    kth = np.partition(gaps, k - 1, axis=1)[:, k - 1].astype(np.float64)
    values = _values(mine, others, places, gaps <= (kth + 2.0 * slack)[:, None], by)
    order = np.argsort(values if by == "distance" else -values, axis=1, kind="stable")[:, :k]
    return Nearest(*(np.take_along_axis(each, order, axis=1) for each in (places, values))), edge


def _values(
    mine: Features,
    others: Others,
    places: Int[np.ndarray, "features _"],
    near: Bool[np.ndarray, "features _"],
    by: By,
) -> Float[np.ndarray, "features _"]:
    """How near the others at these places are in float64, where they are `near`; elsewhere infinitely far."""
    values = np.full(places.shape, np.inf if by == "distance" else -np.inf)
    rows, columns = np.nonzero(near)
    many = max(1, _WIDE // mine.shape[1])
    for start in range(0, len(rows), many):
        row, column = rows[start : start + many], columns[start : start + many]
        values[row, column] = _value(mine[row], others[places[row, column]], by)
    return values


def _least(
    product: Float[np.ndarray, "rows columns"],
    squares: Float[np.ndarray, " columns"],
    least: Float[np.ndarray, "rows groups"],
    own: Int[np.ndarray, " rows"],
    many: int,
) -> tuple[Int[np.ndarray, "rows _"], Float[np.ndarray, "rows _"]]:
    """The columns of the smallest gaps of each row, and the gaps, in no order; all of them where there are no more."""
    groups, size = least.shape[1], product.shape[1] // least.shape[1]
    if groups < 4 * many:
        columns = np.broadcast_to(np.arange(product.shape[1]), product.shape)
        gaps = product + squares
    else:  # the smallest ones, and perhaps its own, lie in as many groups of the smallest least gaps
        at = np.argpartition(least, many, axis=1)[:, None, : many + 1]
        columns = (at + groups * np.arange(size)[:, None]).reshape(len(least), -1)
        gaps = np.take_along_axis(product, columns, axis=1) + squares[columns]
    gaps[columns == own[:, None]] = np.inf
    best = _smallest(gaps, many)
    return np.take_along_axis(columns, best, axis=1), np.take_along_axis(gaps, best, axis=1)


def _smallest(gaps: Float[np.ndarray, "rows columns"], many: int) -> Int[np.ndarray, "rows _"]:
    if gaps.shape[1] <= many:
        return np.broadcast_to(np.arange(gaps.shape[1]), gaps.shape)
    return np.argpartition(gaps, many - 1, axis=1)[:, :many]


@partial(jax.jit, static_argnums=(5, 6))
def _tile(
    x: Array, y: Array, columns: ArrayLike, centre: Array, scale: ArrayLike, by: By, wide: bool
) -> tuple[Array, Array, Array]:
    """`product` and `squares`, whose sum is how far others are; and the least sums of a row over groups of columns.

    A group has every so-many-th column. Squares are infinite behind the last column.
    """
    x, y = (_framed(each, centre, scale, by) for each in (x, y))
    product = _product(x, y, wide)
    squares = jnp.square(y).sum(axis=1) if by == "distance" else jnp.zeros(len(y), y.dtype)
    squares = jnp.where(jnp.arange(len(y)) < columns, squares, jnp.inf).astype(product.dtype)
    gaps = (product + squares[None, :]).reshape(len(x), min(_GROUP, len(y)), -1)
    return product, squares, gaps.min(axis=1)


@jax.jit
def _sides(
    x: Array, y: Array, radii: Array, other_radii: Array, centre: Array, scale: ArrayLike
) -> tuple[Array, _Side, _Side]:
    """The products of a tile, and what says of rows and of columns whether they are inside of a ball."""
    x, y = (_framed(each, centre, scale, "distance") for each in (x, y))
    product = _product(x, y, False)
    there = [radius > -jnp.inf for radius in (radii, other_radii)]
    bounds = [radius * jnp.square(scale) for radius in (radii, other_radii)]
    squares = [
        jnp.where(is_there, jnp.square(z).sum(axis=1), 0.0) for is_there, z in zip(there, (x, y), strict=True)
    ]

    def side(mine: int, axis: int) -> _Side:
        theirs = 1 - mine
        reach = (squares[theirs] - bounds[theirs]).astype(jnp.float32)
        largest = jnp.where(there[theirs], squares[theirs] + bounds[theirs], 0.0).max()
        lengths = jnp.sqrt(squares[mine] * squares[theirs].max())
        slack = _slack(x.shape[1], lengths, largest) + 1e-14 * squares[mine]
        least = (product + jnp.expand_dims(reach, mine)).min(axis=axis)
        return _Side(least, -squares[mine] - slack, slack - squares[mine], reach)

    return product, side(0, 1), side(1, 0)


def _framed(x: Array, centre: Array, scale: ArrayLike, by: By) -> Array:
    """In float64; for cosines the directions."""
    wide = (x.astype(jnp.float64) - centre[None, :]) * scale
    if by != "cosine":
        return wide
    lengths = jnp.linalg.norm(wide, axis=1, keepdims=True)
    return wide / jnp.where(lengths > 0.0, lengths, 1.0)


def _product(x: Array, y: Array, wide: bool) -> Array:
    """`-2 x . y`."""
    dtype = jnp.float64 if wide else jnp.float32
    return jnp.dot((-2.0 * x).astype(dtype), y.astype(dtype).T, precision="highest")


def _slack(dim: int, lengths: Any, squares: Any) -> Any:
    """How far `-2 x . y + s` may be off in float32, of such a product of lengths and an `s` up to `squares`: each
    number, product and sum is rounded once."""
    return 2.0 * (dim + 4) * _UNIT * lengths + 2.0 * _UNIT * squares + _LEAST


def _gap(
    values: Float[np.ndarray, " features"], lengths: Float[np.ndarray, " features"], frame: _Frame, by: By
) -> Float[np.ndarray, " features"]:
    """Of such values, what `_tile` calls the gaps."""
    if by == "cosine":
        return -2.0 * values
    return values * frame.scale**2 * (-2.0 if by == "product" else 1.0) - (
        lengths**2 if by == "distance" else 0.0
    )


def _frame(features: Features, others: Others, by: By) -> _Frame:
    dim = features.shape[1]
    centre = others.mean(axis=0, dtype=np.float64) if by == "distance" else np.zeros(dim)
    both = (features, others)
    largest = max(float((each.max(axis=0) - centre).max(initial=0.0)) for each in both)
    least = min(float((each.min(axis=0) - centre).min(initial=0.0)) for each in both)
    reach = max(largest, -least)
    return _Frame(centre, 1.0 / reach if reach > 0 else 1.0)


def _lengths(rows: Features, frame: _Frame, by: By) -> Float[np.ndarray, " features"]:
    if by == "cosine":
        return np.ones(len(rows))
    framed = ((part - frame.centre) * frame.scale for part in parts(rows, _AT_ONCE))
    return np.concatenate([np.linalg.norm(part, axis=1) for part in framed])


def _apart(x: Features, y: Features) -> Float[np.ndarray, " features"]:
    difference = x.astype(np.float64)
    difference -= y
    return np.square(difference, out=difference).sum(axis=1)


def _value(x: Features, y: Features, by: By) -> Float[np.ndarray, " features"]:
    if by == "distance":
        return _apart(x, y)
    product = np.einsum("nd,nd->n", x.astype(np.float64), y.astype(np.float64))
    if by == "product":
        return product
    lengths = np.linalg.norm(x.astype(np.float64), axis=1) * np.linalg.norm(y.astype(np.float64), axis=1)
    return product / np.where(lengths > 0.0, lengths, 1.0)
