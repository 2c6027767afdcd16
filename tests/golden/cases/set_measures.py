"""Measures of two sets of features: Fréchet distance, Inception score, KID, precision and recall."""

import re

import numpy as np

from laminate.evals.fid import FeatureMoments, fid
from laminate.evals.inception_score import inception_score
from laminate.evals.kid import kid
from laminate.evals.precision_recall import precision_recall

from ..options import Options
from ..reader import CannotRun, Golden

_SUBSETS = re.compile(r"kid_subsets(\d+)_half_mean")
_RBF = re.compile(r"kid_rbf_sigma(\d+(?:\.\d+)?)")
_SEED = 2020


def produce(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    splits, k = options.take("splits", 10), options.take("k", 3)
    options.ignore("note", "tolerance", "torch_fidelity", "dtype", "C", "d", "n1", "n2", "low")
    options.ignore(*(name for name in golden.config if name.startswith("kid_subsets")))
    options.none_left()
    generated, real, logits = (golden.input(name) for name in ("features_1", "features_2", "logits"))
    first, second = moments(golden, "features_1"), moments(golden, "features_2")
    score = inception_score(logits, splits=splits)
    near = precision_recall(generated, real, k=k)
    produced: dict[str, np.ndarray | float] = {
        "fid": fid(first, second),
        "mu_1": first.mean,
        "sigma_1": first.covariance,
        "is_mean": score.mean,
        "is_std": score.std,
        "is_single_split": inception_score(logits, splits=1).mean,
        f"precision_k{k}": near.precision,
        f"recall_k{k}": near.recall,
    }
    if "features_low_1" in golden.inputs:
        produced["fid_low"] = fid(moments(golden, "features_low_1"), moments(golden, "features_low_2"))
    produced |= _kernel_distances(golden, generated, real)
    return {name: np.asarray(value) for name, value in produced.items() if name in golden.outputs}


def _kernel_distances(golden: Golden, generated: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Of equally many features; of subsets, as many as the name says, of half of them."""
    count = min(len(generated), len(real))
    produced = {"kid": kid(generated[:count], real[:count])}
    for name in golden.outputs:
        if of_width := _RBF.fullmatch(name):
            produced[name] = kid(generated[:count], real[:count], kernel="gaussian", sigma=float(of_width[1]))
        elif of_subsets := _SUBSETS.fullmatch(name):
            values = _of_subsets(generated, real, int(of_subsets[1]), count // 2)
            start = name.removesuffix("_mean")
            produced |= {name: float(np.mean(values)), f"{start}_std": float(np.std(values))}
    return produced


def _of_subsets(generated: np.ndarray, real: np.ndarray, subsets: int, size: int) -> list[float]:
    if size < 2:
        raise CannotRun(f"subsets of {size} features have no kernel distance")
    draws = np.random.RandomState(_SEED)
    values: list[float] = []
    for _ in range(subsets):
        ours, theirs = (
            features[draws.choice(len(features), size, replace=False)] for features in (generated, real)
        )
        values.append(kid(ours, theirs))
    return values


def moments(golden: Golden, name: str) -> FeatureMoments:
    features = golden.input(name)
    gathered = FeatureMoments(features.shape[1])
    gathered.update(features)
    return gathered
