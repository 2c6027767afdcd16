"""What classes can be told by: latents of a tokenizer, the features that it compresses, and small images beside."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from laminate.data.augment import Augment
from laminate.data.evaluation import evaluation_batches
from laminate.data.host_slice import HostShare
from laminate.data.records import Records
from laminate.evals.knn import KnnAccuracy, knn_accuracy, knn_predictions, knn_votes, token_direction, unit
from laminate.evals.linear_probe import linear_probe
from laminate.evals.protocols import DIRECTIONS, TRAINING, Protocol
from laminate.evals.set_measures import Measured
from laminate.nn import resize
from laminate.parallel.feeding import feed, parts_of_host
from laminate.parallel.sharding import place
from laminate.pretrained.features import features_of
from laminate.recipes.latent import LoadedTokenizer
from laminate.recipes.modules import image_tokenizer, teacher
from laminate.train.step import make_map, map_batches

SMALL = 8
STRENGTHS = (0.01, 0.1, 1.0)
LEAST = 5
"""Known images, of which a fifth decides."""
FEW = 30
"""Held-out images below which that is remarked on."""
ACCURACY = 1e-3
"""Of the linear probe: which is best is decided on a fifth of the known images."""


@dataclass(frozen=True)
class Known:
    """Features of the images of a split by kind, and their labels. `direction` is FlatDINO's feature for k-NN, `mean`
    that of the linear probe: the mean of an image's tokens."""

    direction: dict[str, Float[np.ndarray, "images dim"]]
    mean: dict[str, Float[np.ndarray, "images dim"]]
    labels: Int[np.ndarray, " images"]


@dataclass(frozen=True)
class Told:
    """How often one kind of feature tells the class of held-out images, in percent."""

    dim: int
    knn: dict[int, KnnAccuracy]
    linear: float
    strength: float


class Probes:
    """The frozen networks before the classifiers, compiled once for both splits."""

    def __init__(self, loaded: LoadedTokenizer, *, mesh: Mesh, dtype: jnp.dtype, global_batch_size: int):
        config = loaded.latent.teacher
        networks = {
            "tokenizer": image_tokenizer(loaded, like=loaded.latent),
            "teacher": None if config is None or config.name == "patches" else teacher(config),
        }
        self._frozen = place(networks, mesh)
        self._mesh, self._global = mesh, global_batch_size
        self._apply = make_map(
            lambda _, frozen, example: _kinds(frozen, example, dtype),
            (),
            self._frozen,
            mesh=mesh,
            compute_dtype=dtype,
        )

    def known(self, records: Records, view: Augment, *, max_bad_images: int) -> Known:
        """Every labelled image of a split. Raises ValueError if there is none."""
        batches = evaluation_batches(
            records,
            global_batch_size=self._global,
            augment=view,
            share=HostShare(*parts_of_host(self._mesh)),
            max_bad_images=max_bad_images,
        )
        directions: dict[str, list[np.ndarray]] = {}
        means: dict[str, list[np.ndarray]] = {}
        labels: list[np.ndarray] = []
        for found in map_batches(self._apply, (), self._frozen, feed(batches, self._mesh)):
            labelled = found["label"] >= 0
            labels.append(found["label"][labelled])
            for kind in (name for name in found if name != "label"):
                tokens = found[kind][labelled]
                directions.setdefault(kind, []).append(token_direction(tokens).astype(np.float32))
                means.setdefault(kind, []).append(tokens.mean(axis=1))
        joined = np.concatenate(labels)
        if not len(joined):
            raise ValueError(
                f"{records.manifest.source} has no labels, and classes are what is told here: give --data with labels."
            )
        return Known(
            {kind: np.concatenate(rows) for kind, rows in directions.items()},
            {kind: np.concatenate(rows) for kind, rows in means.items()},
            joined.astype(np.int32),
        )


def require_told(known: Known, classes: int, source: str) -> None:
    """Raises ValueError for known images that show fewer than two classes, or are fewer than a probe is fitted on."""
    shown = len(np.unique(known.labels))
    if shown < 2:
        raise ValueError(
            f"The {len(known.labels)} labelled training images of {source} show {shown} of {classes} classes, and two "
            "are what can be told apart: give --data with images of more classes."
        )
    if len(known.labels) < LEAST:
        raise ValueError(
            f"{source} has {len(known.labels)} labelled training images, and a probe is fitted on {LEAST} or more."
        )


def tell(
    known: Known, seen: Known, kind: str, *, classes: int, neighbours: tuple[int, ...], temperature: float
) -> Told:
    """The classes of `seen` by the features of `kind`, from `known` ones."""
    pair = [unit(each.direction[kind]) for each in (known, seen)]
    knn: dict[int, KnnAccuracy] = {}
    for k in neighbours:
        votes = knn_votes(
            pair[1],
            pair[0],
            known.labels,
            classes=classes,
            k=min(k, len(known.labels)),
            temperature=temperature,
        )
        knn[k] = knn_accuracy(knn_predictions(votes, k), seen.labels)
    features, strength = _scaled(known.mean[kind], seen.mean[kind]), 0.0
    strength = _best_strength(features[0], known.labels, classes)
    probe = linear_probe(features[0], known.labels, classes=classes, strength=strength, accuracy=ACCURACY)
    right = probe.log_probabilities(features[1]).argmax(axis=1) == seen.labels
    return Told(features[0].shape[1], knn, 100.0 * float(right.mean()), strength)


def _best_strength(features: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """That of the most images told right of a fifth of them, the least one of equals."""
    held = np.random.default_rng(0).permutation(len(labels)) < max(1, len(labels) // 5)
    right: list[float] = []
    for strength in STRENGTHS:
        probe = linear_probe(
            features[~held], labels[~held], classes=classes, strength=strength, accuracy=ACCURACY
        )
        found = probe.log_probabilities(features[held]).argmax(axis=1)
        right.append(float(np.mean(found == labels[held])))
    return STRENGTHS[int(np.argmax(right))]


def _scaled(known: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with the mean and deviation of the known ones taken out, so that one strength means the same for all."""
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    deviation = np.where(deviation > 1e-12, deviation, 1.0)
    return (known - mean) / deviation, (seen - mean) / deviation


def _kinds(frozen: dict[str, Any], example: dict[str, Array], dtype: jnp.dtype) -> dict[str, Array]:
    tokenizer, seen = frozen["tokenizer"], frozen["teacher"]
    found = {"latents": tokenizer.encode(example, dtype=dtype), "label": example["label"]}
    if seen is not None:
        found["teacher's features"] = features_of(seen, example, dtype=dtype).final.astype(jnp.float32)
    small = resize(tokenizer.original(example), (SMALL, SMALL), "bilinear-antialias")
    return {**found, f"pixels at {SMALL} x {SMALL}": small.reshape(1, -1) - 0.5}


def probe_results(
    told: dict[str, Told],
    known: Known,
    seen: Known,
    view: str,
    temperature: float,
    *,
    data: str,
    classes: Sequence[str] = (),
) -> list[Measured]:
    """As results: `k-NN 20 of latents`, and so on, in percent of the held-out images; `classes` are their names."""
    general = _remarks(known, seen, classes)
    found: list[Measured] = []
    for kind, one in told.items():
        base = Protocol(
            "k-NN",
            kind,
            len(seen.labels),
            TRAINING,
            view=view,
            rounding="none",
            precision="float64",
            reference_sha256=_hash(known, kind),
            data=data,
        )
        for k, accuracy in one.knn.items():
            options = (("neighbours", float(k)), ("temperature", temperature))
            made = dataclasses.replace(base, network=DIRECTIONS, options=options)
            few = k > len(known.labels)
            remarks = (f"there are only {len(known.labels)} known images",) if few else ()
            error = _standard_error(accuracy.top1, len(seen.labels))
            found.append(
                Measured(
                    f"knn-{k}/{kind}",
                    accuracy.top1,
                    made,
                    error,
                    "binomial standard error",
                    diagnostics={"top5": accuracy.top5},
                    remarks=(*remarks, *general),
                )
            )
        made = dataclasses.replace(base, measure="linear probe", options=(("strength", one.strength),))
        error = _standard_error(one.linear, len(seen.labels))
        over = "binomial standard error"
        found.append(Measured(f"linear/{kind}", one.linear, made, error, over, remarks=general))
    return found


def _remarks(known: Known, seen: Known, classes: Sequence[str]) -> tuple[str, ...]:
    """What a reader has to know of the images before comparing accuracies."""
    found = [f"only {len(seen.labels)} held-out images"] if len(seen.labels) < FEW else []
    for some, what in ((known, "known"), (seen, "held-out")):
        lacking = [name for label, name in enumerate(classes) if label not in some.labels]
        if lacking:
            more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
            found.append(f"no {what} image of {', '.join(lacking[:3])}{more}")
    return tuple(found)


def _hash(known: Known, kind: str) -> str:
    return hashlib.sha256(known.labels.tobytes() + known.mean[kind].tobytes()).hexdigest()


def _standard_error(percent: float, count: int) -> float:
    share = percent / 100.0
    return 100.0 * float(np.sqrt(share * (1.0 - share) / count))
