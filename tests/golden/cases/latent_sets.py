"""What sets of latents and features tell: information between tokens, dimension, redundancy of patches, spectra."""

import numpy as np

from laminate.analysis.dimension import neighbour_dimension, spectrum, two_nn
from laminate.analysis.information import (
    gaussian_information,
    ksg_information,
    scalar_correlation,
    token_correlation,
    token_mean_correlation,
    within_correlation,
)
from laminate.analysis.redundancy import bin_edges, decay, exact_redundancy, redundancy
from laminate.analysis.spectra import normalised, radial_spectrum, token_spectrum

from ..options import Options
from ..reader import CannotRun, Golden
from .adm import ABOUT_THE_FILE

_LATENTS = "/latents"


def information(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    pairs = options.take("ksg", {})
    options.ignore(*ABOUT_THE_FILE)
    options.none_left()
    produced: dict[str, np.ndarray | float] = {}
    for name in golden.inputs:
        if not name.endswith(_LATENTS):
            continue
        tag, latents = name.removesuffix(_LATENTS), golden.input(name)
        tokens, within = token_correlation(latents), within_correlation(latents)
        produced |= {
            f"{tag}/tc_token": tokens.total,
            f"{tag}/tc_token_regularisation": tokens.regularisation,
            f"{tag}/tc_token_logdet_joint": tokens.logdet_joint,
            f"{tag}/tc_token_sum_logdet_tokens": tokens.sum_logdet_tokens,
            f"{tag}/tc_within_token": within.mean,
            f"{tag}/tc_within_token_per_token": within.per_token,
            f"{tag}/tc_scalar": scalar_correlation(latents),
            f"{tag}/mi_gaussian": gaussian_information(latents),
            f"{tag}/token_mean_correlation": token_mean_correlation(latents),
        }
    for tag, values in pairs.items():
        pair = Options(f"ksg.{tag}", values)
        k = pair.take("k")
        pair.none_left()
        x, y = (golden.input(f"ksg/{tag}/{side}") for side in "xy")
        produced[f"ksg/{tag}/kraskov"] = ksg_information(x, y, k=k)
        produced[f"ksg/{tag}/flatdino"] = ksg_information(x, y, k=k, neighbours="flatdino")
    return {name: np.asarray(value) for name, value in produced.items()}


def dimension(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    sets, counts, discarded = (options.take(name) for name in ("sets", "mle_k", "twonn_discarded"))
    options.ignore(*ABOUT_THE_FILE)
    options.none_left()
    produced: dict[str, np.ndarray | float] = {}
    for tag in sets:
        points = golden.input(f"{tag}/points")
        spread, ratio = spectrum(points), two_nn(points, discarded=float(discarded))
        produced |= {
            f"{tag}/explained_variance_ratio": spread.explained,
            f"{tag}/pca_95": spread.components(0.95),
            f"{tag}/pca_99": spread.components(0.99),
            f"{tag}/participation_ratio": spread.participation_ratio,
            f"{tag}/effective_rank": spread.effective_rank,
            f"{tag}/twonn_mle": ratio.mle,
            f"{tag}/twonn_fit": ratio.fit,
        }
        for k in counts:
            # A set with duplicates has no such dimension, nor one of too few points.
            if f"{tag}/mle/k{k}/levina_bickel" in golden.outputs:
                found = neighbour_dimension(points, k=k)
                produced |= {f"{tag}/mle/k{k}/{name}": value for name, value in found._asdict().items()}
    return {name: np.asarray(value) for name, value in produced.items()}


def patches(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    grid, runs = tuple(options.take("grid")), options.take("runs")
    options.ignore(*ABOUT_THE_FILE)
    options.none_left()
    features, tokens = golden.input("features"), golden.input("tokens")
    exact = exact_redundancy(features, grid)._asdict()
    produced = {f"exact/{'count' if name == 'pairs' else name}": value for name, value in exact.items()}
    for tag, values in runs.items():
        run = Options(f"runs.{tag}", values)
        bins, farthest = run.take("bins"), run.take("max_distance")
        run.none_left()
        edges = golden.input(f"{tag}/bin_edges")
        if not np.allclose(
            edges,
            bin_edges(grid, bins=bins, max_distance=None if farthest is None else float(farthest)),
            rtol=1e-12,
        ):
            raise CannotRun(f"{golden.path}: {tag}/bin_edges are not those of config runs.{tag}")
        found = redundancy(features, grid, edges)
        produced |= {
            f"{tag}/bin_centres": found.centres,
            f"{tag}/mean": found.mean,
            f"{tag}/std": found.std,
            f"{tag}/count": found.pairs,
        }
        if farthest is not None:
            lost = decay(found, float(farthest))
            produced |= {f"{tag}/drop": lost.drop, f"{tag}/half_decay_distance": lost.half_distance}
    radial = radial_spectrum(features.reshape(len(features), *grid, -1))
    along = token_spectrum(tokens)
    produced |= {
        "spectrum/radial": radial,
        "spectrum/radial_normalised": normalised(radial),
        "spectrum/tokens": along,
        "spectrum/tokens_normalised": normalised(along),
    }
    return {name: np.asarray(value) for name, value in produced.items()}
