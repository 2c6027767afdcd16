"""Laws of nested dropout."""

from collections import Counter

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.bottlenecks.nested_dropout import draw_keep, keep_counts, keep_mask, register_causal_mask


@given(latents=st.integers(1, 200))
def test_counts_are_the_powers_of_two_up_to_the_number_of_latents(latents: int) -> None:
    counts = keep_counts(latents)
    assert counts == tuple(n for n in range(1, latents + 1) if n & (n - 1) == 0)


def test_draws_for_32_latents_are_those_of_the_released_code() -> None:
    keys = [jax.random.key(seed, impl="threefry2x32") for seed in range(10)]
    assert [int(draw_keep(key, 32)) for key in keys] == [2, 16, 32, 8, 16, 8, 16, 2, 2, 8]


def test_draws_are_uniform_over_the_counts() -> None:
    keys = jax.random.split(jax.random.key(1), 4000)
    drawn = Counter(np.asarray(jax.vmap(lambda key: draw_keep(key, 11))(keys)).tolist())
    assert set(drawn) == {1, 2, 4, 8}
    assert all(abs(count - 1000) < 130 for count in drawn.values())


@given(latents=st.integers(1, 12), keep=st.integers(0, 12))
def test_the_kept_tokens_are_the_first_ones(latents: int, keep: int) -> None:
    np.testing.assert_array_equal(keep_mask(keep, latents), [place < keep for place in range(latents)])


@given(registers=st.integers(0, 5), patches=st.integers(0, 4))
def test_only_earlier_registers_are_hidden_from_later_ones(registers: int, patches: int) -> None:
    tokens = registers + patches
    expected = [
        [key <= query or key >= registers or query >= registers for key in range(tokens)]
        for query in range(tokens)
    ]
    expected = np.asarray(expected, bool).reshape(tokens, tokens)
    np.testing.assert_array_equal(register_causal_mask(registers, tokens), expected)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="latents must be at least 1"):
        keep_counts(0)
    with pytest.raises(ValueError, match="registers=4 must lie between 0 and tokens=3"):
        register_causal_mask(4, 3)
