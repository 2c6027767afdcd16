"""The nearest features of a set, and those that lie in balls around them.

Found by products in float32, whose error is bounded, and decided in float64 wherever that error could matter; in tiles.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from laminate.evals.distances import padded, parts

By = Literal["distance", "product"]
Features = Float[np.ndarray, "features dim"]
Others = Float[np.ndarray, "others dim"]

ROWS, COLUMNS = 1024, 4096
_SPARE = 8
"""Candidates beyond those asked for, among which an error of a product may have changed the order."""
_GROUP = 32
_UNIT = 2.0**-24
"""Half the distance of neighbouring float32 numbers at one."""
_LEAST = 2.0**-120


class Nearest(NamedTuple):
    """Of each feature, the places of its nearest others, nearest first, and how near they are in float64: `|x - y|^2`,
    rising, or `x . y`, falling."""

    places: Int[np.ndarray, "features k"]
    values: Float[np.ndarray, "features k"]


class _Frame(NamedTuple):
    """`(x - centre) scale` has numbers of at most one, so that float32 can hold them and their products."""

    centre: Float[np.ndarray, " dim"]
    scale: float


def nearest(
    features: Features, others: Others, k: int, *, by: By = "distance", itself: bool = False
) -> Nearest:
    """The `k` others at the smallest distance, or of the largest product. With `itself` both sets are one, and no
    feature is its own neighbour.

    Distances are taken from the differences, so that those of near ones keep their digits and duplicates are at zero.

    Raises ValueError for a `k` below one or beyond the others.
    """
    if not 1 <= k <= len(others) - itself:
        raise ValueError(f"nearest: k={k} must be between 1 and the {len(others) - itself} others.")
    frame = _frame(features, others, by)
    longest = max(float(_lengths(part, frame).max()) for part in parts(others, COLUMNS))
    found: list[Nearest] = []
    for start in range(0, len(features), ROWS):
        mine = features[start : start + ROWS]
        own = np.arange(start, start + len(mine)) if itself else np.full(len(mine), -1)
        near, edge = _candidates(mine, own, others, k, by, frame, wide=False)
        # What was left out lies beyond the edge, by up to the error of its product.
        kth = near.values[:, -1] * frame.scale**2 * (-2.0 if by == "product" else 1.0)
        sure = kth <= edge - _slack(mine.shape[1], _lengths(mine, frame) * longest) - _UNIT * np.abs(edge)
        if not sure.all():
            again, _ = _candidates(mine[~sure], own[~sure], others, k, by, frame, wide=True)
            near.places[~sure], near.values[~sure] = again
        found.append(near)
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
                tile = _within(padded(x), padded(y), padded(r, -np.inf), padded(s, -np.inf), *frame)
            sure, is_open, other_sure, is_other_open = map(np.asarray, tile)
            seen = slice(len(x)), slice(len(y))
            hit[rows] |= sure[seen[0]]
            other_hit[columns] |= other_sure[seen[1]]
            _settle(hit[rows], is_open[seen].copy(), x, y, s)
            _settle(other_hit[columns], is_other_open[seen].T.copy(), y, x, r)
    return hit, other_hit


def _settle(
    hit: Bool[np.ndarray, " features"],
    is_open: Bool[np.ndarray, "features others"],
    features: Features,
    others: Others,
    radii: Float[np.ndarray, " others"],
) -> None:
    """Sets `hit` of features that lie in one of the balls that are open to them, by differences in float64."""
    is_open[hit] = False
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
    *,
    wide: bool,
) -> tuple[Nearest, Float[np.ndarray, " features"]]:
    """The `k` nearest of the candidates that products find, and how near one has to be to be a candidate."""
    there = len(others) - int(own[0] >= 0)
    many = min(k + _SPARE, there)
    gaps = np.empty((len(mine), 0), np.float64 if wide else np.float32)
    places = np.empty((len(mine), 0), np.int64)
    for start in range(0, len(others), COLUMNS):
        theirs = others[start : start + COLUMNS]
        with jax.enable_x64(True):
            ours = (padded(mine), padded(own - start, -1.0))
            tile = np.asarray(_gaps_of(*ours, padded(theirs), len(theirs), *frame, by, wide))[: len(mine)]
        at = _least(tile, many)
        gaps = np.concatenate([gaps, np.take_along_axis(tile, at, axis=1)], axis=1)
        places = np.concatenate([places, at + start], axis=1)
        best = _least(gaps, many)
        gaps = np.take_along_axis(gaps, best, axis=1)
        places = np.take_along_axis(places, best, axis=1)
    edge = (
        np.full(len(mine), np.finfo(np.float64).max) if many == there else gaps.max(axis=1).astype(np.float64)
    )
    values = np.stack([_value(mine, others[places[:, column]], by) for column in range(many)], axis=1)
    order = np.argsort(values if by == "distance" else -values, axis=1, kind="stable")[:, :k]
    return Nearest(*(np.take_along_axis(each, order, axis=1) for each in (places, values))), edge


def _least(tile: Float[np.ndarray, "rows columns"], many: int) -> Int[np.ndarray, "rows _"]:
    """The places of the smallest of each row, in no order; all of them where there are no more."""
    rows, columns = tile.shape
    if columns <= many:
        return np.broadcast_to(np.arange(columns), tile.shape)
    if columns % _GROUP or columns < 4 * many * _GROUP:
        return np.argpartition(tile, many - 1, axis=1)[:, :many]
    # The smallest ones lie in as many groups of the smallest least numbers.
    groups = tile.reshape(rows, -1, _GROUP)
    at = np.argpartition(groups.min(axis=-1), many - 1, axis=1)[:, :many]
    few = np.take_along_axis(groups, at[..., None], axis=1).reshape(rows, -1)
    within = (at[..., None] * _GROUP + np.arange(_GROUP)).reshape(rows, -1)
    return np.take_along_axis(within, np.argpartition(few, many - 1, axis=1)[:, :many], axis=1)


@partial(jax.jit, static_argnums=(6, 7))
def _gaps_of(
    x: Array, own: Array, y: Array, columns: ArrayLike, centre: Array, scale: ArrayLike, by: By, wide: bool
) -> Array:
    """`|x - y|^2`, or `-2 x . y`, in the frame; infinite for what is no other feature."""
    gaps = _gaps(x, y, centre, scale, by, wide)[0]
    place = jnp.arange(len(y))[None, :]
    kept = jnp.where((place < columns) & (place != own[:, None]), gaps, jnp.inf)
    return kept if wide else kept.astype(jnp.float32)


@jax.jit
def _within(
    x: Array, y: Array, radii: Array, other_radii: Array, centre: Array, scale: ArrayLike
) -> list[Array]:
    """Whether a row is inside one of the balls for sure, and in which it may be; the same of the columns."""
    gaps, slack = _gaps(x, y, centre, scale, "distance", False)
    unit = jnp.square(scale)

    def judged(bound: Array, axis: int) -> list[Array]:
        sure = gaps <= bound - slack
        return [sure.any(axis=axis), ~sure & (gaps <= bound + slack)]

    return judged(other_radii[None, :] * unit, 1) + judged(radii[:, None] * unit, 0)


def _gaps(
    x: Array, y: Array, centre: Array, scale: ArrayLike, by: By, wide: bool
) -> tuple[Float[Array, "rows columns"], Float[Array, "rows columns"]]:
    """Squared distances, or `-2 x . y`, and how far products in float32 may be off."""
    x, y = ((each.astype(jnp.float64) - centre[None, :]) * scale for each in (x, y))
    dtype = jnp.float64 if wide else jnp.float32
    product = jnp.dot(x.astype(dtype), y.astype(dtype).T, precision="highest").astype(jnp.float64)
    squares = [jnp.square(each).sum(axis=1) for each in (x, y)]
    both = squares[0][:, None] + squares[1][None, :]
    slack = _slack(x.shape[1], jnp.sqrt(squares[0])[:, None] * jnp.sqrt(squares[1])[None, :])
    return (both if by == "distance" else 0.0) - 2.0 * product, slack + 1e-14 * both


def _slack(dim: int, lengths: Any) -> Any:
    """How far `2 x . y` may be off, of such a product of lengths: each number, product and sum is rounded once."""
    return 2.0 * (dim + 3) * _UNIT * lengths + _LEAST


def _frame(features: Features, others: Others, by: By) -> _Frame:
    dim = features.shape[1]
    centre = others.mean(axis=0, dtype=np.float64) if by == "distance" else np.zeros(dim)
    each = (part for group in (features, others) for part in parts(group, COLUMNS))
    largest = max(float(np.abs(part - centre).max(initial=0.0)) for part in each)
    return _Frame(centre, 1.0 / largest if largest > 0 else 1.0)


def _lengths(rows: Features, frame: _Frame) -> Float[np.ndarray, " features"]:
    return np.linalg.norm((rows - frame.centre) * frame.scale, axis=1)


def _apart(x: Features, y: Features) -> Float[np.ndarray, " features"]:
    return np.square(x.astype(np.float64) - y).sum(axis=1)


def _value(x: Features, y: Features, by: By) -> Float[np.ndarray, " features"]:
    return (
        _apart(x, y)
        if by == "distance"
        else np.einsum("nd,nd->n", x.astype(np.float64), y.astype(np.float64))
    )
