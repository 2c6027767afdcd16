"""The closed form of the linear classifier: the minimum that it says, from either system, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laminate.evals.ridge import fit_ridge


@settings(max_examples=25)
@given(
    images=st.integers(4, 19), numbers=st.integers(1, 23), classes=st.integers(2, 4), seed=st.integers(0, 99)
)
def test_no_other_weights_have_a_smaller_objective(images, numbers, classes, seed):
    """Fewer images than numbers, or more: the slope of the stated objective is zero."""
    rng = np.random.default_rng(seed)
    features = 3.0 + rng.standard_normal((images, numbers))
    labels = (
        10 * np.concatenate([np.arange(classes), rng.integers(0, classes, max(images - classes, 0))])[:images]
    )
    if len(np.unique(labels)) < 2:
        return
    fitted = fit_ridge(features, labels, penalty=0.3)
    known, places, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    np.testing.assert_array_equal(fitted.classes, known)
    v = images / (len(known) * sizes)[places]
    mean = np.average(features, axis=0, weights=v)
    deviation = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=v))
    x = (features - mean) / deviation / np.sqrt(numbers)
    y = np.eye(len(known))[places] - 1 / len(known)
    weight = fitted.weight * np.sqrt(numbers)
    slope = -x.T @ (v[:, None] * (y - x @ weight)) + 0.3 * weight
    np.testing.assert_allclose(slope, 0.0, atol=1e-9)


def test_classes_that_lie_apart_are_told_and_a_small_one_is_heard():
    rng = np.random.default_rng(0)
    labels = np.repeat([7, 2, 5], [200, 30, 6])
    means = {7: (0.0, 0.0), 2: (6.0, 0.0), 5: (0.0, 6.0)}
    draw = lambda: np.array([means[label] for label in labels]) + rng.standard_normal((len(labels), 2))
    flat = lambda x: np.concatenate([x, np.full((len(x), 1), 3.5)], axis=1).astype(np.float32)
    found = fit_ridge(flat(draw()), labels)(flat(draw()))
    assert {label: np.mean(found[labels == label] == label) > 0.8 for label in means} == dict.fromkeys(
        means, True
    )


@pytest.mark.parametrize(
    ("features", "labels", "penalty", "message"),
    [
        (np.ones((3, 2)), [1, 1, 1], 0.1, r"two classes, and got labels \[1\]"),
        (np.ones((2, 2)), [0, 1], 0.0, "penalty=0.0 must be positive"),
        (np.array([[1.0], [np.nan]]), [0, 1], 0.1, "NaN or an infinity"),
    ],
)
def test_what_has_no_answer_is_refused(features, labels, penalty, message):
    with pytest.raises(ValueError, match=message):
        fit_ridge(features, np.asarray(labels), penalty=penalty)
