"""Who is content with which logits, and how hard the generator may pull."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.losses.adversarial import (
    adaptive_weight,
    consistency_loss,
    generator_loss,
    hinge_loss,
    non_saturating_loss,
    r1_penalty,
    vanilla_loss,
)
from tests.oracles.arrays import normal

FLOAT = jnp.float32
norms = st.floats(2**-10, 2**10, width=32)


@given(margins=st.lists(st.floats(0, 50, width=32), min_size=6, max_size=6), seed=st.integers(0, 9))
def test_the_hinge_is_zero_beyond_its_margins_and_so_is_its_gradient(margins, seed):
    beyond = 1 + np.abs(np.asarray(margins, np.float32)) + 1e-3
    real, fake = jnp.asarray(beyond), -jnp.asarray(np.roll(beyond, seed))
    value, gradient = jax.value_and_grad(hinge_loss, (0, 1))(real, fake)
    assert value == 0
    assert not np.any(gradient[0]) and not np.any(gradient[1])


@pytest.mark.parametrize(
    ("loss", "of_real", "of_fake"),
    [
        (hinge_loss, lambda x: np.maximum(0, 1 - x), lambda x: np.maximum(0, 1 + x)),
        (vanilla_loss, lambda x: np.logaddexp(0, -x), lambda x: np.logaddexp(0, x)),
    ],
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_discriminator_loss_is_half_of_what_both_kinds_of_image_cost(loss, of_real, of_fake, dtype):
    real, fake = normal(0, 7).astype(dtype) * 3, normal(1, 7).astype(dtype) * 3
    costs = of_real(np.asarray(real, np.float64)), of_fake(np.asarray(fake, np.float64))
    assert loss(real, fake).dtype == jnp.float32
    np.testing.assert_allclose(loss(real, fake), (costs[0].mean() + costs[1].mean()) / 2, rtol=1e-5)
    summed = loss(real, fake, reduction="sum")
    np.testing.assert_allclose(summed, (costs[0].sum() + costs[1].sum()) / 2, rtol=1e-5)


def test_an_undecided_discriminator_pays_one_or_log_two():
    zeros = jnp.zeros(4)
    np.testing.assert_allclose(hinge_loss(zeros, zeros), 1)
    np.testing.assert_allclose(vanilla_loss(zeros, zeros), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(non_saturating_loss(zeros), np.log(2), rtol=1e-6)


def test_the_generator_wants_every_logit_to_rise_and_most_where_it_is_recognised():
    logits = jnp.asarray([-6.0, 0.0, 6.0])
    np.testing.assert_allclose(jax.grad(generator_loss)(logits), -np.ones(3) / 3, rtol=1e-6)
    slopes = np.asarray(jax.grad(non_saturating_loss)(logits)) * 3
    np.testing.assert_allclose(slopes, -1 / (1 + np.exp(np.asarray(logits))), rtol=1e-5)


@given(rec=norms, gan=norms, by=st.floats(0.125, 8, width=32))
def test_the_adaptive_weight_makes_both_pull_alike(rec, gan, by):
    weight = lambda r, g: float(adaptive_weight(jnp.asarray(r, FLOAT), jnp.asarray(g, FLOAT), largest=1e9))
    np.testing.assert_allclose(weight(rec, gan) * gan, rec, rtol=2e-3)
    np.testing.assert_allclose(weight(rec * by, gan), weight(rec, gan) * by, rtol=1e-4)
    assert weight(rec, gan * 2) < weight(rec, gan)


def test_the_adaptive_weight_is_bounded_and_is_a_constant():
    one, none = jnp.ones(()), jnp.zeros(())
    assert adaptive_weight(one, none) == 1e4
    assert adaptive_weight(one, none, eps=1e-4, largest=7.0) == 7
    assert adaptive_weight(none, one) == 0
    np.testing.assert_allclose(adaptive_weight(one, none, eps=1e-3), 1e3, rtol=1e-5)
    assert jax.grad(lambda r: adaptive_weight(r, one))(one) == 0


def test_r1_of_a_linear_critic_is_half_the_square_of_its_slope():
    slopes = normal(2, 4, 6)
    critic = lambda x: jnp.sum(slopes * jnp.broadcast_to(x, slopes.shape), axis=1)
    wanted = 0.5 * np.sum(np.square(np.asarray(slopes).mean(0)))
    for seed in (3, 4):
        np.testing.assert_allclose(r1_penalty(critic, normal(seed, 6)), wanted, rtol=1e-5)


def test_consistency_is_the_mean_square_of_the_change():
    a, b = normal(5, 7), normal(6, 7)
    np.testing.assert_allclose(consistency_loss(a, b), np.mean(np.square(np.asarray(a - b))), rtol=1e-6)
    assert consistency_loss(a, a) == 0
