"""Principal components: orthonormal, as good as any of their number, and scored as validation scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.analysis.baseline import baselines, explained, principal_components
from laminate.analysis.reconstruction import explained_variance


@given(rows=st.integers(3, 12), numbers=st.integers(2, 9), count=st.integers(1, 5))
def test_components_are_those_of_the_singular_values_whichever_side_is_shorter(rows, numbers, count):
    x = np.random.default_rng(10 * rows + numbers).standard_normal((rows, numbers)).astype(np.float32)
    found = principal_components(x, count)
    kept = min(count, rows - 1, numbers)
    assert found.directions.shape[0] in (kept, min(count, numbers))
    np.testing.assert_allclose(
        found.directions @ found.directions.T, np.eye(len(found.directions)), atol=1e-4
    )
    singular = np.linalg.svd(x - x.mean(0), compute_uv=False)
    left = np.sum(np.square(x - found.rebuilt(x)), dtype=np.float64)
    assert left == pytest.approx(np.sum(np.square(singular[count:])), abs=1e-3)


def test_images_and_patches_are_compared_at_as_many_numbers_and_few_images_say_so():
    rng = np.random.default_rng(0)
    known, held_out = (rng.standard_normal((n, 4, 6)).astype(np.float32) for n in (7, 5))
    images, patches = baselines(known, held_out, 8)
    assert images.said == "6 principal components of 7 training images"
    assert patches.said == "2 principal components of each of 4 patches, 8 numbers in all"
    assert images.rebuilt.shape == patches.rebuilt.shape == held_out.shape
    assert len(baselines(known, held_out, 3)) == 1  # less than one for each patch


def test_the_score_is_that_of_validation():
    rng = np.random.default_rng(1)
    features = rng.standard_normal((5, 4, 6)).astype(np.float32) + 3.0
    rebuilt = features + 0.3 * rng.standard_normal(features.shape).astype(np.float32)
    sums = {
        "squared_error": np.sum(np.square(rebuilt - features), dtype=np.float64),
        "squares": np.sum(np.square(features), dtype=np.float64),
        "numbers": features.size,
        "means": features.mean(axis=1, dtype=np.float64).sum(axis=0),
        "count": len(features),
    }
    assert explained(features, rebuilt) == pytest.approx(explained_variance(sums), abs=1e-6)
    assert np.isnan(explained(np.ones((2, 3, 4), np.float32), np.ones((2, 3, 4), np.float32)))
