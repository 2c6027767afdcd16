"""What latents tell by themselves: statistics, what tokens share, and how many dimensions there are."""

from typing import Any

import numpy as np
from jaxtyping import Float

from laminate.analysis.baseline import principal_components
from laminate.analysis.dimension import neighbour_dimension, spectrum, two_nn
from laminate.analysis.information import (
    gaussian_information,
    ksg_information,
    scalar_correlation,
    token_correlation,
    token_mean_correlation,
    within_correlation,
)
from laminate.analysis.panels import Bars, Lines, Matrix, panel_page
from laminate.runs.analyses.subject import Finding, Seen, Subject

IMAGES_PER_NUMBER = 4
"""Fewer than that, and a covariance says more of the images that were drawn than of the latents."""
KSG_DIMS = 2
KSG_POINTS = 1000
MLE_NEIGHBOURS = 10
PATCHES = 4096
"""Points whose neighbours are looked for: a few thousand say as much, and all pairs cost their square."""


def latent_statistics(subject: Subject, seen: Seen, seed: int) -> Finding:
    """Mean, deviation and norm of each token, raw and normalised."""
    raw, normal = seen.raw.astype(np.float64), seen.latents.astype(np.float64)
    norms = np.linalg.norm(raw, axis=-1)
    tokens = [str(token) for token in range(raw.shape[1])]
    deviation = normal.std(axis=0)
    numbers = {
        "norm_mean": norms.mean(axis=0),
        "norm_deviation": norms.std(axis=0),
        "mean": raw.mean(axis=0),
        "deviation": raw.std(axis=0),
        "normalised_mean": normal.mean(axis=0),
        "normalised_deviation": deviation,
        "dead": int((raw.std(axis=0) < 1e-6).sum()),
    }
    counts, edges = np.histogram(normal, bins=60, range=(-5, 5))
    middle, wide = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    density = counts / (normal.size * wide)  # of all numbers, those outside too
    gauss = np.exp(-np.square(middle) / 2) / np.sqrt(2 * np.pi)
    panels = [
        Bars(
            "Length of each token (raw)",
            "mean, bar: deviation over images",
            tokens,
            norms.mean(0),
            norms.std(0),
            x="token",
        ),
        Matrix("Deviation of every number (raw)", "number", "token", raw.std(axis=0)),
        Lines(
            "All normalised numbers",
            "value",
            "density",
            [("latents", middle, density, None), ("standard normal", middle, gauss, None)],
        ),
        Matrix("Mean of every number (normalised)", "number", "token", normal.mean(axis=0), around_zero=True),
    ]
    unevenness = float(norms.mean(axis=0).max() / max(norms.mean(axis=0).min(), 1e-12))
    summary = (
        f"tokens have lengths from {norms.mean(axis=0).min():.3g} to {norms.mean(axis=0).max():.3g} "
        f"({unevenness:.2f}x), {numbers['dead']} of {raw[0].size} numbers never vary"
    )
    says = f"{seen.count:,} images through {subject.name}. Normalised numbers have mean 0 and deviation 1 by design."
    return Finding(
        numbers, summary, lambda path: panel_page(panels, path, title="Statistics of the latents", says=says)
    )


def total_correlation(subject: Subject, seen: Seen, seed: int) -> Finding:
    """What all tokens share, beside how the estimate depends on the number of images."""
    latents, components = _enough(seen.latents)
    tokens, dim = latents.shape[1:]
    counts = [count for count in (seen.count // 4, seen.count // 2, seen.count) if count > tokens * dim]
    counts = counts or [seen.count]
    whole = [token_correlation(latents[:count]) for count in counts]
    within = within_correlation(seen.latents)
    correlation = token_mean_correlation(seen.latents)
    drawn = np.random.default_rng(seed).standard_normal(latents.shape)
    independent = [token_correlation(drawn[:count]).total for count in counts]
    numbers = {
        "images": counts,
        "components_of_a_token": dim,
        "total_correlation_nats": [one.total for one in whole],
        "of_independent_gaussians_nats": independent,
        "first_order_bias_nats": tokens * dim**2 * (tokens - 1) / (4.0 * seen.count),
        "regularisation": whole[-1].regularisation,
        "within_token_nats": within.per_token,
        "within_token_mean_nats": within.mean,
        "among_all_numbers_nats": scalar_correlation(latents),
        "token_mean_correlation": correlation,
    }
    places = np.asarray(counts)
    panels = [
        Lines(
            "Total correlation of the tokens",
            "images",
            "nats",
            [
                ("latents", places, np.asarray([one.total for one in whole]), None),
                ("independent Gaussians", places, np.asarray(independent), None),
            ],
        ),
        Matrix("Correlation of the tokens' means", "token", "token", correlation, around_zero=True),
        Bars("Among the numbers of each token", "nats", _names(seen.latents), within.per_token, x="token"),
    ]
    summary = (
        f"tokens share {whole[-1].total:.1f} nats as Gaussians of {seen.count:,} images, where independent ones are "
        f"measured at {independent[-1]:.1f}"
    )
    says = (
        f"{subject.name}: independent tokens would share nothing. Estimates depend on the number of images."
    )
    page = lambda path: panel_page(panels, path, title="Total correlation", says=says)
    return Finding(numbers, summary, page, components)


def mutual_information(subject: Subject, seen: Seen, seed: int) -> Finding:
    """Of each pair of tokens: as Gaussians, and by nearest neighbours of their principal components."""
    latents, components = _enough(seen.latents)
    tokens, dim = latents.shape[1:]
    gaussian = gaussian_information(latents)
    reduced = _components(seen.latents[:KSG_POINTS], KSG_DIMS)
    neighbours = np.full((tokens, tokens), np.nan)
    for s in range(tokens):
        for t in range(s):
            neighbours[s, t] = neighbours[t, s] = ksg_information(reduced[:, s], reduced[:, t], k=5)
    off = ~np.eye(tokens, dtype=bool)
    shown = np.where(off, gaussian, np.nan)
    apart = np.abs(np.subtract.outer(np.arange(tokens), np.arange(tokens)))
    gaps = np.arange(1, tokens)
    far = np.asarray([gaussian[apart == gap].mean() for gap in gaps])
    bias = dim**2 / (2.0 * seen.count)
    numbers = {
        "components_of_a_token": dim,
        "gaussian_nats": gaussian,
        "gaussian_mean_nats": float(gaussian[off].mean()) if tokens > 1 else 0.0,
        "entropies_nats": np.diag(gaussian).copy(),
        "ksg_nats": neighbours,
        "ksg_mean_nats": float(neighbours[off].mean()) if tokens > 1 else 0.0,
        "ksg_components": KSG_DIMS,
        "ksg_points": len(reduced),
        "bias_of_gaussian_nats": bias,
    }
    panels = [
        Matrix("As Gaussians, nats", "token", "token", shown),
        Matrix(f"By nearest neighbours of {KSG_DIMS} components, nats", "token", "token", neighbours),
        Lines(
            "By how far apart tokens are", "difference of their numbers", "nats", [("pairs", gaps, far, None)]
        ),
    ]
    summary = (
        f"a pair of tokens shares {numbers['gaussian_mean_nats']:.2f} nats as Gaussians on average (of which bias "
        f"about {bias:.2f}), {numbers['ksg_mean_nats']:.2f} by neighbours of {KSG_DIMS} components"
    )
    says = f"{subject.name}: dark pairs say the same. Gaussian estimates are too high by about {bias:.2f}."
    page = lambda path: panel_page(panels, path, title="Mutual information", says=says)
    return Finding(numbers, summary, page, (*components, *_copies(seen)))


def dimension(subject: Subject, seen: Seen, seed: int) -> Finding:
    """Table 3: how many dimensions pixels, the teacher's features and the latents have."""
    rng = np.random.default_rng(seed)
    sets: dict[str, Float[np.ndarray, "points numbers"]] = {
        "images": seen.images.reshape(seen.count, -1),
        "latents": seen.latents.reshape(seen.count, -1),
        "tokens": seen.latents.reshape(-1, seen.latents.shape[-1]),
    }
    if seen.features is not None:
        sets["patches"] = seen.features.reshape(-1, seen.features.shape[-1])
        sets["pixel patches"] = subject.pixel_patches(seen.images)
        sets["features"] = seen.features.reshape(seen.count, -1)
    constant = [name for name, points in sets.items() if not np.ptp(points, axis=0).any()]
    if constant:
        raise ValueError(
            f"dimension: the {', '.join(constant)} of these {seen.count:,} images are all the same, and have no "
            "dimension: give --data with images that differ."
        )
    found = {name: _dimensions(points.astype(np.float32), rng) for name, points in sets.items()}
    names = list(found)
    curves = [
        (name, np.arange(1, len(one["explained"]) + 1), np.cumsum(one["explained"]), None)
        for name, one in found.items()
    ]
    under = [name.replace(" ", "\n") for name in names]
    column = lambda key: np.asarray([found[name][key] for name in names], np.float64)
    panels = [
        Lines("Variance explained", "principal components", "share", curves, log_x=True),
        Bars("Components for 95 % of the variance", "components", under, column("pca_95"), figures=True),
        Bars("Participation ratio", "dimensions", under, column("participation_ratio"), figures=True),
        Bars("TwoNN, by nearest neighbours", "dimensions", under, column("two_nn"), figures=True),
    ]
    latent = found["latents"]
    summary = (
        f"latents of {latent['numbers']:,} numbers need {latent['pca_95']} components for 95 % of their variance, and "
        f"have {latent['two_nn']:.1f} dimensions by neighbours; images {found['images']['two_nn']:.1f}"
    )
    says = f"{seen.count:,} images, {subject.name}. Estimates by neighbours are too low where there are few points."
    remark = f"PCA of {seen.count:,} images cannot find more than {seen.count - 1:,} components"
    return Finding(
        {name: {k: v for k, v in one.items() if k != "explained"} for name, one in found.items()},
        summary,
        lambda path: panel_page(panels, path, title="Dimension", says=says),
        (remark, *_copies(seen)),
    )


def _dimensions(points: Float[np.ndarray, "points numbers"], rng: np.random.Generator) -> dict[str, Any]:
    """The spread of all points, and the neighbours among some of them."""
    spread, count = spectrum(points), len(points)
    points = _some(points, PATCHES, rng)
    near = two_nn(points)
    distinct = near.points == len(points) and len(points) > MLE_NEIGHBOURS
    return {
        "points": count,
        "points_of_neighbours": len(points),
        "numbers": points.shape[1],
        "explained": spread.explained,
        "pca_95": spread.components(0.95),
        "pca_99": spread.components(0.99),
        "participation_ratio": spread.participation_ratio,
        "effective_rank": spread.effective_rank,
        "two_nn": near.mle,
        "two_nn_fit": near.fit,
        "duplicates": len(points) - near.points,
        "levina_bickel": neighbour_dimension(points, k=MLE_NEIGHBOURS).levina_bickel if distinct else None,
    }


def _copies(seen: Seen) -> tuple[str, ...]:
    """A remark if some images have the latents of others: neighbours at no distance say nothing of a density."""
    copies = seen.count - len(np.unique(seen.latents.reshape(seen.count, -1), axis=0))
    if not copies:
        return ()
    return (f"{copies:,} of {seen.count:,} images are copies of others: estimates by neighbours mean little",)


def _enough(latents: Float[np.ndarray, "images tokens dim"]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Latents of so few numbers that their covariance is known from these images, and what was left out, in words.

    Where there are too few images, the first principal components of each token take its place.
    """
    images, tokens, dim = latents.shape
    kept = max(1, images // (IMAGES_PER_NUMBER * tokens))
    if kept >= dim:
        return latents, ()
    remark = (
        f"of the first {kept} principal components of each token: {images:,} images are too few for {tokens * dim:,} "
        f"numbers; --images {IMAGES_PER_NUMBER * tokens * dim} would do"
    )
    return _components(latents, kept), (remark,)


def _components(latents: Float[np.ndarray, "images tokens dim"], count: int) -> np.ndarray:
    """The first principal components of each token."""
    found: list[np.ndarray] = []
    for token in range(latents.shape[1]):
        rows = latents[:, token].astype(np.float32)
        axes = principal_components(rows, min(count, rows.shape[1]))
        found.append((rows - axes.mean) @ axes.directions.T)
    least = min(one.shape[1] for one in found)
    return np.stack([one[:, :least] for one in found], axis=1)


def _names(latents: Float[np.ndarray, "images tokens dim"]) -> list[str]:
    return [str(token) for token in range(latents.shape[1])]


def _some(
    rows: Float[np.ndarray, "rows dim"], count: int, rng: np.random.Generator
) -> Float[np.ndarray, "_ dim"]:
    return rows if len(rows) <= count else rows[np.sort(rng.choice(len(rows), count, replace=False))]
