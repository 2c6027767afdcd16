"""Sets of images as networks see them: every image is read once, and what is kept of it is its features."""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

from laminate.analysis.evaluation_figures import TILES
from laminate.evals.set_measures import SetFeatures
from laminate.runs.feature_sets import Extractor
from laminate.runs.image_sets import Images, ImageSet, Passing
from laminate.runs.waiting import counted


class Seen(NamedTuple):
    """The features of a set by the name of the network, and a few of its images; None of moments alone."""

    features: dict[str, SetFeatures]
    shown: Images | None


def see(extractor: Extractor, said: str, images: Iterable[Images], count: int) -> Seen:
    """Of `count` images, with a bar. Raises as `Extractor.gather`."""
    passing = Passing(counted(images, said, count), count, shown=TILES)
    return Seen(extractor.gather(said, passing), passing.shown)


def see_set(extractor: Extractor, images: ImageSet) -> Seen:
    """Of a set by name, with the moments and the hash of its file or the hash of its pixels; of moments alone the same
    ones stand for every network. Raises as `Extractor.gather`."""
    pool, spatial = images.moments()
    if not images.has_images:
        assert images.file is not None
        alone = SetFeatures(images.said, None, pool, spatial, sha256=images.file.sha256())
        return Seen({network.name: alone for network in extractor.networks}, None)
    passing = Passing(counted(images.images(), images.said, images.count), images.count, shown=TILES)
    found = extractor.gather(images.said, passing)
    sha256 = passing.sha256 if images.file is None else images.file.sha256()
    own = {} if pool is None else {"moments": pool, "spatial": spatial}
    features = {name: dataclasses.replace(one, sha256=sha256, **own) for name, one in found.items()}
    return Seen(features, passing.shown)
