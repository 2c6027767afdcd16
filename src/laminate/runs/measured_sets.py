"""Two sets of images held against each other by every network that sees them."""

from collections.abc import Collection, Mapping, Sequence

from laminate.evals.set_measures import Measured, SetFeatures, measure_sets, with_floor
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
