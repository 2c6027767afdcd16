"""Images of any size measured on one canvas, as if each were alone."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from laminate.analysis.image_quality import quality, sized_quality
from laminate.losses.structural import ssim

CANVAS = (25, 28)
on_canvas = jax.jit(sized_quality)


@given(height=st.integers(1, 20), width=st.integers(1, 23), seed=st.integers(0, 9))
def test_the_canvas_around_an_image_changes_no_figure_of_it(height, width, seed):
    rng = np.random.default_rng(seed)
    original = rng.uniform(-1, 1, (*CANVAS, 3)).astype(np.float32)
    rebuilt = (original + rng.normal(0, 0.4, original.shape)).astype(np.float32)
    size = jnp.asarray((height, width), jnp.int32)
    found = on_canvas(jnp.asarray(rebuilt), jnp.asarray(original), size)
    alone = [jnp.asarray(one[:height, :width]) for one in (rebuilt, original)]
    expected = quality(*(0.5 * one + 0.5 for one in alone))
    for name in ("psnr", "ssim"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)
    vitok = ssim(*alone, data_range=2.0)
    np.testing.assert_allclose(found["ssim-vitok"], vitok, rtol=1e-4, atol=1e-5)
