"""A compiled step is measured, and what does not fit says by how much."""

import jax
import jax.numpy as jnp
import pytest

from laminate.planning import compiled
from laminate.planning.compiled import DoesNotFit, compile_step, exhausted

GIB = 2**30


@pytest.mark.parametrize(
    ("message", "sizes"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (31.50G) "
            "exceeds available HBM (15.75G).",
            (31.5, 15.75),
        ),
        ("RESOURCE_EXHAUSTED: Used 512.00M of 0.25G hbm. Exceeded hbm capacity by 256.00M.", (0.5, 0.25)),
    ],
)
def test_the_compilers_words_on_memory_are_read(message, sizes):
    assert exhausted(message) == tuple(int(size * GIB) for size in sizes)


def test_other_failures_are_not_taken_for_it():
    assert exhausted("UNIMPLEMENTED: Async all-to-all not supported on limited ICI") is None
    assert exhausted("RESOURCE_EXHAUSTED: something else is full") is None


class Lowered:
    def __init__(self, message):
        self.message = message

    def compile(self, *, compiler_options):
        raise jax.errors.JaxRuntimeError(self.message)


class Step:
    def __init__(self, message):
        self.message = message

    def lower(self, *arguments):
        return Lowered(self.message)


def test_what_does_not_fit_is_told_from_what_cannot_be_compiled():
    with pytest.raises(DoesNotFit, match=r"2\.0 GiB needed, 1\.0 GiB there") as caught:
        compile_step(Step("RESOURCE_EXHAUSTED: Used 2.00G of 1.00G hbm."))
    assert (caught.value.needed, caught.value.capacity) == (2 * GIB, GIB)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        compile_step(Step("INTERNAL: a fault of the compiler"))


def test_a_step_that_compiles_has_a_program_and_times():
    made = compile_step(jax.jit(lambda x: x @ x), jax.ShapeDtypeStruct((4, 4), jnp.float32))
    assert isinstance(made, compiled.Compiled)
    assert made.program.entry in made.program.computations
    assert made.peak >= 2 * 4 * 4 * 4 and made.compile_seconds > 0.0 < made.trace_seconds
