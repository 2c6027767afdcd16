"""Laws of what features are judged by: k nearest neighbours, and logistic regression to its minimum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laminate.evals.ifid import nearest_latents, neighbour_weights, same_class_neighbours
from laminate.evals.knn import knn_accuracy, knn_predictions, knn_votes, token_direction, unit
from laminate.evals.linear_probe import linear_probe


@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), classes=st.integers(2, 5), k=st.integers(1, 6))
def test_separable_classes_are_told_apart_by_neighbours_and_by_a_plane(
    seed: int, classes: int, k: int
) -> None:
    rng = np.random.default_rng(seed)
    labels, wanted = (rng.permutation(np.repeat(np.arange(classes), each)) for each in (6, 3))
    known, seen = (
        np.eye(classes)[each] + 0.02 * rng.normal(size=(len(each), classes)) for each in (labels, wanted)
    )
    votes = knn_votes(unit(seen), unit(known), labels, classes=classes, k=k)
    predictions = knn_predictions(votes, k)
    assert predictions.shape == (len(wanted), min(5, k, classes))
    assert knn_accuracy(predictions, wanted) == (100.0, 100.0)
    probe = linear_probe(known, labels, classes=classes, strength=10.0)
    assert (probe.log_probabilities(seen).argmax(axis=1) == wanted).all()


def test_votes_are_those_of_the_nearest_by_hand() -> None:
    known, labels = np.asarray([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), np.asarray([2, 0, 1])
    votes = knn_votes(np.asarray([[0.6, 0.8]]), known, labels, classes=4, k=2, temperature=0.5)
    np.testing.assert_allclose(votes, [[np.exp(1.6), 0, np.exp(1.2), 0]], rtol=1e-12)
    assert knn_accuracy(knn_predictions(votes, 2), np.asarray([2])) == (0.0, 100.0)
    with pytest.raises(ValueError, match="k=4 must be between 1 and the 3"):
        knn_votes(known, known, labels, classes=4, k=4)
    with pytest.raises(ValueError, match="a label from 0 to 1; got 3 from 0 to 2"):
        knn_votes(known, known, labels, classes=2, k=1)
    with pytest.raises(ValueError, match=r"temperature=0.0001 is too small for a similarity of 1"):
        knn_votes(known, known, labels, classes=4, k=1, temperature=1e-4)


@given(scale=st.floats(0.5, 100))
def test_the_direction_of_an_image_does_not_depend_on_the_length_of_its_tokens(scale: float) -> None:
    tokens = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    found = token_direction(scale * tokens)
    np.testing.assert_allclose(found, token_direction(tokens), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)
    silent = np.concatenate([tokens, np.zeros((3, 1, 5), np.float32)], axis=1)
    np.testing.assert_allclose(token_direction(silent), token_direction(tokens), atol=1e-4)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), intercept=st.booleans(), strength=st.sampled_from([0.1, 1.0, 10.0]))
def test_the_probe_is_at_the_only_minimum(seed: int, intercept: bool, strength: float) -> None:
    """Every way leads up, by no less than the penalty alone makes it."""
    rng = np.random.default_rng(seed)
    features, labels = rng.normal(size=(20, 3)), rng.integers(0, 4, 20)
    probe = linear_probe(features, labels, classes=4, strength=strength, intercept=intercept)
    penalty = 1.0 / (strength * 20)

    def objective(weights: np.ndarray, offsets: np.ndarray) -> float:
        logits = features @ weights.T + offsets
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return float(-log_p[np.arange(20), labels].mean() + penalty / 2 * np.square(weights).sum())

    np.testing.assert_allclose(probe.objective, objective(probe.coefficients, probe.intercept), rtol=1e-9)
    for _ in range(5):
        away, offset = rng.normal(size=(4, 3)), rng.normal(size=4) * intercept
        up = objective(probe.coefficients + away, probe.intercept + offset) - probe.objective
        assert up >= penalty / 2 * np.square(away).sum() - 1e-9
    assert abs(probe.intercept.mean()) < 1e-12 and (intercept or not probe.intercept.any())


def test_what_cannot_be_fitted_is_refused() -> None:
    x, y = np.ones((3, 2)), np.asarray([0, 1, 1])
    with pytest.raises(ValueError, match="strength=0"):
        linear_probe(x, y, classes=2, strength=0.0)
    with pytest.raises(ValueError, match="a label from 0 to 0"):
        linear_probe(x, y, classes=1, strength=1.0)
    with pytest.raises(ValueError, match="NaN"):
        linear_probe(np.full((3, 2), np.nan), y, classes=2, strength=1.0)
    with pytest.raises(ArithmeticError, match="slope is still"):
        linear_probe(np.random.default_rng(0).normal(size=(3, 2)), y, classes=2, strength=1e6, max_steps=1)


def test_neighbours_of_a_latent_are_its_nearest_directions_and_the_near_ones_are_likelier() -> None:
    others = np.asarray([[1.0, 0.1], [0.0, 2.0], [3.0, 0.0], [-1.0, 0.0]])
    found = nearest_latents(np.asarray([[1.0, 0.0]]), others, top=3)
    assert found.tolist() == [[2, 0, 1]]
    weights = neighbour_weights(np.asarray([[1.0, 0.0]]), others, found)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert weights[0].argmax() == 1
    assert nearest_latents(others, others, top=1, itself=True)[:, 0].tolist() == [2, 0, 0, 1]
    same = same_class_neighbours(others[:1], np.asarray([1]), others, np.asarray([0, 1, 0, 1]), top=2)
    assert same.tolist() == [[1, 3]]
    with pytest.raises(ValueError, match="there are 3 others"):
        nearest_latents(others, others, top=4, itself=True)
    with pytest.raises(ValueError, match="1 others have the label 1, 2 are needed"):
        same_class_neighbours(others[:1], np.asarray([1]), others, np.asarray([0, 1, 0, 0]), top=2)
