"""How much the tokens of a latent say about each other: total correlation and mutual information."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree
from scipy.special import digamma

LatentSet = Float[np.ndarray, "images tokens dim"]
Pairs = Float[np.ndarray, "tokens tokens"]
_RIDGE = 1e-6


class TokenCorrelation(NamedTuple):
    """`total` is half the difference of the two log-determinants, in nats."""

    total: float
    regularisation: float
    logdet_joint: float
    sum_logdet_tokens: float


class WithinCorrelation(NamedTuple):
    """Of each token, and its mean."""

    mean: float
    per_token: Float[np.ndarray, " tokens"]


def token_correlation(latents: LatentSet) -> TokenCorrelation:
    """`(sum_t logdet C_t - logdet C) / 2`: what a Gaussian of this covariance loses if its tokens were independent.

    Both with `max(1e-6, 1e-6 λ)` on the diagonal, `λ` the largest eigenvalue of `C`. Biased upwards by about
    `(D^2 - sum_t d_t^2) / (4 images)` for `D` numbers in all, and bounded by the regularisation alone where there are
    fewer images than numbers.

    Raises ValueError for fewer than two images.
    """
    joint = _covariance(latents.reshape(len(latents), -1))
    ridge = max(_RIDGE, _RIDGE * float(np.linalg.eigvalsh(joint)[-1]))
    whole = _logdet(joint, ridge)
    alone = sum(_logdet(block, ridge) for block in _blocks(joint, latents.shape[1]))
    return TokenCorrelation((alone - whole) / 2.0, ridge, whole, alone)


def within_correlation(latents: LatentSet) -> WithinCorrelation:
    """The same among the numbers of each token, with 1e-6 on the diagonal."""
    joint = _covariance(latents.reshape(len(latents), -1))
    each = np.asarray([_scalars(block) for block in _blocks(joint, latents.shape[1])])
    return WithinCorrelation(float(each.mean()), each)


def scalar_correlation(latents: LatentSet) -> float:
    """The same among all numbers of all tokens."""
    return _scalars(_covariance(latents.reshape(len(latents), -1)))


def token_mean_correlation(latents: LatentSet) -> Pairs:
    """The correlation of the tokens' means over their features; NaN for a token whose mean does not vary."""
    means = latents.astype(np.float64).mean(axis=2)
    covariance = _covariance(means)
    deviation = np.sqrt(np.diag(covariance))
    safe = np.where(deviation > 0, deviation, np.nan)
    return np.clip(covariance / np.outer(safe, safe), -1.0, 1.0)


def gaussian_information(latents: LatentSet) -> Pairs:
    """Mutual information of each pair of tokens as Gaussians, in nats, at least zero; on the diagonal their entropy.

    `(logdet C_s + logdet C_t - logdet C_st) / 2` and `(dim log(2 pi e) + logdet C_t) / 2`, with 1e-6 on the diagonal
    of each covariance. Biased upwards by about `dim^2 / (2 images)`.
    """
    tokens, dim = latents.shape[1:]
    joint = _covariance(latents.reshape(len(latents), -1)).reshape(tokens, dim, tokens, dim)
    own = np.asarray([_logdet(joint[t, :, t], _RIDGE) for t in range(tokens)])
    found = np.diag((dim * np.log(2.0 * np.pi * np.e) + own) / 2.0)
    for s in range(tokens):
        for t in range(s):
            both = joint[[s, t]][:, :, [s, t]].reshape(2 * dim, 2 * dim)
            found[s, t] = found[t, s] = max(0.0, (own[s] + own[t] - _logdet(both, _RIDGE)) / 2.0)
    return found


def ksg_information(
    x: Float[np.ndarray, "points dim"],
    y: Float[np.ndarray, "points other_dim"],
    *,
    k: int = 5,
    neighbours: Literal["strict", "flatdino"] = "strict",
) -> float:
    """Mutual information from nearest neighbours, in nats (Kraskov et al. 2004, algorithm 1):

    `psi(k) - mean(psi(n_x + 1) + psi(n_y + 1)) + psi(n)`

    with `n_x`, `n_y` the other points strictly nearer in `x`, in `y`, than the `k`-th nearest one in both, by the
    largest difference of a coordinate. May be a little negative. `flatdino` counts points at that distance too and cuts
    off at zero, which biases it downwards. What never varies tells nothing: zero. Points that are copies of others have
    no density, and are taken to share too much.

    Raises ValueError for sets of different sizes, or no more than `k` points.
    """
    count = len(x)
    if count != len(y) or not 1 <= k < count:
        raise ValueError(
            f"ksg_information: needs more than k={k} points of both, at least one; got {count} and {len(y)}."
        )
    a, b = x.astype(np.float64), y.astype(np.float64)
    if not (np.ptp(a, axis=0).any() and np.ptp(b, axis=0).any()):
        return 0.0
    reach = _reach(np.concatenate([a, b], axis=1), k)
    radius = np.nextafter(reach, -np.inf) if neighbours == "strict" else reach
    nearer = [
        # The point itself is counted, unless its k-th neighbour is in the same place and nothing is strictly nearer.
        np.where(radius < 0, 1, KDTree(each).query_ball_point(each, radius, p=np.inf, return_length=True))
        for each in (a, b)
    ]
    found = digamma(k) - np.mean(digamma(nearer[0]) + digamma(nearer[1])) + digamma(count)
    return float(found) if neighbours == "strict" else max(0.0, float(found))


def _covariance(rows: Float[np.ndarray, "images numbers"]) -> Float[np.ndarray, "numbers numbers"]:
    if len(rows) < 2:
        raise ValueError(f"A covariance needs two images, got {len(rows)}.")
    wide = rows.astype(np.float64)
    centred = wide - wide.mean(axis=0)
    return centred.T @ centred / (len(rows) - 1)


def _blocks(joint: np.ndarray, tokens: int) -> list[np.ndarray]:
    dim = len(joint) // tokens
    return [joint[t * dim : (t + 1) * dim, t * dim : (t + 1) * dim] for t in range(tokens)]


def _logdet(covariance: np.ndarray, ridge: float) -> float:
    return float(np.linalg.slogdet(covariance + ridge * np.eye(len(covariance)))[1])


def _scalars(covariance: np.ndarray) -> float:
    return (float(np.log(np.diag(covariance) + _RIDGE).sum()) - _logdet(covariance, _RIDGE)) / 2.0


def _reach(points: Float[np.ndarray, "points dim"], k: int) -> Float[np.ndarray, " points"]:
    """The distance of each point to its `k`-th nearest other one."""
    return KDTree(points).query(points, k=k + 1, p=np.inf)[0][:, k]
