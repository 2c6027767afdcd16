"""Learning rates: the released code's values, and the laws every schedule keeps."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from laminate.train.phases import Phases, phases_from_epochs, steps_from_epochs
from laminate.train.schedules import constant, linear_decay, warmup_cosine, wsd

GOLDEN = Path(__file__).parents[1] / "golden" / "04_flatdino_schedules.safetensors"
IMAGENET = 1_281_167

rates = st.floats(1e-6, 1e-2)
runs = st.tuples(st.integers(2, 400), st.integers(0, 400), st.integers(0, 500))
shapes = st.sampled_from(["cosine", "linear"])


EVERY_STEP = 1024  # one length for every run, so that each operation compiles once


def over_the_run(schedule) -> np.ndarray:
    """The schedule at steps 0, 1, ... in float64 on the host."""
    return np.asarray(jax.vmap(schedule)(jnp.arange(EVERY_STEP)), np.float64)


def golden():
    with safe_open(GOLDEN, "np") as file:
        config = json.loads(file.metadata()["config"])
        outputs = {
            name.removeprefix("outputs/"): file.get_tensor(name)
            for name in file.keys()
            if name.startswith("outputs/")
        }
        return config, file.get_tensor("inputs/step"), outputs


def golden_schedules():
    config, _, _ = golden()
    peak, start, final, total = (config[name] for name in ("peak", "start", "final", "total"))
    warmup = total // config["epochs"] * config["warm"]
    cosine = warmup_cosine(total, peak, start, final, warmup_steps=warmup)
    linear = linear_decay(total, peak, start, final, warmup_steps=warmup)
    plain = wsd(total, peak, start, final, warmup_steps=warmup, shape="linear")
    over = wsd(
        total, peak, start, final, warmup_steps=config["wover"], decay_steps=config["dover"], shape="linear"
    )
    return {
        "constant": constant(peak),
        "constant_over": constant(peak),
        "warmup_cosine": cosine,
        "warmup_cosine_over": cosine,
        "linear_decay": linear,
        "linear_decay_over": linear,
        "wsd": plain,
        "wsd_over": over,
    }


@pytest.mark.parametrize("name", sorted(golden_schedules()))
def test_schedule_equals_the_released_code(name):
    config, steps, outputs = golden()
    schedule = golden_schedules()[name]
    values = np.asarray(jax.vmap(schedule)(jnp.asarray(steps)), np.float64)
    assert np.abs(values - outputs[name]).max() <= 1e-6 * config["peak"]


def test_schedule_is_the_same_traced_and_in_float32():
    schedule = wsd(31, 1e-3, 1e-5, 1e-8, warmup_steps=7, decay_steps=11)
    steps = jnp.arange(40)
    traced = jax.jit(jax.vmap(schedule))(steps)
    assert traced.dtype == jnp.float32
    eager = np.array([schedule(int(step)) for step in steps])
    np.testing.assert_allclose(traced, eager, rtol=3e-7, atol=1e-10)


@given(runs, rates, st.floats(0.0, 1.0), st.floats(0.0, 1.0), shapes)
def test_wsd_equals_its_equation(run, peak, start_share, final_share, shape):
    steps, warmup, decay = run
    start, final = peak * start_share, peak * final_share
    schedule = wsd(steps, peak, start, final, warmup_steps=warmup, decay_steps=decay, shape=shape)
    values, length = over_the_run(schedule), min(decay, max(steps - warmup, 0))
    for step in {0, 1, warmup - 1, warmup, steps - length, steps - length + 1, steps - 1, steps, 2 * steps}:
        if step < 0:
            continue
        if step < warmup:
            wanted = start + (peak - start) * step / warmup
        elif length == 0 or step < steps - length:
            wanted = peak
        else:
            u = min((step - (steps - length)) / length, 1.0)
            fall = (1 + math.cos(math.pi * u)) / 2 if shape == "cosine" else 1 - u
            wanted = final + (peak - final) * fall
        assert abs(values[step] - wanted) <= 1e-6 * peak, (step, wanted)


@given(runs, rates, shapes)
def test_wsd_rises_then_stays_then_falls_and_never_jumps(run, peak, shape):
    steps, warmup, decay = run
    schedule = wsd(steps, peak, 0.0, 0.0, warmup_steps=warmup, decay_steps=decay, shape=shape)
    values = over_the_run(schedule)[: steps + 3]
    change, slack = np.diff(values), 1e-6 * peak
    fall_from = Phases(steps, warmup, steps if decay is None else decay).decay_start
    assert (values >= -slack).all() and (values <= peak + slack).all()
    assert (change[: min(warmup, steps)] >= -slack).all()
    assert (np.abs(change[warmup:fall_from]) <= slack).all()
    assert (change[max(warmup, fall_from) :] <= slack).all()
    length = steps - fall_from
    steepest = peak * max(1.0 / max(warmup, 1), (math.pi / 2) / length if length else 0.0)
    assert np.abs(change).max(initial=0.0) <= steepest + slack


@given(st.integers(2, 300), st.integers(0, 299), rates)
def test_cosine_and_linear_decay_meet_in_the_middle(steps, warmup, peak):
    warmup = min(warmup, steps - 2)
    if (steps - warmup) % 2:
        steps += 1
    middle = warmup + (steps - warmup) // 2
    cosine = over_the_run(warmup_cosine(steps, peak, 0.0, 1e-8, warmup_steps=warmup))
    linear = over_the_run(linear_decay(steps, peak, 0.0, 1e-8, warmup_steps=warmup))
    assert abs(cosine[middle] - linear[middle]) <= 1e-6 * peak


def test_linear_decay_from_its_peak_has_a_flat_start():
    schedule = linear_decay(20, 1e-3, 1e-3, 0.0, warmup_steps=5)
    np.testing.assert_allclose([schedule(step) for step in range(6)], 1e-3, rtol=1e-6)


def test_a_peak_of_zero_trains_nothing():
    assert float(warmup_cosine(9, 0.0, 0.0, 0.0, warmup_steps=2)(5)) == 0.0


@pytest.mark.parametrize(
    ("epochs", "decay_epochs", "total", "warmup", "decay", "start"),
    [
        (50, 5, 125113, 12510, 12510, 112603),
        (100, 15, 250227, 12510, 37530, 212697),
        (150, 22, 375341, 12510, 55044, 320297),
        (300, 75, 750683, 12510, 187650, 563033),
    ],
)
def test_epochs_become_the_papers_steps(epochs, decay_epochs, total, warmup, decay, start):
    phases = phases_from_epochs(IMAGENET, epochs, 512, warmup_epochs=5, decay_epochs=decay_epochs)
    assert phases == Phases(total, warmup, decay)
    assert phases.decay_start == start
    assert steps_from_epochs(IMAGENET, epochs, 512) // epochs == 2502


def test_decay_epochs_default_to_the_warmup_epochs():
    assert phases_from_epochs(1000, 10, 10, warmup_epochs=3).decay_steps == 300


@given(st.integers(1, 50), st.integers(0, 80), st.integers(0, 80))
def test_decay_never_starts_inside_the_warmup(steps, warmup, decay):
    start = Phases(steps, warmup, decay).decay_start
    assert min(warmup, steps) <= start <= steps
    assert Phases(steps, warmup, steps).decay_start == min(warmup, steps)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: steps_from_epochs(0, 1, 1), "examples is 0"),
        (lambda: steps_from_epochs(7, 2, 15), "at most 14"),
        (lambda: Phases(0, 0, 0), "steps is 0"),
        (lambda: Phases(5, -1, 0), "warmup_steps is -1"),
        (lambda: constant(-1e-3), "peak learning rate is -0.001"),
        (lambda: wsd(9, 1e-3, 0.0, float("nan"), warmup_steps=2), "final learning rate is nan"),
    ],
)
def test_impossible_schedules_are_refused_with_their_numbers(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_rates_of_vitok_are_those_of_its_formulas():
    """Which count from the first update, 1, where ours count those that are done: `s = k - 1` is 0 there."""
    steps, warmup, peak, final = 200, 10, 3e-4, 1e-5
    k = np.arange(warmup, steps + 1)
    u = (k - warmup) / (steps - warmup)
    decays = {
        "cosine": final + (peak - final) * 0.5 * (1 + np.cos(np.pi * u)),
        "exponential": peak * (final / peak) ** u,
    }
    for shape, wanted in decays.items():
        rates = over_the_run(wsd(steps, peak, 1e-7, final, warmup_steps=warmup, shape=shape))
        np.testing.assert_allclose(rates[k], wanted, rtol=1e-5)
        rise = 1e-7 + (peak - 1e-7) * np.arange(warmup) / warmup
        np.testing.assert_allclose(rates[:warmup], rise, rtol=1e-5)
        np.testing.assert_allclose(rates[steps:], final, rtol=1e-4)
    stays = over_the_run(wsd(steps, peak, 1e-7, final, warmup_steps=warmup, decay_steps=0))
    np.testing.assert_allclose(stays[warmup:], peak, rtol=1e-6)
    with pytest.raises(ValueError, match="a final learning rate above 0"):
        wsd(steps, peak, 1e-7, 0.0, warmup_steps=warmup, shape="exponential")
