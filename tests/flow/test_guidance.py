"""Guidance: its formula, its interval, and what it costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.flow import EULER, Interval, autoguidance, classifier_free_guidance, solve, time_grid
from tests.oracles.arrays import normal

X, NULL = normal(0, 5, 4), 10
WEIGHT = normal(1, NULL + 1, 4, 4)


def network(x, t, label):
    return x @ WEIGHT[label] + t


def guided(t, *, scale=3.0, interval=None, channels=None, label=2):
    velocity = classifier_free_guidance(
        network, jnp.asarray(label), NULL, scale=scale, interval=interval, channels=channels
    )
    return velocity(X, jnp.asarray(t, jnp.float32))


def of(label, t):
    return network(X, jnp.asarray(t, jnp.float32), jnp.asarray(label))


@given(scale=st.floats(0.0, 12.0), t=st.floats(0.01, 0.99))
def test_inside_the_interval_it_extrapolates_from_the_null_class(scale, t):
    expected = of(NULL, t) + scale * (of(2, t) - of(NULL, t))
    np.testing.assert_allclose(guided(t, scale=scale), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("t", [0.0, 0.225, 1.0, 0.1])
def test_bounds_are_strict_and_outside_nothing_is_guided(t):
    np.testing.assert_allclose(guided(t, interval=Interval(0.225, 1.0)), of(2, t), rtol=1e-6)


@pytest.mark.parametrize("t", [0.25, 0.75])
def test_closed_bounds_are_guided(t):
    expected = of(NULL, t) + 3.0 * (of(2, t) - of(NULL, t))
    np.testing.assert_allclose(guided(t, interval=Interval(0.25, 0.75, closed=True)), expected, rtol=1e-4)


def test_only_the_first_channels_are_guided_if_so_asked():
    result = guided(0.5, channels=3)
    np.testing.assert_allclose(result[:, :3], guided(0.5)[:, :3], rtol=1e-6)
    np.testing.assert_allclose(result[:, 3:], of(2, 0.5)[:, 3:], rtol=1e-6)


def test_autoguidance_extrapolates_from_the_weak_network_inside_the_interval():
    strong, weak = (lambda x, t: 2.0 * x), (lambda x, t: x)
    velocity = autoguidance(strong, weak, scale=1.5, interval=Interval(0.1, 1.0, closed=True))
    np.testing.assert_allclose(velocity(X, jnp.asarray(0.5)), 2.5 * X, rtol=1e-6)
    np.testing.assert_allclose(velocity(X, jnp.asarray(0.05)), 2.0 * X, rtol=1e-6)


def products(jaxpr, inside=()):
    """(the conditional branches around it, shape of the result) of every matrix product of a program."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield inside, equation.outvars[0].aval.shape
        for name, value in equation.params.items():
            parts = value if isinstance(value, tuple | list) else (value,)
            for number, part in enumerate(parts):
                inner = getattr(part, "jaxpr", part)
                if isinstance(inner, jax.extend.core.Jaxpr):
                    is_branch = equation.primitive.name == "cond" and name == "branches"
                    yield from products(inner, (*inside, number) if is_branch else inside)


def test_both_branches_are_one_pass_inside_and_there_is_no_second_outside():
    """Also for a whole batch in a sampler, where a condition on batched data would compute both sides."""

    def sample(noise, labels):
        def one(x, label):
            velocity = classifier_free_guidance(network, label, NULL, scale=2.0)
            return solve(velocity, x, time_grid(4), EULER).state

        return jax.vmap(one)(noise, labels)

    program = jax.make_jaxpr(sample)(jnp.zeros((3, 5, 4)), jnp.zeros(3, jnp.int32))
    found = sorted((place, int(np.prod(shape))) for place, shape in products(program.jaxpr))
    assert found == [((0,), 3 * 5 * 4), ((1,), 2 * 3 * 5 * 4)]


def test_scales_and_intervals_share_one_program():
    @jax.jit
    def run(scale, interval):
        velocity = classifier_free_guidance(network, jnp.asarray(1), NULL, scale=scale, interval=interval)
        return solve(velocity, X, time_grid(3), EULER).state

    for scale, low in ((1.0, 0.0), (4.5, 0.225), (2.0, 0.5)):
        run(jnp.asarray(scale), Interval(low, 1.0))
    assert run._cache_size() == 1


@pytest.mark.parametrize("bounds", [(-0.1, 1.0), (0.0, 1.2), (0.7, 0.3), (float("nan"), 1.0)])
def test_intervals_outside_the_unit_or_reversed_are_refused(bounds):
    with pytest.raises(ValueError, match="interval"):
        Interval(*bounds)


def test_a_negative_scale_is_refused():
    with pytest.raises(ValueError, match="negative"):
        guided(0.5, scale=-1.0)
