"""A training that takes long on a CPU says so before it begins and once it is timed; others say nothing."""

import dataclasses

import jax
import pytest

from laminate.recipes.families import FAMILIES
from laminate.recipes.flatdino.family import VAE
from laminate.runs.duration import LONG, Duration, matmul_rate

RECIPE = VAE.names.recipe("fast-16-ss-64")


def said(recipe=RECIPE, *, left: int, rate: float = 1e11, timed: tuple[float, ...] = ()) -> list[str]:
    lines: list[str] = []
    one = Duration(VAE, recipe, left=left, say=lines.append)
    one.estimated(lambda: rate)
    for seconds in timed:
        one.timed(seconds)
    return lines


def test_hours_are_said_before_they_begin_with_what_takes_one():
    operations = 2 * VAE.flops(RECIPE) * RECIPE.global_batch_size
    steps = 1000
    rate = operations * steps / 0.6 / (10 * LONG)  # ten hours
    (line,) = said(left=steps, rate=rate)
    assert "about 10h00m on this CPU: 1,000 steps of 512 images" in line
    assert "--steps 100 is an hour of it" in line and "python experiments/vae.py" in line


def test_what_is_short_is_not_worth_a_word():
    assert said(left=1, rate=1e13, timed=(1.0,)) == []
    assert said(dataclasses.replace(RECIPE, global_batch_size=1), left=2) == []


def test_a_measured_step_is_said_where_it_is_a_surprise():
    steps = 100
    assert said(left=steps, rate=1e18, timed=(3600.0,))[-1].startswith("this takes about 4d04h on this CPU")
    operations = 2 * VAE.flops(RECIPE) * RECIPE.global_batch_size * steps
    expected = operations / (0.6 * 1e10)
    assert len(said(left=steps, rate=1e10, timed=(expected / steps,))) == 1
    assert len(said(left=steps, rate=1e10, timed=(3 * expected / steps,))) == 2


def test_accelerators_are_not_judged(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert said(left=10**6, timed=(3600.0,)) == []


def test_the_rate_is_that_of_the_fastest_product_after_the_first():
    times = iter([0.0, 9.0, 10.0, 10.5, 20.0, 21.0])
    assert matmul_rate(lambda: next(times)) == pytest.approx(2 * 1024**3 / 0.5)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_knows_what_an_image_costs(family):
    assert family.flops(family.names.recipe(family.names.default)) > 1e6
