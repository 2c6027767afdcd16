"""All measures of a set of images against another one, from features that were gathered of both."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from laminate.evals.cmmd import cmmd
from laminate.evals.distances import parts
from laminate.evals.fid import (
    FeatureMoments,
    few,
    fid,
    fid_of_few,
    frechet_check,
    frechet_distance,
    frechet_spread,
)
from laminate.evals.inception_score import inception_score, inception_scores
from laminate.evals.kid import draw_subsets, kid_of_subsets
from laminate.evals.mind import draw_directions, mind
from laminate.evals.precision_recall import precision_recall
from laminate.evals.protocols import (
    AS_GIVEN,
    OF_A_SPLIT,
    PRECISION,
    PROTOCOLS,
    SCORED,
    SPATIAL,
    Protocol,
    deviations,
    with_output,
)

RESAMPLES = 20
SUBSETS, SUBSET = 100, 1000
DIRECTIONS = 1000
NEIGHBOURS = 3
SPLIT, SORTED = 5000, 0.95
"""Samples of a split of ADM's evaluator, and the share of the score of shuffled ones below which that is said."""
DEGENERATE = 0.05
"""Share of features that depend on others from which on that is said; behind a norm one always does."""
_ROWS = 4096
"""Features that are looked through at once."""
During = Callable[[str], AbstractContextManager[object]]
"""What a measure is made in, by its name: something may be shown meanwhile."""
CHEAP = 512
"""Numbers of a feature up to which a Fréchet distance is measured again and again for its spread."""


@dataclass(frozen=True)
class SetFeatures:
    """What one network makes of a set of images: `pool` of each, `logits` where it has some, and moments of `spatial`
    features, which are too many to keep. A reference file has moments alone."""

    said: str
    pool: Float[np.ndarray, "images dim"] | None
    moments: FeatureMoments | None = None
    spatial: FeatureMoments | None = None
    logits: Float[np.ndarray, "images classes"] | None = None
    sha256: str = ""
    """Of the images, or of the file."""
    role: str = ""
    """What it is as a reference (`Protocol.reference`), if that is not what it is called."""
    data: str = ""
    """Of which data it is, as `--data` names them."""

    @property
    def count(self) -> int:
        """Images; 0 of a file that does not say."""
        return 0 if self.pool is None else len(self.pool)


@dataclass(frozen=True)
class Measured:
    """A figure, with all that it depends on.

    `spread` is its deviation over `spread_over`, `floor` the same measure of as many real images, `follows` the named
    protocols that it is measured by, `remarks` what a reader has to know before comparing it.
    """

    name: str
    value: float
    protocol: Protocol
    spread: float | None = None
    spread_over: str = ""
    floor: float | None = None
    diagnostics: dict[str, float] = field(default_factory=dict[str, float])
    remarks: tuple[str, ...] = ()

    @property
    def follows(self) -> tuple[str, ...]:
        return tuple(name for name, one in PROTOCOLS.items() if not deviations(self.protocol, one.protocol))


def measure_sets(
    samples: SetFeatures,
    reference: SetFeatures,
    protocol: Protocol,
    network: str,
    *,
    seed: int = 0,
    paired: bool = False,
    only: Collection[str] | None = None,
    during: During = nullcontext,
) -> list[Measured]:
    """Every measure that the features of both sets allow, or `only` those of these kinds, as `Protocol.measure` has
    them.

    `protocol` says how the features were made; each measure adds its own part, and is made `during` what its kind is
    given to. `network` is what its name ends in:
    `fd@embedded`. Sets that are `paired`, as images and what became of them, depend on each other: they have no KID,
    which is unbiased for independent ones alone, and no spread.

    Raises ValueError for features of different widths, sets of fewer than two images, or features that are not finite.
    """
    _require_alike(samples, reference)
    base = dataclasses.replace(
        protocol,
        samples=samples.count,
        reference=reference.role or reference.said,
        data=reference.data,
        reference_sha256=reference.sha256,
        precision=protocol.precision or PRECISION,
    )
    found: list[Measured] = []
    for measure, make in _measures(samples, reference, base, network, seed, paired):
        if only is None or measure in only:
            with during(measure):
                found += make()
    return found


def _measures(
    samples: SetFeatures, reference: SetFeatures, base: Protocol, network: str, seed: int, paired: bool
) -> Iterator[tuple[str, Callable[[], list[Measured]]]]:
    """Those that the features allow, by the names that protocols have for them."""
    yield (
        _frechet_kind(network),
        lambda: [_frechet(samples, reference, base, network, None if paired else seed)],
    )
    if samples.pool is not None and reference.pool is not None:
        made = (samples.pool, reference.pool, base, network)
        if not paired:
            yield "kid", lambda: [_kid(*made)]
        yield "cmmd", lambda: [_cmmd(*made)]
        yield "precision and recall", lambda: _nearness(*made)
        yield "mind", lambda: [_mind(*made, seed)]
    if (mine := samples.spatial) is not None and (theirs := reference.spatial) is not None:
        against = _of_moments(base, reference.moments)
        yield "sfid", lambda: [_sfid(mine, theirs, against)]
    if (logits := samples.logits) is not None:
        yield "inception score", lambda: _scores(logits, base)


def as_reference(sets: Mapping[str, SetFeatures], role: str, data: str) -> dict[str, SetFeatures]:
    """`sets`, by the name of the network, as what others are held against."""
    return {name: dataclasses.replace(one, role=role, data=data) for name, one in sets.items()}


def with_floor(found: Iterable[Measured], real: Iterable[Measured]) -> list[Measured]:
    """`found`, each beside the same measure of real images."""
    floors = {one.name: one.value for one in real}
    return [dataclasses.replace(one, floor=floors.get(one.name)) for one in found]


def _require_alike(samples: SetFeatures, reference: SetFeatures) -> None:
    widths = [
        each.pool.shape[1] if each.pool is not None else len(each.moments.mean) if each.moments else 0
        for each in (samples, reference)
    ]
    if widths[0] != widths[1]:
        raise ValueError(
            f"{samples.said} has features of {widths[0]} numbers and {reference.said} of {widths[1]}: they are of "
            "different networks. Moments of ADM's files are those of Inception-v3: give --inception."
        )
    for each in (samples, reference):
        if each.pool is None:
            continue
        if len(each.pool) < 2:
            raise ValueError(
                f"{each.said} has {len(each.pool)} images, and a distance of sets needs two of each."
            )
        if not all(np.isfinite(part).all() for part in parts(each.pool, _ROWS)):
            raise ValueError(f"{each.said}: a feature is not finite; one of its images holds a NaN.")


def _frechet_kind(network: str) -> str:
    return "fid" if network.partition("-")[0] == "inception" else "fd"


def _frechet(
    samples: SetFeatures, reference: SetFeatures, base: Protocol, network: str, seed: int | None
) -> Measured:
    convention, measure = network.partition("-")[2], _frechet_kind(network)
    name = f"fd@{network}" if measure == "fd" else f"fid@{convention}" if convention else "fid"
    made = _of_moments(dataclasses.replace(base, measure=measure), reference.moments)
    mine, theirs = moments_of(samples), moments_of(reference)
    moments = (mine.mean, mine.covariance, theirs.mean, theirs.covariance)
    checked = frechet_check(*moments)
    diagnostics = {
        "clipped_mass": checked.clipped_mass,
        "clipped_root_mass": checked.clipped_root_mass,
        "rank": float(checked.rank),
        "reference_rank": float(checked.other_rank),
    }
    remarks = _frechet_remarks(samples, reference, len(mine.mean), (checked.rank, checked.other_rank))
    spread, over = None, ""
    pool, other = samples.pool, reference.pool
    if seed is not None and pool is not None and other is not None and pool.shape[1] <= CHEAP:
        spread = frechet_spread(pool, *moments[2:], resamples=RESAMPLES, seed=seed)
        over = f"{RESAMPLES} bootstrap resamples of the samples"
    if pool is not None and other is not None and few(pool) and few(other):
        exact = fid_of_few(pool, other)
    else:
        exact = frechet_distance(*moments)
    return Measured(name, exact, made, spread, over, None, diagnostics, remarks)


def _frechet_remarks(
    samples: SetFeatures, reference: SetFeatures, dim: int, ranks: tuple[int, int]
) -> tuple[str, ...]:
    found: list[str] = []
    for each, rank in zip((samples, reference), ranks, strict=True):
        if each.pool is not None and few(each.pool):
            found.append(
                f"{each.said}: {each.count:,} images are too few for {dim:,} features, their covariance is singular "
                "and the distance biased upwards; compare with equally many images only"
            )
        elif rank < (1.0 - DEGENERATE) * dim:
            found.append(f"{each.said}: {dim - rank} of {dim:,} features are constant or depend on others")
    return tuple(found)


def _kid(x: np.ndarray, y: np.ndarray, base: Protocol, network: str) -> Measured:
    size = max(2, min(SUBSET, min(len(x), len(y)) // 2))
    spread = kid_of_subsets(x, y, *draw_subsets(len(x), len(y), subsets=SUBSETS, size=size))
    options = (
        ("subsets", float(SUBSETS)),
        ("images of a subset", float(size)),
        ("degree", 3.0),
        ("coef0", 1.0),
    )
    made = dataclasses.replace(base, measure="kid", options=options, seed=2020)
    return Measured(f"kid@{network}", spread.mean, made, spread.std, f"{SUBSETS} subsets of {size}")


def _cmmd(x: np.ndarray, y: np.ndarray, base: Protocol, network: str) -> Measured:
    made = dataclasses.replace(base, measure="cmmd", options=(("sigma", 10.0), ("scale", 1000.0)))
    remark = "biased upwards: the diagonal is counted"
    return Measured(f"cmmd@{network}", cmmd(x, y), made, remarks=(remark,))


def _nearness(x: np.ndarray, y: np.ndarray, base: Protocol, network: str) -> list[Measured]:
    if min(len(x), len(y)) <= NEIGHBOURS:
        return []
    made = dataclasses.replace(
        base, measure="precision and recall", options=(("neighbours", float(NEIGHBOURS)),)
    )
    near = precision_recall(x, y, k=NEIGHBOURS)
    remarks = (
        ()
        if len(x) == len(y)
        else (f"of sets of {len(x):,} and {len(y):,}: recall falls with fewer samples",)
    )
    return [
        Measured(f"precision@{network}", near.precision, made, remarks=remarks),
        Measured(f"recall@{network}", near.recall, made, remarks=remarks),
    ]


def _mind(x: np.ndarray, y: np.ndarray, base: Protocol, network: str, seed: int) -> Measured:
    rng = np.random.default_rng(seed)
    count = min(len(x), len(y))
    drawn = (np.sort(rng.choice(len(each), count, replace=False)) for each in (x, y))
    a, b = (each if len(each) == count else each[rows] for each, rows in zip((x, y), drawn, strict=True))
    value = mind(a, b, draw_directions(x.shape[1], directions=DIRECTIONS, seed=seed))
    made = dataclasses.replace(
        base, measure="mind", samples=count, options=(("directions", float(DIRECTIONS)),), seed=seed
    )
    return Measured(f"mind@{network}", value, made)


def _scores(logits: np.ndarray, base: Protocol) -> list[Measured]:
    """Of shuffled samples, and of samples in an order that somebody gave them in that order too, as ADM's evaluator."""
    made = dataclasses.replace(
        base,
        measure="inception score",
        network=with_output(base.network, SCORED),
        reference="none",
        data="",
        reference_sha256="",
    )
    rows = np.random.default_rng(0).permutation(len(logits))
    splits = min(10, max(1, len(logits) // 1000))
    found = inception_score(logits, splits=splits, order=rows)
    shuffled = dataclasses.replace(
        made, order="shuffled with seed 0", options=(("splits", float(splits)),), seed=0
    )
    few = len(logits) < 1000 * splits
    remarks = (f"{len(logits):,} images are too few to know the marginal of 1008 classes",) if few else ()
    name = "inception-score"
    scores = [Measured(name, found.mean, shuffled, found.std, f"{splits} splits", remarks=remarks)]
    if base.order == AS_GIVEN:
        given = dataclasses.replace(made, options=((OF_A_SPLIT, float(SPLIT)),))
        ordered, mixed = (inception_scores(each, size=SPLIT) for each in (logits, logits[rows]))
        spread = float(ordered.std()) if len(ordered) > 1 else None
        value, other = float(ordered.mean()), float(mixed.mean())
        more = (f"the file is sorted: shuffled, it is {other:.4g}",) if value < SORTED * other else ()
        over = "" if spread is None else f"splits of {SPLIT}"
        scores.append(Measured(f"{name}@adm", value, given, spread, over, remarks=(*remarks, *more)))
    return scores


def _of_moments(made: Protocol, moments: FeatureMoments | None) -> Protocol:
    """Said of a reference whose file holds moments: it may hold other images beside."""
    return made if moments is None else dataclasses.replace(made, reference=f"{made.reference}, moments")


def moments_of(each: SetFeatures) -> FeatureMoments:
    """Those that were gathered, or those of the features. Raises ValueError if there are neither."""
    if each.moments is not None:
        return each.moments
    if each.pool is None:
        raise ValueError(f"{each.said} has neither features nor their moments.")
    return FeatureMoments.of(each.pool)


def _sfid(mine: FeatureMoments, theirs: FeatureMoments, base: Protocol) -> Measured:
    made = dataclasses.replace(base, measure="sfid", network=with_output(base.network, SPATIAL))
    return Measured("sfid", fid(mine, theirs), made)
