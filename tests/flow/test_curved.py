"""Losses and solvers assume nothing flat: they work on a circle, which only its path and its solver know."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.flow import flow_matching_loss, solve, time_grid
from tests.flow.circle import Circle, Turn, ahead
from tests.oracles.arrays import normal

PATH = Circle()
DATA, NOISE = PATH.project(normal(0, 7, 2)), PATH.project(normal(1, 7, 2))
TRUE = lambda x, t: PATH.data_to_velocity(x, DATA, t, min_one_minus_t=1e-3)


@given(t=st.floats(0.0, 0.95))
def test_the_loss_is_that_of_the_part_along_the_space_and_the_rest_has_a_weight(t):
    t = jnp.asarray(t, jnp.float32)
    away = normal(2, 7, 1)
    loss = lambda along, **weights: float(
        flow_matching_loss(
            lambda x, t: TRUE(x, t) + along * ahead(x) + away * x,
            DATA,
            t=t,
            noise=NOISE,
            path=PATH,
            **weights,
        )
    )
    assert loss(0.0) < 1e-8
    assert loss(0.3) == pytest.approx(0.3**2 / 2, rel=1e-3)
    assert loss(0.3, normal_weight=0.1) == pytest.approx(
        0.3**2 / 2 + 0.1 * float(jnp.mean(jnp.square(away))) / 2, rel=1e-3
    )


@pytest.mark.parametrize("steps", [1, 2, 25])
def test_a_solver_of_the_space_stays_in_it_and_reaches_the_predicted_data(steps):
    away_too = lambda x, t: TRUE(x, t) + 3.0 * x
    reached = jax.jit(lambda grid: solve(away_too, NOISE, grid, Turn()).state)(
        time_grid(steps, time_shift=3.0)
    )
    np.testing.assert_allclose(jnp.linalg.norm(reached, axis=-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(reached, DATA, atol=1e-5)
