"""Arcs of great circles: at every angle, in float32, whatever the rotation; and the solvers that follow them."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.flow import (
    EulerProject,
    ExpMap,
    Sphere,
    expected_norm,
    flow_matching_loss,
    solve,
    time_grid,
)
from tests.oracles.arrays import normal

RADIUS, TOKENS, DIM = 3.0, 7, 5
PATH = Sphere(RADIUS)
DATA, NOISE = PATH.project(normal(0, TOKENS, DIM)), PATH.project(normal(1, TOKENS, DIM))
SOLVERS = [ExpMap(PATH), EulerProject(PATH)]
every_solver = pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: type(solver).__name__)

seeds, times = st.integers(0, 2**31), st.floats(0.0, 1.0)
# From equal to opposite, as often near either as between.
angles = st.one_of(
    st.floats(-8.0, -1.0).map(lambda power: 10.0**power),
    st.floats(-6.0, -1.0).map(lambda power: math.pi - 10.0**power),
    st.floats(0.1, math.pi - 0.1),
)


def pair(seed, angle):
    """Two unit vectors at that angle, and the direction from the first to the second, in float64."""
    start, way = np.linalg.qr(np.random.default_rng(seed).normal(size=(DIM, 2)))[0].T
    return start, math.cos(angle) * start + math.sin(angle) * way, way


def of(t):
    return jnp.asarray(t, jnp.float32)


def points(seed, angle):
    start, end, way = pair(seed, angle)
    return of(RADIUS * start), of(RADIUS * end), way


@jax.jit
def moved(data, noise, t):
    """The point, the velocity, and the derivative of the point."""
    point, slope = jax.jvp(lambda t: PATH.point(data, noise, t), (t,), (jnp.ones(()),))
    return point, PATH.velocity(data, noise, t), slope


@given(seed=seeds, angle=angles, t=times)
def test_arcs_stay_on_the_sphere_at_constant_speed_from_the_smallest_angle_to_the_largest(seed, angle, t):
    noise, data, way = points(seed, angle)
    point, velocity, slope = moved(data, noise, of(t))
    start = np.asarray(noise, np.float64) / RADIUS
    wanted = RADIUS * (math.cos(t * angle) * start + math.sin(t * angle) * way)
    # Float32 numbers hold a direction to a share of 1e-7 of what separates the points from each other, or opposites.
    loose = 1e-6 / min(1.0, max(math.sin(angle), 1e-7) if angle > 1.0 else 1.0)
    np.testing.assert_allclose(point, wanted, atol=RADIUS * min(2.0, 3.0 * loose))
    assert float(jnp.linalg.norm(point)) == pytest.approx(RADIUS, rel=1e-6)
    assert float(jnp.linalg.norm(velocity)) == pytest.approx(RADIUS * angle, rel=1e-5, abs=1e-6)
    assert abs(float(velocity @ point)) <= 1e-6 * RADIUS * RADIUS * angle + 1e-12
    np.testing.assert_allclose(velocity, slope, rtol=1e-4, atol=1e-5)


@given(seed=seeds, angle=angles)
def test_exp_and_log_are_inverse(seed, angle):
    x, end, _ = points(seed, angle)
    log = PATH.log(x, end)
    np.testing.assert_allclose(PATH.exp(x, log), end, atol=3e-6)
    assert float(PATH.angle(x, end)) == pytest.approx(angle, abs=1e-6)
    assert float(jnp.linalg.norm(log)) == pytest.approx(RADIUS * angle, rel=1e-5, abs=1e-6)
    if angle < math.pi - 0.1:
        _, _, way = pair(seed, angle)
        tangent = of(RADIUS * angle * way)
        np.testing.assert_allclose(PATH.log(x, PATH.exp(x, tangent)), tangent, atol=2e-5)


def test_what_does_not_move_and_what_could_go_anywhere():
    """An equal pair stays; an opposite one goes half round, one way of many; a vector of zeros is nowhere."""
    point, velocity, _ = moved(DATA, DATA, of(0.3))
    np.testing.assert_allclose(point, DATA, rtol=1e-6)
    np.testing.assert_allclose(velocity, 0.0, atol=1e-12)
    point, velocity, slope = moved(-DATA, DATA, of(0.5))
    np.testing.assert_allclose(jnp.linalg.norm(point, axis=-1), RADIUS, rtol=1e-6)
    np.testing.assert_allclose(jnp.sum(point * DATA, axis=-1), 0.0, atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(velocity, axis=-1), RADIUS * math.pi, rtol=1e-6)
    np.testing.assert_allclose(velocity, slope, atol=1e-5)
    nowhere = PATH.project(DATA.at[2].set(0.0))
    assert np.isnan(nowhere[2]).all() and np.isfinite(np.delete(nowhere, 2, axis=0)).all()


@given(seed=seeds, t=times)
def test_rotations_of_the_latent_commute_with_everything(seed, t):
    turn = of(np.linalg.qr(np.random.default_rng(seed).normal(size=(DIM, DIM)))[0])
    v, t = normal(3, TOKENS, DIM), of(t)
    for name, made in {
        "point": lambda turn: PATH.point(DATA @ turn, NOISE @ turn, t),
        "velocity": lambda turn: PATH.velocity(DATA @ turn, NOISE @ turn, t),
        "prediction": lambda turn: PATH.data_to_velocity(NOISE @ turn, v @ turn, t, min_one_minus_t=0.1),
        "project": lambda turn: PATH.project(v @ turn),
        "tangent": lambda turn: PATH.tangent(DATA @ turn, v @ turn),
        "exp": lambda turn: PATH.exp(DATA @ turn, PATH.tangent(DATA @ turn, v @ turn)),
        "log": lambda turn: PATH.log(DATA @ turn, NOISE @ turn),
        **{
            type(solver).__name__: lambda turn, solver=solver: solver.step(
                lambda x, t: jnp.tanh(x @ turn.T) @ turn, NOISE @ turn, t, t + 0.1, ()
            )[0]
            for solver in SOLVERS
        },
    }.items():
        np.testing.assert_allclose(made(turn), made(jnp.eye(DIM)) @ turn, atol=3e-5, err_msg=name)


def test_a_state_may_be_a_tree_and_each_of_its_tokens_is_on_its_own():
    both = PATH.point({"a": DATA, "b": DATA[:2]}, {"a": NOISE, "b": NOISE[:2]}, of(0.25))
    np.testing.assert_array_equal(both["a"][:2], both["b"])


@given(t=times, away=st.floats(-2.0, 2.0), weight=st.floats(0.0, 1.0))
def test_the_exact_field_costs_nothing_and_what_leaves_the_sphere_has_its_own_weight(t, away, weight):
    noise, t = NOISE.astype(jnp.bfloat16), of(t)
    field = lambda x, t: PATH.velocity(DATA, noise, t) + away * x / RADIUS
    loss = flow_matching_loss(field, DATA, t=t, noise=noise, path=PATH, normal_weight=weight)
    assert loss.dtype == jnp.float32
    assert float(loss) == pytest.approx(weight * away**2 / DIM, rel=1e-4, abs=1e-9)


def test_half_precision_is_made_float32_before_anything_is_computed():
    data, noise, v = (a.astype(jnp.bfloat16) for a in (DATA, NOISE, normal(3, TOKENS, DIM)))
    wide = [a.astype(jnp.float32) for a in (data, noise, v)]
    for function in (
        lambda z, e, v: PATH.point(z, e, of(0.3)),
        lambda z, e, v: PATH.velocity(z, e, of(0.3)),
        lambda z, e, v: PATH.data_to_velocity(e, z, of(0.3), min_one_minus_t=0.1),
        lambda z, e, v: PATH.project(z),
        lambda z, e, v: PATH.tangent(z, v),
    ):
        made = function(data, noise, v)
        assert made.dtype == jnp.float32
        np.testing.assert_array_equal(made, function(*wide))


TRUE = lambda x, t: PATH.data_to_velocity(x, 2.0 * DATA, t, min_one_minus_t=1e-3)


def test_a_prediction_of_the_data_is_the_velocity_of_the_path_and_a_fresh_one_can_learn():
    t = of(0.6)
    x = PATH.point(DATA, NOISE, t)
    np.testing.assert_allclose(TRUE(x, t), PATH.velocity(DATA, NOISE, t), rtol=1e-4, atol=1e-4)
    loss = lambda data: flow_matching_loss(
        lambda x, t: PATH.data_to_velocity(x, data, t, min_one_minus_t=0.1), DATA, t=t, noise=NOISE, path=PATH
    )
    value, slope = jax.value_and_grad(loss)(jnp.zeros_like(DATA))
    assert np.isfinite(value) and np.isfinite(slope).all()
    assert 0.0 < float(jnp.max(jnp.abs(slope))) < 1e4
    assert float(loss(-1e-4 * slope / jnp.max(jnp.abs(slope)))) < float(value)
    assert np.isfinite(jax.grad(loss)(-DATA)).all() and np.isfinite(jax.grad(loss)(x)).all()


@partial(jax.jit, static_argnames=("solver", "field"))
def reached(field, grid, solver):
    return solve(field, NOISE, grid, solver).state


def test_the_exact_field_reaches_its_data_along_arcs_in_any_number_of_steps():
    away_too = lambda x, t: TRUE(x, t) + 3.0 * x
    for steps in (1, 2, 25):
        end = reached(away_too, time_grid(steps, time_shift=3.0), ExpMap(PATH))
        np.testing.assert_allclose(end, DATA, atol=2e-5)
        np.testing.assert_allclose(jnp.linalg.norm(end, axis=-1), RADIUS, rtol=1e-6)


SPIN = np.random.default_rng(4).normal(size=(DIM, DIM))
SPIN = of(SPIN - SPIN.T)


def turning(x, t):
    """Every point goes round as `exp(t^2 SPIN / 2)` turns it."""
    return t * (x @ SPIN.T)


@every_solver
@pytest.mark.parametrize("field", [turning, TRUE], ids=["turning", "to the data"])
def test_halving_the_steps_divides_the_error_by_two_at_least_and_keeps_the_norm(solver, field):
    end = NOISE @ jax.scipy.linalg.expm(0.5 * SPIN).T if field is turning else DATA
    errors = []
    for steps in (32, 64, 128):
        state = reached(field, time_grid(steps), solver)
        np.testing.assert_allclose(jnp.linalg.norm(state, axis=-1), RADIUS, rtol=1e-6)
        errors.append(float(jnp.max(jnp.abs(state - end))))
    assert errors[2] < 0.05
    assert errors[2] < 1e-5 or np.log2(errors[1] / errors[2]) > 0.8


@every_solver
def test_the_state_keeps_its_dtype_whatever_the_velocity_has(solver):
    field = lambda x, t: -x.astype(jnp.bfloat16)
    state, _ = solver.step(field, NOISE.astype(jnp.bfloat16), of(0.0), of(0.5), ())
    assert state.dtype == jnp.bfloat16
    assert solver.step(field, NOISE, of(0.0), of(0.5), ())[0].dtype == jnp.float32


def test_the_length_of_noise_is_nearly_the_root_of_its_numbers():
    assert expected_norm(1024) == pytest.approx(31.992188)
    assert expected_norm(1) == pytest.approx(math.sqrt(2 / math.pi))
    drawn = jnp.linalg.norm(normal(5, 4000, DIM), axis=-1)
    assert expected_norm(DIM) == pytest.approx(float(jnp.mean(drawn)), rel=0.02)


@pytest.mark.parametrize("radius", [0.0, -1.0, math.inf, math.nan])
def test_a_radius_that_is_none_is_refused(radius):
    with pytest.raises(ValueError, match="radius above 0"):
        Sphere(radius)
    with pytest.raises(ValueError, match="dim=0"):
        expected_norm(0)
