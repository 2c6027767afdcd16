"""Adaptive steps, with diffrax and without."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.flow import solve_adaptive
from tests.flow import gaussian


def test_adaptive_steps_follow_the_flow_or_say_what_to_install():
    noise = jnp.linspace(-2.0, 2.0, 5)
    if importlib.util.find_spec("diffrax") is None:
        with pytest.raises(ImportError, match=r"pip install -e '.\[ode\]'"):
            solve_adaptive(gaussian.velocity, noise)
    else:
        solve = jax.jit(lambda x: solve_adaptive(gaussian.velocity, x, rtol=1e-5))
        np.testing.assert_allclose(solve(noise), gaussian.at(noise, 1.0), atol=1e-4)
