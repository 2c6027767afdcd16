"""Laws of the peak signal-to-noise ratio."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from laminate.evals.psnr import psnr

GREY = jnp.full((4, 5, 3), 0.5)


@given(error=st.floats(1e-4, 0.5), sign=st.sampled_from([-1, 1]))
def test_an_error_of_e_everywhere_has_minus_20_log10_e(error: float, sign: int) -> None:
    np.testing.assert_allclose(psnr(GREY + sign * error, GREY), -20 * np.log10(error), rtol=1e-3)


def test_equal_images_have_100_db_and_what_is_beyond_the_range_is_clipped() -> None:
    np.testing.assert_allclose(psnr(GREY, GREY), 100, rtol=1e-6)
    white = jnp.ones((4, 5, 3))
    np.testing.assert_allclose(psnr(white + 3, white), 100, rtol=1e-6)
    np.testing.assert_allclose(psnr(white - 0.1, white + 1), 20, rtol=1e-5)
    assert psnr(GREY.astype(jnp.bfloat16), GREY).dtype == jnp.float32
