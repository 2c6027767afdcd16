"""The strictest settings of the numerics for every test, and eight virtual devices."""

import itertools
import os
from collections.abc import Callable

# Tests compile far more than they compute. In the environment, so that the processes which tests start agree.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false"  # compiles in half the time
os.environ["JAX_PLATFORMS"] = (
    "cpu"  # an installed TPU compiler looks for a TPU, and says much where there is none
)

import jax
import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import Array, Key

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")

settings.register_profile(
    "laminate",
    deadline=None,  # the first example of a shape compiles
    max_examples=25,
    derandomize=True,  # one commit, one result
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("laminate")


@pytest.fixture
def getkey() -> Callable[[], Key[Array, ""]]:
    """A source of fresh keys, the same sequence in every run."""
    counter = itertools.count()
    return lambda: jax.random.key(next(counter))
