"""Held-out images of any size through a tokenizer and back, measured at their own sizes, and by resolution."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from laminate.analysis.gallery import Pair
from laminate.analysis.image_quality import sized_quality
from laminate.analysis.patch_reconstruction import there_and_back
from laminate.data.augment import Augment
from laminate.data.evaluation import evaluation_batches
from laminate.data.host_slice import HostShare
from laminate.data.patch_views import PatchView, converted
from laminate.data.patches import GRID, PATCHES, from_patches
from laminate.data.records import Records
from laminate.data.views import LongSide
from laminate.evals.set_measures import SetFeatures
from laminate.parallel.feeding import feed, parts_of_host
from laminate.parallel.sharding import place
from laminate.recipes.latent import LoadedTokenizer
from laminate.runs.feature_networks import FeatureNetwork
from laminate.runs.feature_sets import Extractor, FeatureSet, some_of
from laminate.runs.measured_reconstructions import THERE_AND_BACK
from laminate.runs.waiting import counted_batches
from laminate.train.step import GlobalBatch, make_map, map_batches

SHOWN = 18
_SHOWN_OF, _SHOWN_BYTES = 512, 2**27
"""The first images, of which those are chosen; of large ones as many as fit."""
_MARGIN = 5
"""Of the window of SSIM, beyond the last row and column."""


class Both(NamedTuple):
    """An image and what became of it, float32 in [-1, 1], the latter not clipped."""

    original: Float[np.ndarray, "height width 3"]
    rebuilt: Float[np.ndarray, "height width 3"]


@dataclass
class Resolution:
    """The images whose sides are at most `height` and `width`, powers of two of patches, and above the next smaller
    ones: their places among all, and figures of each."""

    height: int
    width: int
    figures: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    places: list[int] = field(default_factory=list[int])

    @property
    def name(self) -> str:
        return f"{self.height}x{self.width}"

    @property
    def count(self) -> int:
        return len(self.places)

    def of(self, sets: Mapping[str, SetFeatures]) -> dict[str, SetFeatures]:
        """These images of sets of all, by network."""
        return {name: some_of(one, f"{one.said} of {self.name}", self.places) for name, one in sets.items()}


@dataclass(frozen=True)
class RebuiltAnySize:
    """What all images became: figures in their order, both sets by network, which are which resolution, smallest first,
    and some pairs from the tallest to the widest."""

    figures: dict[str, Float[np.ndarray, " images"]]
    originals: dict[str, SetFeatures]
    pictures: dict[str, SetFeatures]
    resolutions: tuple[Resolution, ...]
    shown: tuple[Pair, ...]


def still_view(recipe: Any, longest: int | None) -> tuple[Augment, str]:
    """What is measured of an image, and that in words: what validation sees, or whole images whose longest side is at
    most `longest` pixels."""
    if longest is None:
        still = recipe.augment.still()
        return still.transform(), still.text
    room = math.ceil(longest / recipe.patch) ** 2
    view = PatchView(recipe.patch, room, (LongSide(longest),), oriented=recipe.augment.oriented)
    return view, f"longest side {longest}"


def rebuild_any_size(
    loaded: LoadedTokenizer,
    records: Records,
    networks: list[FeatureNetwork],
    view: Augment,
    *,
    mesh: Mesh,
    dtype: jnp.dtype,
    global_batch_size: int,
    max_bad_images: int,
) -> RebuiltAnySize:
    """Every record as `view` shows it. All hosts come here, and each has all figures.

    Raises ValueError for an image that holds a NaN.
    """
    model, patch = place(loaded.model, mesh), loaded.recipe.patch
    batches = evaluation_batches(
        records,
        global_batch_size=global_batch_size,
        augment=view,
        share=HostShare(*parts_of_host(mesh)),
        max_bad_images=max_bad_images,
    )
    rebuild = make_any_size_rebuild(
        model, patch, networks, mesh=mesh, dtype=dtype, global_batch_size=global_batch_size
    )
    counted = counted_batches(batches, THERE_AND_BACK, len(records), global_batch_size=global_batch_size)
    return rebuild(model, feed(counted, mesh))


def make_any_size_rebuild(
    model: Any,
    patch: int,
    networks: list[FeatureNetwork],
    *,
    mesh: Mesh,
    dtype: jnp.dtype,
    global_batch_size: int,
) -> Callable[[Any, Iterable[GlobalBatch]], RebuiltAnySize]:
    """`rebuild(model, batches)` of models like this one on the mesh, compiled once."""
    apply = make_map(partial(there_and_back, dtype=dtype), model, None, mesh=mesh, compute_dtype=dtype)
    extractors = {one.name: Extractor([one], mesh, global_batch_size=global_batch_size) for one in networks}

    def rebuild(model: Any, batches: Iterable[GlobalBatch]) -> RebuiltAnySize:
        gathered = _Gathered(networks, extractors, global_batch_size, patch)
        for found in map_batches(apply, model, None, batches):
            gathered.add(found)
        return gathered.found()

    return rebuild


class _Gathered:
    """The measures as images come."""

    def __init__(
        self, networks: list[FeatureNetwork], extractors: dict[str, Extractor], batch: int, patch: int
    ):
        self._networks, self._extractors = networks, extractors
        self._batch, self._patch = batch, patch
        self._rows: list[dict[str, float]] = []
        self._originals: dict[str, FeatureSet] = {}
        self._pictures: dict[str, FeatureSet] = {}
        self._by: dict[tuple[int, int], Resolution] = {}
        self._shown: list[Both] = []
        self._room = _SHOWN_BYTES

    def add(self, found: dict[str, np.ndarray]) -> None:
        """The images of one batch."""
        both = [self._both(found, row) for row in range(len(found[GRID]))]
        self._show(both)
        keys = [_bucket(one.original.shape, self._patch) for one in both]
        measured: list[dict[str, float]] = [{} for _ in both]
        for key in dict.fromkeys(keys):
            rows = [row for row, mine in enumerate(keys) if mine == key]
            for row, figures in zip(rows, _measured([both[r] for r in rows], key, self._batch), strict=True):
                measured[row] = figures
        for key, figures in zip(keys, measured, strict=True):
            mine = self._by.setdefault(key, Resolution(*key))
            mine.places.append(len(self._rows))
            self._rows.append(figures)
            for name, value in figures.items():
                mine.figures.setdefault(name, []).append(value)
        for network in self._networks:
            self._see(network, both)

    def _show(self, both: Sequence[Both]) -> None:
        for one in both:
            self._room -= one.original.nbytes + one.rebuilt.nbytes
            if self._shown and (self._room < 0 or len(self._shown) == _SHOWN_OF):
                return
            self._shown.append(one)

    def found(self) -> RebuiltAnySize:
        """All of them. Raises ValueError if there was none."""
        if not self._rows:
            raise ValueError("There is no image that can be read.")
        figures = {name: np.asarray([row[name] for row in self._rows]) for name in self._rows[0]}
        originals, pictures = (
            {name: one.found() for name, one in sets.items()} for sets in (self._originals, self._pictures)
        )
        resolutions = tuple(self._by[key] for key in sorted(self._by))
        return RebuiltAnySize(figures, originals, pictures, resolutions, _pairs(self._shown))

    def _both(self, found: dict[str, np.ndarray], row: int) -> Both:
        example = {name: array[row] for name, array in found.items()}
        rebuilt = from_patches({**example, PATCHES: example["rebuilt"]}, self._patch)
        return Both(from_patches(example, self._patch), rebuilt)

    def _see(self, network: FeatureNetwork, both: Sequence[Both]) -> None:
        for kind, sets, images in (
            ("originals", self._originals, [one.original for one in both]),
            ("pictures", self._pictures, [one.rebuilt for one in both]),
        ):
            # In [0, 1] only where the network clips it: a filter with negative lobes is to see what was drawn.
            sized = np.stack([network.sized(0.5 * image + 0.5) for image in images])
            mine = sets.setdefault(network.name, FeatureSet(f"the {kind}"))
            for features in self._extractors[network.name].features([sized]):
                mine.add(features[network.name])


def _bucket(shape: Sequence[int], patch: int) -> tuple[int, int]:
    """Height and width in pixels of the smallest powers of two of patches that hold an image."""
    rows, columns = (1 << (math.ceil(side / patch) - 1).bit_length() for side in shape[:2])
    return rows * patch, columns * patch


def _measured(both: Sequence[Both], bucket: tuple[int, int], batch: int) -> Iterator[dict[str, float]]:
    """The figures of images that fit the bucket; one program serves all of them, whose batch is filled up."""
    filled = [*both, *[both[-1]] * (batch - len(both))]
    canvases = [np.stack([_canvas(one[kind], bucket) for one in filled]) for kind in (1, 0)]
    sizes = np.asarray([one.original.shape[:2] for one in filled], np.int32)
    found = jax.tree.map(np.asarray, _quality(*map(jnp.asarray, (*canvases, sizes))))
    for row in range(len(both)):
        yield {name: float(values[row]) for name, values in found.items()}


@jax.jit
def _quality(rebuilt: Array, original: Array, sizes: Array) -> dict[str, Array]:
    return jax.vmap(sized_quality)(rebuilt, original, sizes)


def _canvas(image: np.ndarray, bucket: tuple[int, int]) -> np.ndarray:
    missing = [(0, side + _MARGIN - have) for side, have in zip(bucket, image.shape[:2], strict=True)]
    return np.pad(image, (*missing, (0, 0)))


def _pairs(both: Iterable[Both]) -> tuple[Pair, ...]:
    """At most `SHOWN`, evenly spread from the tallest to the widest."""
    ordered = sorted(both, key=lambda one: one.original.shape[1] / one.original.shape[0])
    chosen = sorted({int(at) for at in np.linspace(0, len(ordered) - 1, min(len(ordered), SHOWN))})
    return tuple(_pair(ordered[at]) for at in chosen)


def _pair(both: Both) -> Pair:
    original, rebuilt = (converted(one, values="minus_one_to_one", to="zero_to_one") for one in both)
    error = max(float(np.mean(np.square(original - rebuilt))), 1e-10)
    height, width = original.shape[:2]
    return Pair(original, rebuilt, f"{height} x {width}\n{-10 * np.log10(error):.1f} dB")
