"""Distances of two sets of features: CMMD, KID of given subsets, MIND of given directions, CKA, FDD."""

import numpy as np

from laminate.evals.cka import linear_cka, unbiased_cka, unbiased_hsic
from laminate.evals.cmmd import cmmd
from laminate.evals.fid import fid
from laminate.evals.kid import kid_of_subsets
from laminate.evals.mind import mind

from ..options import Options
from ..reader import Golden
from .adm import ABOUT_THE_FILE
from .set_measures import moments


def produce(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    pairs = options.take("cka", [])
    sigma, scale = (float(options.take(f"cmmd_{name}")) for name in ("sigma", "scale"))
    degree, coef0 = int(options.take("kid_degree")), float(options.take("kid_coef0"))
    options.ignore(*ABOUT_THE_FILE)
    options.none_left()
    spread = kid_of_subsets(*_pair(golden, "kid"), *_pair(golden, "kid", "_rows"), degree=degree, coef0=coef0)
    x, y = (
        golden.input(f"mind/{side}")[golden.inputs.get(f"mind/{side}_rows", slice(None))] for side in "xy"
    )
    produced: dict[str, float] = {
        "cmmd": cmmd(*_pair(golden, "cmmd"), sigma=sigma, scale=scale),
        "kid_mean": spread.mean,
        "kid_std": spread.std,
        "mind": mind(x, y, golden.input("mind/gaussians")),
        "fdd": fid(moments(golden, "fdd/x"), moments(golden, "fdd/y")),
    }
    for tag in pairs:
        both = _pair(golden, f"cka/{tag}")
        produced |= {
            f"cka/{tag}/biased": linear_cka(*both),
            f"cka/{tag}/unbiased": unbiased_cka(*both),
            f"cka/{tag}/unbiased_hsic": unbiased_hsic(*both),
        }
    return {name: np.asarray(value) for name, value in produced.items()}


def _pair(golden: Golden, of: str, what: str = "") -> tuple[np.ndarray, np.ndarray]:
    return golden.input(f"{of}/x{what}"), golden.input(f"{of}/y{what}")
