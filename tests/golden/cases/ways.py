"""Latents between two others, and iFID's neighbours of a latent."""

import numpy as np

from laminate.analysis.interpolation import between, flat_slerp
from laminate.evals.ifid import nearest_latents, neighbour_weights, same_class_neighbours

from ..options import Options
from ..reader import Golden
from .adm import ABOUT_THE_FILE

_FIRST = "/a"


def produce(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    eps, alpha, top = (options.take(name) for name in ("eps", "ifid_alpha", "ifid_top"))
    options.ignore(*ABOUT_THE_FILE)
    options.none_left()
    places = golden.input("t")
    produced: dict[str, np.ndarray] = {}
    for name in golden.inputs:
        if not name.endswith(_FIRST):
            continue
        tag = name.removesuffix(_FIRST)
        a, b = golden.input(name), golden.input(f"{tag}/b")
        produced[f"{tag}/linear"] = between(a, b, places, "linear")
        produced[f"{tag}/spherical"] = between(a, b, places, "spherical", eps=float(eps))
        produced[f"{tag}/flat_slerp"] = flat_slerp(a, b, places)
    produced |= _neighbours(golden, alpha, top)
    return {name: value for name, value in produced.items() if name in golden.outputs}


def _neighbours(golden: Golden, alpha: float, top: int) -> dict[str, np.ndarray]:
    latents, others = golden.input("ifid/latents"), golden.input("ifid/others")
    flat, flat_others = (each.reshape(len(each), -1) for each in (latents, others))
    found = nearest_latents(flat, flat_others, top=top)
    chosen = others[np.take_along_axis(found, golden.input("ifid/choice")[:, None], axis=1)[:, 0]]
    labels = (golden.input("ifid/labels"), golden.input("ifid/other_labels"))
    return {
        "ifid/neighbours": found,
        "ifid/neighbours_same_class": same_class_neighbours(flat, labels[0], flat_others, labels[1], top=top),
        "ifid/weights": neighbour_weights(flat, flat_others, found),
        "ifid/interpolant": flat_slerp(latents, chosen, np.asarray([float(alpha)]))[:, 0],
    }
