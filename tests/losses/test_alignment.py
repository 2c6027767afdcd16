"""What costs a latent that does not resemble the features it should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.losses.alignment import cosine_alignment_loss, similarity_alignment_loss
from tests.oracles.arrays import normal

A, B = normal(0, 5, 4), normal(1, 5, 4)
LOSSES = (cosine_alignment_loss, similarity_alignment_loss)


def unit(x):
    wide = np.asarray(x, np.float64)
    return wide / np.linalg.norm(wide, axis=-1, keepdims=True)


@given(margin=st.floats(0, 1, width=32))
def test_both_are_their_equations(margin):
    cosines = np.sum(unit(A) * unit(B), axis=1)
    wanted = np.maximum(0, 1 - margin - cosines).mean()
    np.testing.assert_allclose(cosine_alignment_loss(A, B, margin=margin), wanted, rtol=1e-4, atol=1e-6)
    difference = np.abs(unit(A) @ unit(A).T - unit(B) @ unit(B).T)
    wanted = np.maximum(0, difference - margin).mean()
    np.testing.assert_allclose(similarity_alignment_loss(A, B, margin=margin), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_lengths_do_not_matter_and_likeness_costs_nothing(loss):
    lengths = jnp.exp(normal(2, 5, 1)) * jnp.ones((5, 4))
    np.testing.assert_allclose(loss(A * lengths, B), loss(A, B), rtol=1e-5)
    np.testing.assert_allclose(loss(A * lengths, A), 0, atol=1e-6)
    assert loss(A.astype(jnp.bfloat16), B).dtype == jnp.float32


def test_similarities_are_kept_by_a_rotation_which_the_tokens_are_not():
    turn, _ = np.linalg.qr(np.asarray(normal(3, 4, 4)))
    np.testing.assert_allclose(similarity_alignment_loss(A @ jnp.asarray(turn), A), 0, atol=1e-6)
    assert cosine_alignment_loss(A @ jnp.asarray(turn), A) > 0.1


@pytest.mark.parametrize("loss", LOSSES)
def test_a_token_of_zeros_has_a_finite_gradient(loss):
    assert np.isfinite(jax.jit(jax.grad(loss))(A.at[1].set(0), B)).all()
