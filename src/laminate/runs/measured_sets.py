"""Two sets of images held against each other by every network that sees them."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from laminate.evals.set_measures import During, Measured, SetFeatures, measure_sets, with_floor
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
