"""Laws of the streaming latent statistics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.tokenizers.statistics import RunningStatistics


@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=6), seed=st.integers(0, 2**16))
def test_any_cut_into_batches_gives_the_statistics_of_the_whole(sizes: list[int], seed: int) -> None:
    batches = [
        np.random.default_rng(seed + i).normal(size=(n, 3, 2)).astype(np.float32) for i, n in enumerate(sizes)
    ]
    statistics, halves = RunningStatistics(3, 2), (RunningStatistics(3, 2), RunningStatistics(3, 2))
    for number, batch in enumerate(batches):
        statistics.update(batch)
        halves[number % 2].update(batch)
    halves[0].merge(halves[1])
    whole = np.concatenate(batches).astype(np.float64)
    assert statistics.count == halves[0].count == len(whole)
    for one in (statistics, halves[0]) if len(whole) else ():
        np.testing.assert_allclose(one.mean, whole.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(one.variance, whole.var(axis=0), atol=1e-12)


def test_a_large_mean_does_not_swallow_a_small_variance() -> None:
    statistics = RunningStatistics(1, 1)
    for offset in range(1000):
        statistics.update(np.asarray([[[16384.0 + offset % 2]]], np.float32))
    assert statistics.variance == pytest.approx(0.25, rel=1e-9)


def test_what_cannot_be_counted_is_refused_and_changes_nothing() -> None:
    statistics = RunningStatistics(2, 3)
    with pytest.raises(ValueError, match="no example has been seen"):
        _ = statistics.mean
    with pytest.raises(ValueError, match=r"expected a batch of shape \(any, 2, 3\), got \(4, 3, 2\)"):
        statistics.update(np.zeros((4, 3, 2), np.float32))
    with pytest.raises(ValueError, match="NaN or an infinity"):
        statistics.update(np.full((1, 2, 3), np.nan, np.float32))
    assert statistics.count == 0
