"""What samples are found to be: of their class or not, copies or not, and nothing where nothing can be said."""

import json

import numpy as np
import pytest

from laminate.analysis.sample_check import (
    Described,
    Originals,
    check_figures,
    check_json,
    check_rows,
    check_samples,
    check_tables,
    fit_classifier,
)

CLASSES = ("cats", "dogs", "birds")
MEANS = 3.0 * np.random.default_rng(7).standard_normal((len(CLASSES), 11)).astype(np.float32)


def images(labels, *, seed, spread=1.0, shown=None):
    """Features around those of each label, or of what is `shown` in its place."""
    labels = np.asarray(labels)
    shown = labels if shown is None else np.asarray(shown)
    noise = np.random.default_rng(seed).standard_normal((len(labels), 11)).astype(np.float32)
    parts = MEANS[shown] + np.float32(spread) * noise
    return Described(parts, parts[:, :5].copy(), labels)


def originals(labels, seed):
    seen = images(labels, seed=seed)
    nudged = seen._replace(parts=seen.parts + np.float32(0.01), whole=seen.whole + np.float32(0.01))
    return Originals(seen, nudged)


BALANCED = np.repeat(np.arange(3), 40)
TRAINING, HELD_OUT = originals(BALANCED, 0), originals(np.repeat(np.arange(3), 13), 1)
CLASSIFIER = fit_classifier(TRAINING.seen, HELD_OUT.seen)


def check(samples, training=TRAINING, held_out=HELD_OUT, classifier=CLASSIFIER):
    return check_samples(samples, training, held_out, classifier)


def test_honest_samples_are_recognised_and_no_nearer_than_held_out_images():
    found = check(images(np.repeat(np.arange(3), 30), seed=2))
    assert found.classifier.accuracy > 0.95 and found.classifier.asked == 39
    assert found.recognised.mean > 0.95 and found.recognised.never == ()
    assert abs(found.nearest.closer) < 0.1
    # The tokenizer's own pictures of the very images are nearer than other images of the same kind.
    assert found.frechet.images == 39
    assert 0 <= found.frechet.rebuilt < 0.01 < found.frechet.samples < 3 * found.frechet.training


def test_copies_are_seen_to_be_copies():
    copied = TRAINING.rebuilt._replace(parts=TRAINING.rebuilt.parts + np.float32(1e-3))
    assert check(copied).nearest.closer > 0.99


def test_samples_that_show_another_class_are_not_right_and_a_class_that_never_comes_is_named():
    found = check(images([0] * 10 + [1] * 10, seed=3, shown=[0] * 15 + [2] * 5))
    assert found.recognised.right == {0: 1.0, 1: 0.0}
    assert found.recognised.mean == 0.5 and found.recognised.never == (1,)
    rows = dict(check_rows(found, CLASSES))
    assert rows["never recognised"] == "dogs"
    assert rows["get their label"] == "50.0% of the samples: cats 100%, dogs 0%"
    none = check(images([0] * 7 + [1] * 7, seed=3, shown=[2] * 14))
    assert (none.recognised.mean, none.recognised.never) == (0.0, (0, 1))


def test_only_the_classes_that_were_asked_for_are_counted():
    """Those of others lie far from every sample, and near each other: in no figure do they count."""
    far = [one._replace(parts=one.parts.copy(), whole=one.whole.copy()) for one in (*TRAINING, *HELD_OUT)]
    for one in far:
        one.parts[one.labels == 2] *= 100.0
        one.whole[one.labels == 2] *= 100.0
    samples = images(np.repeat([0, 1], 20), seed=4)
    plain, other = check(samples), check(samples, Originals(*far[:2]), Originals(*far[2:]))
    assert other.nearest == pytest.approx(plain.nearest, rel=1e-6)
    assert other.frechet == pytest.approx(plain.frechet, rel=1e-6)


def test_distances_are_the_mean_over_classes_of_the_mean_of_each():
    samples = images([0] * 3 + [1] * 9, seed=5)

    def nearest(image):
        return min(np.sqrt(np.mean((image - one) ** 2)) for one in TRAINING.rebuilt.parts)

    def balanced(of):
        return np.mean([np.mean([nearest(x) for x in of.parts[of.labels == c]]) for c in (0, 1)])

    found = check(samples)
    assert found.nearest == pytest.approx((balanced(samples), balanced(HELD_OUT.rebuilt)), rel=1e-5)


def test_without_labels_there_are_distances_and_no_shares():
    nameless = [
        Originals(*(d._replace(labels=np.full_like(d.labels, -1)) for d in both))
        for both in (TRAINING, HELD_OUT)
    ]
    assert fit_classifier(nameless[0].seen, nameless[1].seen) is None
    free = images(np.zeros(20, int), seed=6)._replace(labels=np.full(20, -1))
    found = check(free, *nameless, classifier=None)
    assert found.recognised is None and found.nearest is not None and found.frechet.images == 20
    assert check(free).frechet.images == 20  # of a generator without classes, on data with some
    assert "%" not in str(check_rows(found, ()))[:40]
    assert "check/right" not in check_figures(found)

    unsaid = fit_classifier(TRAINING.seen, nameless[1].seen)
    found = check(images(BALANCED, seed=2), TRAINING, nameless[1], unsaid)
    assert found.recognised.mean > 0.95 and found.frechet.images == 39
    assert abs(found.nearest.closer) < 0.1
    rows = check_rows(found, CLASSES)
    assert dict(rows)["classifier"].endswith("no held-out one has a label") and "nan" not in str(rows)
    assert "NaN" not in check_json(found, CLASSES) and "nan" not in str(check_tables(found, CLASSES))


def test_a_class_with_a_single_sample_and_a_constant_feature_give_finite_figures():
    flat = [one._replace(parts=one.parts * (np.arange(11) > 0)) for one in (*TRAINING, *HELD_OUT)]
    flat = [one._replace(parts=one.parts.astype(np.float32)) for one in flat]
    fitted = fit_classifier(flat[0], flat[2])
    found = check(images([1], seed=8), Originals(*flat[:2]), Originals(*flat[2:]), fitted)
    assert found.frechet is None and found.recognised.right.keys() == {1}
    assert all(np.isfinite(value) for value in check_figures(found).values())


def test_the_figures_are_written_by_name():
    found = json.loads(check_json(check(images(BALANCED, seed=2)), CLASSES))
    assert found["check/samples"] == 120 and set(found["right"]) == set(CLASSES)
    assert found["check/closer"] == pytest.approx(
        1 - found["check/distance"] / found["check/held_out_distance"]
    )


def test_what_is_not_measured_is_said_with_what_it_takes():
    one = dict(check_rows(check(images([1], seed=8)), CLASSES))
    assert one["FD (embedded)"].startswith("not measured: it takes two samples")
    bare = check(images(np.zeros(20, int), seed=6)._replace(labels=np.full(20, -1)), classifier=None)
    assert dict(check_rows(bare, ()))["get their label"].startswith("not measured: it takes labels")
