"""Features of sets of images, gathered over the mesh: nothing but them is kept of an image."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Num

from laminate.data.host_slice import HostShare
from laminate.evals.fid import FeatureMoments
from laminate.evals.set_measures import SetFeatures
from laminate.parallel.feeding import HostBatch, feed, parts_of_host
from laminate.parallel.sharding import place
from laminate.runs.feature_networks import FeatureNetwork
from laminate.train.step import make_map, map_batches

Images = Num[np.ndarray, "images height width 3"]
_NO_IMAGES = hashlib.sha256().digest()
"""What the hash of a set of features begins with."""


class FeatureSet:
    """The features of one set, as they come: `add` them, then ask for the `found` set."""

    def __init__(self, said: str):
        self.said = said
        self._pool: list[np.ndarray] = []
        self._logits: list[np.ndarray] = []
        self._spatial: FeatureMoments | None = None

    def add(self, features: dict[str, np.ndarray]) -> None:
        """Features of some images, by the names that a network gives them.

        Raises ValueError if some of them are not finite.
        """
        for name, rows in features.items():
            if not np.isfinite(rows).all():
                raise ValueError(f"{self.said}: {name} of an image is not finite; the image holds a NaN.")
        self._pool.append(features["pool"])
        if "logits" in features:
            self._logits.append(features["logits"])
        if "spatial" in features:
            spatial = self._spatial or FeatureMoments(features["spatial"].shape[1])
            spatial.update(features["spatial"])
            self._spatial = spatial

    def found(self) -> SetFeatures:
        """All of them; they are handed over. Raises ValueError if there was none."""
        if not self._pool:
            raise ValueError(f"{self.said} has no image.")
        logits = _handed_over(self._logits) if self._logits else None
        pool = _handed_over(self._pool)
        return SetFeatures(self.said, pool, None, self._spatial, logits, _digest(pool))


def some_of(whole: SetFeatures, said: str, places: Sequence[int]) -> SetFeatures:
    """The pooled features of some images of a set. Raises ValueError for a set of moments alone."""
    if whole.pool is None:
        raise ValueError(f"{whole.said} has moments alone, and no features of {said}.")
    pool = whole.pool[np.asarray(places, np.int64)]
    return SetFeatures(said, pool, sha256=_digest(pool))


def _digest(pool: np.ndarray) -> str:
    digest = hashlib.sha256(_NO_IMAGES)
    digest.update(pool.data)
    return digest.hexdigest()


def _handed_over(parts: list[np.ndarray]) -> np.ndarray:
    """One after the other, in an array that takes the place of the parts: both are never there whole."""
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    end = len(whole)
    while parts:
        some = parts.pop()
        whole[end - len(some) : end] = some
        end -= len(some)
    return whole


class Extractor:
    """Several networks at once over images of a batch, compiled once for each size of image."""

    def __init__(self, networks: list[FeatureNetwork], mesh: Mesh, *, global_batch_size: int):
        self.networks = networks
        self._mesh = mesh
        self._global = global_batch_size
        self._frozen = {network.name: place(network.module, mesh) for network in networks}
        self._apply: Callable[..., dict[str, Array]] | None = None

    def gather(self, said: str, images: Iterable[Images]) -> dict[str, SetFeatures]:
        """The features of all images, by the name of the network. Raises ValueError for none, or a NaN in one."""
        sets = {network.name: FeatureSet(said) for network in self.networks}
        for found in self.features(images):
            for name, features in found.items():
                sets[name].add(features)
        return {name: one.found() for name, one in sets.items()}

    def features(self, images: Iterable[Images]) -> Iterator[dict[str, dict[str, np.ndarray]]]:
        """Of some images at a time, by the name of the network and of what it gives."""
        if self._apply is None:
            self._apply = make_map(_features, (), self._frozen, mesh=self._mesh)
        batches = feed(host_batches(images, self._mesh, self._global), self._mesh)
        for found in map_batches(self._apply, (), self._frozen, batches):
            yield split(found)


def _features(model: Any, frozen: dict[str, Any], example: dict[str, Array]) -> dict[str, Array]:
    image = example["image"]
    unit = image.astype(jnp.float32) / 255.0 if image.dtype == jnp.uint8 else image
    return features_by_network(frozen, unit)


def features_by_network(networks: dict[str, Any], image: Array, of: str = "") -> dict[str, Array]:
    """`{of}{network}/{name}` of an image in [0, 1], for each network and what it gives."""
    return {
        f"{of}{name}/{part}": value
        for name, network in networks.items()
        for part, value in network(image).items()
    }


def split(found: dict[str, np.ndarray], of: str = "") -> dict[str, dict[str, np.ndarray]]:
    """What `features_by_network` gave, by network and then by name."""
    sets: dict[str, dict[str, np.ndarray]] = {}
    for key, rows in found.items():
        if key.startswith(of) and "/" in key:
            network, part = key.removeprefix(of).split("/")
            sets.setdefault(network, {})[part] = rows
    return sets


def host_batches(images: Iterable[Images], mesh: Mesh, global_batch_size: int) -> Iterator[HostBatch]:
    """This host's rows of global batches of images that every host has; the last batch is filled up with its last.

    Raises ValueError for images of several sizes.
    """
    places = HostShare(*parts_of_host(mesh)).places(global_batch_size)
    for batch in _regrouped(images, global_batch_size):
        rows = np.minimum(places, len(batch) - 1)
        yield {"image": batch[rows], "valid": places < len(batch)}


def _regrouped(images: Iterable[Images], size: int) -> Iterator[Images]:
    held: list[np.ndarray] = []
    count = 0
    for some in images:
        if held and some.shape[1:] != held[0].shape[1:]:
            raise ValueError(f"images of one set have the sizes {held[0].shape[1:]} and {some.shape[1:]}.")
        held.append(some)
        count += len(some)
        while count >= size:
            whole = np.concatenate(held)
            yield whole[:size]
            held, count = [whole[size:]], count - size
    if count:
        yield np.concatenate(held)
