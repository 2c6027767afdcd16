"""Examples and batches: dictionaries of arrays. An example is what an augmentation makes of one record."""

from collections.abc import Callable, Sequence

import numpy as np

from laminate.data.schema import LABEL

Arrays = dict[str, np.ndarray]
"""Arrays by their names: of one example, or of a batch, where each has one more axis in front."""

ROW, VALID = "global_row", "valid"
ADDED = (LABEL, ROW, VALID)
"""What the loaders add to a batch, so no array of an example is called that. ``global_row`` is bookkeeping for the
host."""


def stack(examples: Sequence[Arrays]) -> Arrays:
    """The arrays of at least one example, name by name, with the examples along a new first axis.

    Raises:
      ValueError: a name that some examples have and others lack, a name of the loaders', or arrays of one name that
        differ in shape or dtype; the message names the array.
    """
    first = examples[0]
    for name in ADDED:
        if name in first:
            raise ValueError(
                f"the augmentation gives an array called {name!r}, which the loader adds itself: rename it"
            )
    for example in examples:
        for name in first.keys() ^ example.keys():
            raise ValueError(
                f"some examples of one batch have an array called {name!r} and others lack it; the augmentation must "
                "give all the same"
            )
    return {name: np.stack(_alike(name, [example[name] for example in examples])) for name in first}


def _alike(name: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
    facts: tuple[tuple[str, Callable[[np.ndarray], str]], ...] = (
        ("shapes", lambda array: str(array.shape)),
        ("dtypes", lambda array: str(array.dtype)),
    )
    for what, of in facts:
        found = sorted({of(array) for array in arrays})
        if len(found) > 1:
            raise ValueError(
                f"the arrays {name!r} of one batch have the {what} {', '.join(found)}; the augmentation must give all "
                "the same"
            )
    return arrays
