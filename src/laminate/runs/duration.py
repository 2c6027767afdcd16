"""How long a training takes on a CPU: said where that is more than an hour, before it begins and once it is timed."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from laminate.recipes.family import Family
from laminate.train.progress import duration

LONG = 3600.0  # seconds from which on a training is worth a word
SHARE = 0.6  # of the speed of a large matrix product, what a training step reaches on a CPU (README, Speed)
SURPRISE = 1.5  # by so much a measured time differs from the estimate before it is said again
_SIDE = 1024


class Duration:
    """Says, by `say`, how long the steps that are left will take, if that is long and they run on a CPU.

    The clock is that of `seconds`, which times a matrix product, and of whoever calls `timed`.
    """

    def __init__(self, family: Family[Any], recipe: Any, *, left: int, say: Callable[[str], None]):
        self._left, self._say, self._said = left, say, 0.0
        self._images = recipe.global_batch_size
        self._flops = 2 * family.flops(recipe)  # a multiply-add is two operations
        self._script = family.script
        self._on_cpu = jax.default_backend() == "cpu"

    def estimated(self, rate: Callable[[], float] | None = None) -> None:
        """Before the first step: from the FLOPs of the recipe and a matrix product's speed (`matmul_rate`)."""
        operations = self._left * self._images * self._flops
        if not self._on_cpu or operations < LONG * 1e9:  # no CPU is that slow
            return
        speed = (matmul_rate if rate is None else rate)()
        why = f"{self._flops / 1e9:.3g} GFLOP an image at the {SHARE * speed / 1e9:.3g} GFLOP/s that to expect here"
        self._tell(operations / (SHARE * speed), why)

    def timed(self, seconds: float) -> None:
        """Once a step without compilation took so long."""
        expected = seconds * self._left
        if self._on_cpu and not 1 / SURPRISE < expected / max(self._said, 1e-9) < SURPRISE:
            self._tell(expected, f"{duration(seconds)} a step were measured")

    def _tell(self, expected: float, why: str) -> None:
        if expected < LONG:
            return
        self._said = expected
        hour = max(1, int(self._left * LONG / expected))
        self._say(
            f"this takes about {duration(expected)} on this CPU: {self._left:,} steps of {self._images} images, {why}. "
            f"--steps {hour} is an hour of it, smaller ones are in `python -m laminate.recipes list`, and "
            f"`python experiments/{self._script}` alone takes minutes; for all of it take a GPU or TPU"
        )


def matmul_rate(clock: Callable[[], float] = time.perf_counter) -> float:
    """Operations per second of a product of two float32 matrices on this CPU; the better of two, in a moment."""
    matrix = np.random.default_rng(0).standard_normal((_SIDE, _SIDE), np.float32)
    taken: list[float] = []
    for _ in range(3):  # the first one starts the threads
        began = clock()
        matrix = matrix @ matrix / np.float32(_SIDE)
        taken.append(clock() - began)
    return 2 * _SIDE**3 / max(min(taken[1:]), 1e-9)
