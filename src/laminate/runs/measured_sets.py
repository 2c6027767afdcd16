"""Two sets of images held against each other by every network that sees them."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from laminate.analysis.image_quality import CONVENTIONS
from laminate.evals.image_figures import image_figures
from laminate.evals.protocols import ORIGINALS
from laminate.evals.set_measures import Measured, SetFeatures, as_reference, measure_sets, with_floor
from laminate.runs.feature_networks import FeatureNetwork

Features = Mapping[str, SetFeatures]
"""Of one set, by the name of the network."""


def measured(
    networks: Sequence[FeatureNetwork],
    samples: Features,
    reference: Features,
    *,
    view: str,
    rounding: str,
    seed: int,
    real: Features | None = None,
    order: str = "",
    paired: bool = False,
    only: Collection[str] | None = None,
) -> list[Measured]:
    """Every measure of `samples` against `reference`, or `only` those of some kinds; beside each the same of `real`
    images. Raises as `measure_sets`."""
    found: list[Measured] = []
    for network in networks:
        how, name = network.protocol(view, rounding, order), network.name
        mine = measure_sets(samples[name], reference[name], how, name, seed=seed, paired=paired, only=only)
        if real is not None:
            mine = with_floor(
                mine, measure_sets(real[name], reference[name], how, name, seed=seed, only=only)
            )
        found += mine
    return found


def measured_pairs(
    figures: Mapping[str, Float[np.ndarray, " images"] | Sequence[float]],
    networks: Sequence[FeatureNetwork],
    pictures: Features,
    originals: Features,
    *,
    view: str,
    rounding: str,
    seed: int,
    data: str,
    only: Collection[str] | None = None,
) -> list[Measured]:
    """What became of images of `data`: the mean of each figure, and every measure of the two sets, or `only` those of
    some kinds.

    One image has its figures, and no distance of sets, which is remarked on. Raises as `image_figures` and
    `measure_sets`.
    """
    found = image_figures({name: np.asarray(each) for name, each in figures.items()}, view, CONVENTIONS)
    found = [dataclasses.replace(one, protocol=dataclasses.replace(one.protocol, data=data)) for one in found]
    if all(one.protocol.samples < 2 for one in found):
        remark = "of one image: a distance of sets needs two of each"
        return [dataclasses.replace(one, remarks=(*one.remarks, remark)) for one in found]
    return found + measured(
        networks,
        pictures,
        as_reference(originals, ORIGINALS, data),
        view=view,
        rounding=rounding,
        seed=seed,
        paired=True,
        only=only,
    )
