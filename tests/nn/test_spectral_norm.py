"""The estimate of the largest singular value, and what dividing by it promises."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.nn import Conv1d, Conv2d, Linear, SpectralNorm, iterated
from laminate.types import split_buffers
from tests.oracles.arrays import filled, normal

STEP = jax.jit(iterated)
SIGMA = jax.jit(lambda layer: layer.sigma())
MAKERS = {
    "linear": lambda key: Linear(5, 7, key=key),
    "conv1d": lambda key: Conv1d(3, 4, 5, circular=True, key=key),
    "conv2d": lambda key: Conv2d(3, 4, (2, 3), bias=False, key=key),
}


def spectral(kind, **options):
    return filled(lambda key: SpectralNorm(MAKERS[kind](key), key=key, **options))


def largest(layer):
    weight = np.asarray(layer.layer.weight, np.float64)
    return np.linalg.svd(weight.reshape(len(weight), -1), compute_uv=False)[0]


def many_steps(layer, steps):
    return jax.jit(lambda m: jax.lax.fori_loop(0, steps, lambda _, m: iterated(m), m))(layer)


@pytest.mark.parametrize("kind", MAKERS)
def test_sigma_grows_to_the_largest_singular_value(kind):
    layer = STEP(spectral(kind))
    sigmas = [float(SIGMA(layer))]
    for _ in range(5):
        layer = STEP(layer)
        sigmas.append(float(SIGMA(layer)))
    assert all(b >= a - 1e-6 for a, b in itertools.pairwise(sigmas))
    assert sigmas[-1] <= largest(layer) + 1e-6
    np.testing.assert_allclose(SIGMA(many_steps(layer, 300)), largest(layer), rtol=1e-4)


@pytest.mark.parametrize("kind", ["linear", "conv1d"])
def test_a_converged_layer_stretches_nothing(kind):
    layer = many_steps(spectral(kind), 300)
    weight = np.asarray(layer.normalised().weight).reshape(len(layer.layer.weight), -1)
    np.testing.assert_allclose(np.linalg.svd(weight, compute_uv=False)[0], 1, rtol=1e-4)
    if kind == "linear":
        x, y = normal(1, 9, 5), normal(2, 9, 5)
        moved = np.linalg.norm(layer(x) - layer(y), axis=1)
        assert np.all(moved <= np.linalg.norm(x - y, axis=1) * (1 + 1e-4))


@given(under_root=st.booleans(), scale=st.sampled_from([1e-7, 1e-3, 1.0, 1e4]))
def test_one_step_is_its_two_equations(under_root, scale):
    layer = spectral("linear", eps=1e-12, eps_under_root=under_root)
    layer = eqx.tree_at(lambda m: m.u.value, layer, layer.u.value * scale)
    w, u = (np.asarray(a, np.float64) for a in (layer.layer.weight, layer.u.value))

    def unit(x):
        length = np.linalg.norm(x)
        return x / np.sqrt(length**2 + 1e-12) if under_root else x / max(length, 1e-12)

    v = unit(w.T @ u)
    further = STEP(layer)
    np.testing.assert_allclose(further.v.value, v, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(further.u.value, unit(w @ v), rtol=1e-4, atol=1e-6)


def test_a_call_divides_the_weight_and_not_the_bias_by_the_stored_estimate():
    layer = spectral("linear")
    sigma = np.asarray(layer.u.value @ layer.layer.weight @ layer.v.value)
    x = normal(3, 4, 5)
    wanted = x @ (layer.layer.weight / sigma).T + layer.layer.bias[None]
    np.testing.assert_allclose(layer(x), wanted, rtol=1e-4, atol=1e-5)


def test_the_size_of_the_weight_does_not_matter_and_its_gradient_is_across_it():
    layer = STEP(spectral("conv1d"))
    larger = eqx.tree_at(lambda m: m.layer.weight, layer, layer.layer.weight * 3)
    x = normal(4, 6, 3)
    call = jax.jit(lambda m, x: m(x))
    np.testing.assert_allclose(call(layer, x), call(larger, x), rtol=1e-4, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda m, x: jnp.sum(jnp.sin(m(x)))))(layer, x)
    along = np.sum(np.asarray(gradient.layer.weight * layer.layer.weight))
    assert abs(along) < 1e-4 * np.linalg.norm(gradient.layer.weight) * np.linalg.norm(layer.layer.weight)
    assert np.all(np.asarray(gradient.u.value) == 0) and np.all(np.asarray(gradient.v.value) == 0)


def test_no_gradient_flows_through_an_iteration():
    layer = spectral("linear")

    def first(weight):
        further = iterated(eqx.tree_at(lambda m: m.layer.weight, layer, weight))
        return jnp.sum(further.u.value) + jnp.sum(further.v.value)

    np.testing.assert_array_equal(jax.jit(jax.grad(first))(layer.layer.weight), 0)


def test_the_vectors_are_buffers_and_an_iteration_changes_nothing_else():
    layer = spectral("conv2d")
    before, after = split_buffers(layer), split_buffers(STEP(layer))
    assert jax.tree.all(jax.tree.map(np.array_equal, before[0], after[0]))
    assert len(jax.tree.leaves(before[1])) == 2
    assert not any(
        np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (before[1], after[1])), strict=True)
    )


def test_a_new_layer_has_a_positive_estimate_and_a_weight_of_zeros_stays_one():
    layer = jax.jit(lambda key: SpectralNorm(MAKERS["linear"](key), key=key))(
        jax.random.key(0, impl="unsafe_rbg")
    )
    assert SIGMA(layer) > 0
    silent = STEP(eqx.tree_at(lambda m: m.layer.weight, layer, jnp.zeros((7, 5))))
    np.testing.assert_array_equal(silent(normal(0, 2, 5)), 0)
