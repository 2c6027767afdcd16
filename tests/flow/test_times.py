"""Time distributions, the shift, and the grids of the references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from laminate.flow import dimension_shift, draw_time, logit_normal, shift_time, time_grid, uniform

shifts = st.floats(0.1, 14.0)
fractions = st.floats(0.01, 0.99)


def f32(x):
    return jnp.asarray(x, jnp.float32)


@given(t=fractions, shift=shifts)
def test_the_shift_by_the_inverse_undoes_it_and_fixes_the_ends(t, shift):
    there = shift_time(f32(t), shift)
    assert float(shift_time(there, 1.0 / shift)) == pytest.approx(t, rel=1e-4)
    assert float(shift_time(f32(0.0), shift)) == 0.0 and float(shift_time(f32(1.0), shift)) == 1.0
    assert (float(there) <= t + 1e-6) == (shift >= 1.0) or abs(float(there) - t) < 1e-5


@given(t=fractions, shift=shifts)
def test_the_shift_is_raes_where_noise_is_at_one(t, shift):
    noise_up = 1.0 - float(shift_time(f32(t), shift))
    assert noise_up == pytest.approx(shift * (1 - t) / (1 + (shift - 1) * (1 - t)), abs=1e-5)


def test_the_derived_shift_is_the_root_of_the_size():
    assert dimension_shift(32 * 128) == 1.0
    assert dimension_shift(768 * 16 * 16) == pytest.approx(np.sqrt(48))


@given(u=fractions, mean=st.floats(-1.0, 1.0), std=st.floats(0.5, 1.5), last=st.floats(0.9, 1.0))
def test_logit_normal_times_have_their_quantiles(u, mean, std, last):
    top = norm.cdf((np.log(last / (1 - last)) - mean) / std) if last < 1.0 else 1.0
    expected = 1 / (1 + np.exp(-(mean + std * norm.ppf(u * top))))
    assert float(logit_normal(mean, std, last=last)(f32(u))) == pytest.approx(expected, abs=2e-5)


@given(u=fractions, mean=st.floats(-1.0, 1.0), cut=st.floats(0.001, 0.1))
def test_distributions_turn_round_with_time(u, mean, cut):
    turned = 1.0 - logit_normal(-mean, 1.2, first=cut)(f32(1.0 - u))
    assert float(turned) == pytest.approx(float(logit_normal(mean, 1.2, last=1.0 - cut)(f32(u))), abs=1e-4)
    assert float(1.0 - uniform(first=cut)(f32(1.0 - u))) == pytest.approx(
        float(uniform(last=1.0 - cut)(f32(u))), abs=1e-6
    )


def test_raes_training_times_have_the_known_quantiles():
    times = [logit_normal(last=0.999)(f32(u)) for u in (0.1, 0.5, 0.9)]
    np.testing.assert_allclose(times, [0.217286, 0.5, 0.782714], atol=2e-3)
    shifted = [float(shift_time(t, 1.0 / dimension_shift(196_608))) for t in times]
    np.testing.assert_allclose(shifted, [0.657922, 0.873868, 0.961475], atol=2e-3)


def test_drawn_times_follow_the_shifted_distribution():
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = np.asarray(jax.vmap(lambda key: draw_time(key, uniform(), time_shift=3.0))(keys))
    assert np.mean(drawn < 0.25) == pytest.approx(0.5, abs=0.03)
    assert drawn.min() >= 0.0 and drawn.max() <= 1.0


@pytest.mark.parametrize(
    ("grid", "first", "last"),
    [
        (time_grid(50), [0.0, 0.02, 0.04], [0.96, 0.98, 1.0]),
        (time_grid(50, time_shift=3.0), [0.0, 0.006756757, 0.01369863], [0.8888889, 0.942307692, 1.0]),
        (
            time_grid(49, time_shift=48**0.5, last=0.999),
            [0.0, 1 - 0.997005034, 1 - 0.993901795, 1 - 0.990684305],
            [1 - 0.314705555, 1 - 0.231978811, 1 - 0.131505061, 1 - 0.006887373],
        ),
        (
            time_grid(249, time_shift=1 / 0.3),
            [0, 0.001208216, 0.002423263, 0.0036452],
            [0.9609375, 0.973718791, 0.986737401, 1],
        ),
    ],
    ids=["linear", "FlatDINO", "RAE", "LightningDiT"],
)
def test_the_grids_of_the_references(grid, first, last):
    times = np.asarray(grid.times)[: int(grid.intervals) + 1]
    np.testing.assert_allclose(times[: len(first)], first, atol=1e-6)
    np.testing.assert_allclose(times[-len(last) :], last, atol=1e-6)


@given(intervals=st.integers(1, 600), shift=shifts)
def test_grids_rise_and_are_padded_with_their_end(intervals, shift):
    grid = time_grid(intervals, time_shift=shift)
    times = np.asarray(grid.times)
    assert len(times) % 256 == 1 and int(grid.intervals) == intervals
    assert (np.diff(times[: intervals + 1]) > 0).all() and (times[intervals:] == 1.0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: time_grid(0), "at least one step"),
        (lambda: time_grid(5, time_shift=0.0), "time_shift > 0"),
        (lambda: time_grid(5, last=1.5), "last"),
        (lambda: shift_time(f32(0.5), -1.0), "time_shift > 0"),
        (lambda: uniform(first=1.0), "first"),
        (lambda: logit_normal(0.0, 0.0), "std > 0"),
        (lambda: dimension_shift(0), "positive"),
    ],
)
def test_impossible_times_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
