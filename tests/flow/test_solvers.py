"""Samplers on a flow that is known exactly: order, compilation, broken states."""

import itertools
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.flow import (
    EULER,
    HEUN,
    HEUN2,
    HEUN3,
    MIDPOINT,
    RK4,
    RK4_38,
    STRAIGHT,
    EulerMaruyama,
    Solver,
    diffusion,
    gaussian_draws,
    last_step,
    solve,
    time_grid,
)
from tests.flow import gaussian

METHODS = {
    "euler": EULER,
    "midpoint": MIDPOINT,
    "heun": HEUN,
    "heun2": HEUN2,
    "heun3": HEUN3,
    "rk4": RK4,
    "rk4_38": RK4_38,
}
NOISE = jnp.linspace(-2.0, 2.0, 9)


@partial(jax.jit, static_argnames="method")
def flowed(noise, grid, method):
    return solve(gaussian.velocity, noise, grid, method)


def error(steps, method):
    reached = flowed(NOISE, time_grid(steps), method).state
    return float(jnp.max(jnp.abs(reached - gaussian.at(NOISE, 1.0))))


@pytest.mark.parametrize("name", METHODS)
def test_halving_the_step_divides_the_error_by_two_to_the_order_at_least(name):
    method = METHODS[name]
    few = {1: 64, 2: 32, 3: 8, 4: 4}[method.order]  # few enough for float32 not to matter
    assert np.log2(error(few, method) / error(2 * few, method)) > method.order - 0.4
    assert error(200, method) < {1: 2e-2}.get(method.order, 2e-4)


@pytest.mark.parametrize("name", METHODS)
def test_a_tableau_is_consistent(name):
    method = METHODS[name]
    assert sum(method.weights) == pytest.approx(1.0)
    for node, row in zip(method.nodes, method.stages, strict=True):
        assert sum(row) == pytest.approx(node)


def test_all_step_counts_share_one_program():
    flowed(NOISE, time_grid(7), EULER)
    before = flowed._cache_size()
    for steps in (1, 50, 250):
        flowed(NOISE, time_grid(steps, time_shift=3.0), EULER)
    assert flowed._cache_size() == before


def test_a_grid_may_stop_short():
    reached = flowed(NOISE, time_grid(200, last=0.5), RK4).state
    np.testing.assert_allclose(reached, gaussian.at(NOISE, 0.5), atol=1e-4)


@pytest.mark.parametrize("name", ["heun", "rk4"])
def test_the_velocity_is_never_asked_for_where_no_noise_is_left(name):
    """The last step into the data is of another tableau; one that stops before is the method's own."""
    method = METHODS[name]
    own = replace(method, into_data=None)
    asked = lambda x, t: jnp.where(t >= 1.0, jnp.nan, 1.0) * gaussian.velocity(x, t)
    grid = time_grid(6, time_shift=3.0)
    reached = solve(asked, NOISE, grid, method)
    assert int(reached.broken_at) == -1 and int(solve(asked, NOISE, grid, own).broken_at) == 5
    before, t = NOISE, grid.times[:7]
    for start, end in itertools.pairwise(t[:-1]):
        before, _ = own.step(gaussian.velocity, before, start, end, ())
    wanted, _ = method.into_data.step(gaussian.velocity, before, t[5], t[6], ())
    np.testing.assert_allclose(reached.state, wanted, atol=1e-5)
    short = time_grid(6, last=0.9)
    np.testing.assert_array_equal(
        solve(gaussian.velocity, NOISE, short, method).state,
        solve(gaussian.velocity, NOISE, short, own).state,
    )


def test_a_last_step_of_more_stages_is_refused():
    with pytest.raises(ValueError, match="3 stages, and the others 2"):
        replace(HEUN, into_data=HEUN3)


def test_heun_is_exact_beside_a_prediction_of_data_that_is_never_divided_by_its_floor():
    """The data themselves as prediction: every step lies on the straight path, the last one too."""
    data = jnp.linspace(1.0, 3.0, 9)
    exact = lambda x, t: STRAIGHT.data_to_velocity(x, data, t, min_one_minus_t=1e-3)
    np.testing.assert_allclose(solve(exact, NOISE, time_grid(5), HEUN).state, data, atol=1e-5)


def test_the_first_broken_interval_is_reported():
    broken = lambda x, t: jnp.where(t > 0.35, jnp.nan, 1.0) * x
    assert int(solve(broken, NOISE, time_grid(10), EULER).broken_at) == 4
    assert int(flowed(NOISE, time_grid(10), EULER).broken_at) == -1


def test_the_state_keeps_its_dtype_and_its_tree():
    velocity = lambda x, t: jax.tree.map(lambda a: a.astype(jnp.bfloat16), x)
    state = solve(velocity, {"a": NOISE, "b": NOISE[:3]}, time_grid(3), EULER).state
    assert state["a"].dtype == jnp.float32 and state["b"].shape == (3,)


@dataclass(frozen=True)
class AdamsBashforth(Solver):
    """Order 2 from one evaluation a step: it remembers the slope and the time before, and how many steps are left."""

    def init(self, x, grid):
        return jnp.zeros_like(x) * x, jnp.asarray(-1.0), grid.intervals

    def step(self, velocity, x, t, end, solver_state):
        before, time, left = solver_state
        slope, length = velocity(x, t), end - t
        change = jnp.where(time < 0.0, 0.0, (slope - before) / (t - time))
        return x + length * slope + 0.5 * length**2 * change, (slope, t, left - 1)


def test_a_solver_is_given_what_it_kept():
    assert np.log2(error(32, AdamsBashforth()) / error(64, AdamsBashforth())) > 1.6
    assert error(200, AdamsBashforth()) < 2e-4
    before = flowed._cache_size()
    flowed(NOISE, time_grid(7), AdamsBashforth())
    assert flowed._cache_size() == before


def test_examples_do_not_depend_on_their_batch():
    batched = jax.vmap(lambda x: solve(gaussian.velocity, x, time_grid(9), HEUN).state)(NOISE[:, None])
    np.testing.assert_allclose(batched[:, 0], flowed(NOISE, time_grid(9), HEUN).state, atol=1e-6)


@pytest.mark.parametrize("form", ["constant", "noise", "decreasing", "increasing_decreasing"])
@pytest.mark.parametrize("heun", [False, True])
def test_the_stochastic_sampler_has_the_marginals_of_the_flow(form, heun):
    noise, w = jax.random.normal(jax.random.key(0), (4000,)), diffusion(form)
    draws = gaussian_draws(jax.random.key(1), noise)
    solver = EulerMaruyama(draws, w, heun=heun)
    state = solve(gaussian.velocity, noise, time_grid(150, last=0.96), solver).state
    mean = gaussian.at(jnp.zeros(()), 0.96)
    assert float(jnp.mean(state)) == pytest.approx(float(mean), abs=0.05)
    assert float(jnp.std(state)) == pytest.approx(float(gaussian.at(jnp.ones(()), 0.96) - mean), abs=0.03)


def test_without_diffusion_the_stochastic_sampler_is_euler():
    draws = gaussian_draws(jax.random.key(1), NOISE)
    solver = EulerMaruyama(draws, lambda t: jnp.zeros_like(t))
    state = solve(gaussian.velocity, NOISE, time_grid(20), solver).state
    np.testing.assert_allclose(state, flowed(NOISE, time_grid(20), EULER).state, atol=1e-5)


def test_last_steps_reach_the_data():
    w, x = diffusion("constant"), gaussian.at(NOISE, 0.96)
    for kind, tolerance in (("mean", 0.2), ("euler", 0.02), ("tweedie", 0.1)):
        reached = last_step(kind, gaussian.velocity, x, size=0.04, w=w)
        np.testing.assert_allclose(reached, gaussian.at(NOISE, 1.0), atol=tolerance)
    np.testing.assert_array_equal(last_step("none", gaussian.velocity, x, size=0.04, w=w), x)
    with pytest.raises(ValueError, match="size"):
        last_step("mean", gaussian.velocity, x, size=0.0, w=w)
