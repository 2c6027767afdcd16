"""Whether samples look like what was asked for, and are no copies: by the features of a frozen network."""

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from laminate.analysis.report import Table
from laminate.evals.fid import FeatureMoments, fid
from laminate.evals.neighbours import nearest
from laminate.evals.ridge import RidgeClassifier, fit_ridge


class Described(NamedTuple):
    """What a frozen network sees of images, in parts of each (`parts`) and in all of it (`whole`), and what they show;
    -1 where nobody said."""

    parts: Float[np.ndarray, "images numbers"]
    whole: Float[np.ndarray, "images dim"]
    labels: Int[np.ndarray, " images"]

    def only(self, chosen: np.ndarray) -> "Described":
        """Some of the images, by a mask or by their places."""
        return Described(self.parts[chosen], self.whole[chosen], self.labels[chosen])


class Originals(NamedTuple):
    """Images of the data, and in the same order what tokenizer and decoder of the samples make of them."""

    seen: Described
    rebuilt: Described


class Classifier(NamedTuple):
    """That of so many training images, and the share of `asked` held-out images that it is right about (NaN without
    any)."""

    ridge: RidgeClassifier
    fitted_on: int
    asked: int
    accuracy: float


def fit_classifier(training: Described, held_out: Described) -> Classifier | None:
    """The classifier of the labelled images; None if they are of one class. No sample has a say in it."""
    known, asked = training.only(training.labels >= 0), held_out.only(held_out.labels >= 0)
    if len(np.unique(known.labels)) < 2:
        return None
    ridge = fit_ridge(known.parts, known.labels)
    right = ridge(asked.parts) == asked.labels
    return Classifier(ridge, len(known.labels), len(right), float(np.mean(right)) if len(right) else math.nan)


class Recognised(NamedTuple):
    """Of the samples of each class asked for, the share that the classifier gives this label; and those of these
    classes that no sample at all is taken for."""

    right: dict[int, float]
    never: tuple[int, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.right.values())))


class Nearest(NamedTuple):
    """The root mean square distance to the nearest training image: of samples and of held-out images, the mean over
    classes of the mean of each."""

    samples: float
    held_out: float

    @property
    def closer(self) -> float | None:
        """How much nearer samples are, as a share of the distance of held-out images; below 0: farther. None where
        these are training images themselves."""
        return None if self.held_out == 0 else 1.0 - self.samples / self.held_out


class Frechet(NamedTuple):
    """Fréchet distances to `images` held-out images: of as many samples, of what the tokenizer makes of these very
    images, and of as many training images."""

    images: int
    samples: float
    rebuilt: float
    training: float


@dataclasses.dataclass(frozen=True)
class SampleCheck:
    """What `samples` samples are found to be; None where labels or images are missing."""

    samples: int
    classifier: Classifier | None
    recognised: Recognised | None
    nearest: Nearest | None
    frechet: Frechet | None


def check_samples(
    samples: Described, training: Originals, held_out: Originals, classifier: Classifier | None
) -> SampleCheck:
    """Compare `samples`, whose labels are what was asked for, with training and held-out images of these classes.

    Samples of no class (-1) are compared with all images, and so are all samples if no held-out image has a label.
    Distances are between images that one decoder made: the samples, and those of the latents of training and held-out
    images.
    """
    asked = np.unique(samples.labels)
    recognised = None if classifier is None or -1 in asked else _recognised(samples, classifier)
    drawn, known, real = samples, training, held_out
    if -1 in asked or np.all(held_out.seen.labels < 0):
        drawn = _unlabelled(drawn)
        known, real = (Originals(*map(_unlabelled, both)) for both in (known, real))
    return SampleCheck(
        len(samples.labels),
        classifier,
        recognised,
        _nearest(drawn, known.rebuilt, real.rebuilt),
        _frechet(drawn, known.seen, real),
    )


def _unlabelled(images: Described) -> Described:
    return images._replace(labels=np.full_like(images.labels, -1))


def _recognised(samples: Described, classifier: Classifier) -> Recognised:
    found = classifier.ridge(samples.parts)
    asked = np.unique(samples.labels).tolist()
    right = {label: float(np.mean(found[samples.labels == label] == label)) for label in asked}
    return Recognised(right, tuple(label for label in asked if label not in found))


def _nearest(samples: Described, known: Described, real: Described) -> Nearest | None:
    classes = np.intersect1d(samples.labels, real.labels)
    if not len(classes) or not len(known.labels):
        return None
    gaps = [(images.labels, _gaps(images.parts, known.parts)) for images in (samples, real)]
    means = [np.mean([np.mean(gap[labels == label]) for label in classes]) for labels, gap in gaps]
    return Nearest(*map(float, means))


def _gaps(
    queries: Float[np.ndarray, "queries numbers"], known: Float[np.ndarray, "images numbers"]
) -> Float[np.ndarray, " queries"]:
    """The root mean square distance of each query to the nearest of `known`."""
    return np.sqrt(nearest(queries, known, 1).values[:, 0] / known.shape[1])


def _frechet(samples: Described, training: Described, held_out: Originals) -> Frechet | None:
    """Of equally many images of each class on all sides, the first ones of samples and held-out images, and training
    images spread over all."""
    sets = (samples.labels, training.labels, held_out.seen.labels)
    chosen: list[list[np.ndarray]] = [[], [], []]
    for label in np.unique(samples.labels):
        places = [np.flatnonzero(labels == label) for labels in sets]
        count = min(map(len, places))
        for mine, there in zip(chosen, places, strict=True):
            mine.append(there[np.linspace(0, len(there) - 1, count).astype(int)])
    mine, known, real = (np.concatenate(each) for each in chosen)
    if len(mine) < 2:
        return None
    moments = [
        FeatureMoments.of(rows)
        for rows in (
            held_out.seen.whole[real],
            samples.whole[mine],
            held_out.rebuilt.whole[real],
            training.whole[known],
        )
    ]
    return Frechet(len(mine), *(fid(moments[0], other) for other in moments[1:]))


def check_rows(check: SampleCheck, classes: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """What a check says to a person: (label, value). `classes` are the names of the classes."""
    rows: list[tuple[str, str]] = []
    classifier, recognised, nearest, frechet = (
        check.classifier,
        check.recognised,
        check.nearest,
        check.frechet,
    )
    if classifier is not None and recognised is not None:
        held_out = (
            f"right about {classifier.accuracy:.1%} of {classifier.asked:,} held-out ones"
            if classifier.asked
            else "no held-out one has a label"
        )
        each = ", ".join(f"{named(classes, label)} {share:.0%}" for label, share in recognised.right.items())
        rows += [
            ("classifier", f"fitted on {classifier.fitted_on:,} training images; {held_out}"),
            ("get their label", f"{recognised.mean:.1%} of the samples: {each}"),
            (
                "never recognised",
                ", ".join(named(classes, label) for label in recognised.never)
                or "no class: each is recognised in some sample",
            ),
        ]
    if nearest is not None:
        said = f"{nearest.samples:.3f} from samples, {nearest.held_out:.3f} from held-out images"
        if nearest.closer is not None:
            said += f": {abs(nearest.closer):.1%} {'closer' if nearest.closer > 0 else 'farther'}"
        rows.append(("nearest training image", said))
    if frechet is not None:
        rows.append(
            (
                "FD (embedded)",
                f"{frechet.samples:.2f} of samples, {frechet.rebuilt:.2f} of reconstructions, {frechet.training:.2f} "
                f"of training images: {frechet.images:,} of each against as many held-out images",
            )
        )
    lacking = (
        (recognised, "get their label", "it takes labels, of two classes or more"),
        (nearest, "nearest training image", "there is no held-out image of these classes"),
        (
            frechet,
            "FD (embedded)",
            "it takes two samples, and as many training and held-out images of their classes",
        ),
    )
    return (*rows, *((name, f"not measured: {why}") for found, name, why in lacking if found is None))


def check_tables(check: SampleCheck, classes: Sequence[str]) -> tuple[Table, ...]:
    """The same as a report has it."""
    classifier, recognised = check.classifier, check.recognised
    nearest = check.nearest or Nearest(math.nan, math.nan)
    frechet = check.frechet or Frechet(0, math.nan, math.nan, math.nan)
    right, worth = math.nan, math.nan
    if classifier is not None and recognised is not None:
        right, worth = recognised.mean, classifier.accuracy
    rows = (
        ("samples", right, nearest.samples, frechet.samples),
        ("held-out images", worth, math.nan, math.nan),
        ("their reconstructions", math.nan, nearest.held_out, frechet.rebuilt),
        ("training images", math.nan, math.nan, frechet.training),
    )
    shown = tuple(
        (name, _said(label, ".1%"), _said(gap, ".3f"), _said(fd, ".2f")) for name, label, gap, fd in rows
    )
    caption = (
        f"{check.samples:,} samples, by features of the embedded network. Label: the share that a linear classifier of "
        "the training images gives their own label. Nearest: the distance to the nearest training image, of decoded "
        f"images. FD (embedded): of {frechet.images:,} images to as many held-out ones."
    )
    tables = [Table("What the samples are", caption, ("label", "nearest", "FD"), shown)]
    if recognised is not None:
        each = tuple((named(classes, label), f"{share:.0%}") for label, share in recognised.right.items())
        tables.append(Table("Samples that get their own label", "", ("share",), each))
    return tuple(tables)


def _said(value: float, how: str) -> str:
    """A figure; nothing for one that could not be measured."""
    return "" if math.isnan(value) else format(value, how)


def check_figures(check: SampleCheck) -> dict[str, float]:
    """The figures of a check by name; those that could not be measured are left out."""
    found = {"check/samples": float(check.samples)}
    if check.classifier is not None and check.recognised is not None:
        if check.classifier.asked:
            found["check/held_out_accuracy"] = check.classifier.accuracy
        found["check/right"] = check.recognised.mean
        found["check/never_recognised"] = float(len(check.recognised.never))
    if check.nearest is not None:
        found["check/distance"] = check.nearest.samples
        found["check/held_out_distance"] = check.nearest.held_out
        if check.nearest.closer is not None:
            found["check/closer"] = check.nearest.closer
    if check.frechet is not None:
        found["check/fd_images"] = float(check.frechet.images)
        found["check/fd_embedded"] = check.frechet.samples
        found["check/fd_embedded_reconstructions"] = check.frechet.rebuilt
        found["check/fd_embedded_training_images"] = check.frechet.training
    return found


def check_json(check: SampleCheck, classes: Sequence[str]) -> str:
    """All that a check says, as a JSON text."""
    found: dict[str, Any] = dict(check_figures(check))
    if check.recognised is not None:
        found["right"] = {named(classes, label): share for label, share in check.recognised.right.items()}
        found["never_recognised"] = [named(classes, label) for label in check.recognised.never]
    return json.dumps(found, indent=2) + "\n"


def named(classes: Sequence[str], label: int) -> str:
    """What a class is called."""
    return classes[label] if 0 <= label < len(classes) else str(label)
