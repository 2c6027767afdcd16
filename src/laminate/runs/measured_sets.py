"""Two sets of images held against each other by every network that sees them."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from jaxtyping import Float

from laminate.analysis.image_quality import CONVENTIONS
from laminate.evals.image_figures import image_figures
from laminate.evals.protocols import ORIGINALS
from laminate.evals.set_measures import (
    During,
    Measured,
    SetFeatures,
    as_reference,
    measure_sets,
    with_floor,
)
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
    during: During = nullcontext,
) -> list[Measured]:
    """Every measure of `samples` against `reference`, or `only` those of some kinds; beside each the same of `real`
    images. Each is made `during` what a line about it is given to. Raises as `measure_sets`."""

    def held(mine: Features, network: FeatureNetwork, *, paired: bool) -> list[Measured]:
        name, how = network.name, network.protocol(view, rounding, order)
        pair = mine[name], reference[name]
        counts = " against ".join(f"{one.count:,}" if one.count else "moments" for one in pair)

        def saying(measure: str) -> AbstractContextManager[object]:
            return during(f"{measure} by {name}, {counts}")

        return measure_sets(*pair, how, name, seed=seed, paired=paired, only=only, during=saying)

    found: list[Measured] = []
    for network in networks:
        mine = held(samples, network, paired=paired)
        found += mine if real is None else with_floor(mine, held(real, network, paired=False))
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
    during: During = nullcontext,
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
        during=during,
    )
