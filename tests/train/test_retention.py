"""Retention never deletes the newest step, the best ones or a protected one, and keeps no others."""

from hypothesis import given
from hypothesis import strategies as st

from laminate.train.retention import best_steps, kept_steps

metrics_of_steps = st.dictionaries(
    st.integers(0, 60), st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=12
)
counts = st.integers(0, 5)


@given(metrics_of_steps, counts, counts, st.frozensets(st.integers(0, 60), max_size=5))
def test_kept_steps_are_the_last_the_best_and_the_protected_ones(
    metrics: dict[int, float | None], last: int, best: int, protect: frozenset[int]
) -> None:
    kept = kept_steps(metrics, keep_last=last, keep_best=best, protect=protect)
    newest = set(sorted(metrics)[-max(last, 1) :])
    assert newest | (protect & set(metrics)) <= kept <= set(metrics)
    others = kept - newest - protect
    assert len(others) <= best
    worst = max((metrics[step] for step in others), default=None)
    dropped = [metrics[step] for step in set(metrics) - kept if metrics[step] is not None]
    assert worst is None or all(value >= worst for value in dropped)


@given(metrics_of_steps, counts, counts)
def test_retention_is_idempotent(metrics: dict[int, float | None], last: int, best: int) -> None:
    kept = kept_steps(metrics, keep_last=last, keep_best=best)
    again = {step: metrics[step] for step in kept}
    assert kept_steps(again, keep_last=last, keep_best=best) == kept


def test_equal_metrics_prefer_the_newer_step() -> None:
    assert best_steps({1: 0.5, 2: 0.5, 3: 0.7, 4: None}) == [2, 1, 3]


def test_nothing_saved_keeps_nothing() -> None:
    assert kept_steps({}, keep_last=2, keep_best=1, protect=frozenset({4})) == frozenset()
