"""UniPC against the published numbers, its order, its ends, and trees of states."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.flow import UniPc, classifier_free_guidance, solve, time_grid, unipc_grid, unipc_sigmas


def gaussian(x, t):
    """The exact velocity for data of mean zero and deviation two."""
    sigma = 1.0 - t
    return -(sigma - 4.0 * (1.0 - sigma)) / (sigma**2 + 4.0 * (1.0 - sigma) ** 2) * x


START = jnp.asarray([1.0, -0.5])


@partial(jax.jit, static_argnames="solver")
def carried(grid, solver):
    return solve(gaussian, START, grid, solver).state


@pytest.mark.parametrize(
    ("steps", "shift", "order", "end"),
    [(5, 1.0, 2, 1.949634), (5, 3.0, 2, 1.862246), (8, 1.0, 3, 1.979247), (50, 1.0, 2, 2.002419)],
)
def test_the_last_state_is_that_of_the_released_scheduler(steps, shift, order, end):
    state = carried(unipc_grid(steps, shift=shift), UniPc(order))
    np.testing.assert_allclose(state, [end, -end / 2], rtol=2e-5)


@pytest.mark.parametrize("solver", [UniPc(2), UniPc(3), UniPc(2, predicts="noise"), UniPc(2, kind="bh1")])
def test_more_steps_come_nearer_and_every_setting_ends_in_finite_data(solver):
    end = 2.0 / np.sqrt(0.999**2 + 4 * 0.001**2)
    errors = [abs(float(carried(unipc_grid(n), solver)[0]) - end) for n in (4, 16, 64)]
    assert errors[0] > errors[2] and errors[2] < 0.02


def test_a_grid_from_pure_noise_is_finite_and_a_tree_of_states_is_carried_leaf_by_leaf():
    alone = carried(time_grid(12), UniPc(3))
    assert np.isfinite(alone).all()
    pair = {"a": START, "b": 3.0 * START[:1]}
    both = jax.jit(
        lambda x: solve(lambda x, t: jax.tree.map(lambda a: gaussian(a, t), x), x, time_grid(12), UniPc(3))
    )
    state = both(pair).state
    np.testing.assert_allclose(state["a"], alone, rtol=1e-5)
    np.testing.assert_allclose(state["b"], 3.0 * alone[:1], rtol=1e-5)


def test_other_step_counts_use_the_same_program():
    before = carried._cache_size()
    carried(unipc_grid(6), UniPc(1))
    carried(unipc_grid(9, shift=2.0), UniPc(1))
    assert carried._cache_size() == before + 1


def test_sigmas_fall_to_zero_and_the_first_is_shifted_twice():
    sigmas = unipc_sigmas(5, shift=3.0)
    assert len(sigmas) == 6 and sigmas[-1] == 0 and (np.diff(sigmas) < 0).all()
    np.testing.assert_allclose(sigmas[0], 0.999889, atol=1e-6)
    assert np.trunc(1000 * unipc_sigmas(50)[:4]).tolist() == [999, 979, 959, 939]


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="order=0"):
        UniPc(0)
    with pytest.raises(ValueError, match="at least one step"):
        unipc_sigmas(0)
    with pytest.raises(ValueError, match="from 0 to 1, got 2"):
        classifier_free_guidance(lambda x, t, y: x, jnp.asarray(0), 1, scale=2.0, rescale=2.0)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_rescaled_guidance_brings_back_the_deviation_of_the_conditional_velocity(share):
    by_label = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7)), jnp.float32)
    guided = classifier_free_guidance(
        lambda x, t, y: by_label[y], jnp.asarray(0), 1, scale=4.0, rescale=share
    )(jnp.zeros(7), jnp.asarray(0.5))
    plain = by_label[1] + 4.0 * (by_label[0] - by_label[1])
    deviation = share * jnp.std(by_label[0]) + (1 - share) * jnp.std(plain)
    np.testing.assert_allclose(jnp.std(guided), deviation, rtol=1e-5)
    np.testing.assert_allclose(guided / jnp.std(guided), plain / jnp.std(plain), rtol=1e-4)
