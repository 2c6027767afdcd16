"""Which checkpoints stay when a new one is complete."""

from collections.abc import Mapping


def best_steps(metrics: Mapping[int, float | None]) -> list[int]:
    """The steps that have a metric, lowest metric first; of equal ones the newer first."""
    measured = [(metric, -step) for step, metric in metrics.items() if metric is not None]
    return [-negative for _, negative in sorted(measured)]


def kept_steps(
    metrics: Mapping[int, float | None],
    *,
    keep_last: int,
    keep_best: int,
    protect: frozenset[int] = frozenset(),
) -> frozenset[int]:
    """The steps to keep: the newest `keep_last`, the `keep_best` of lowest metric, and those of `protect`.

    `metrics` maps every complete step to its metric, or to None if it has none. The newest step always stays.
    """
    newest_first = sorted(metrics, reverse=True)
    last = newest_first[: max(keep_last, 1)]
    return frozenset(last) | frozenset(best_steps(metrics)[: max(keep_best, 0)]) | (protect & metrics.keys())
