"""Pictures to latents and back in three lines, alone and in a batch."""

import jax.numpy as jnp
import numpy as np
import pytest

from laminate.data.batch import stack
from laminate.data.patch_views import PatchView, postprocess, preprocess
from laminate.tokenizers.vitok import decode_patches, encode_patches
from tests.models.test_naflex import CHANNELS, PATCH, network

VIEW = PatchView(PATCH, 30)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (9, 7), (1, 60), (40, 50)])
def test_a_picture_of_any_size_goes_through_in_three_lines(size):
    model = network()
    patched = preprocess(picture(*size), view=VIEW)
    latents = encode_patches(model, patched)
    image = postprocess(decode_patches(model, latents, patched), patch=PATCH)
    assert latents.shape == (30, CHANNELS) and latents.dtype == jnp.float32
    assert image.shape == (*patched["size"].tolist(), 3) and image.dtype == np.uint8


def test_a_batch_gives_what_its_images_give_alone():
    model = network()
    each = [preprocess(picture(*size), view=VIEW) for size in ((3, 4), (10, 11), (2, 30))]
    batch = stack([{name: a for name, a in one.items()} for one in each])
    latents = encode_patches(model, batch)
    decoded = decode_patches(model, latents, batch)
    for number, one in enumerate(each):
        alone = encode_patches(model, one)
        np.testing.assert_allclose(latents[number], alone, atol=1e-5)
        again = decode_patches(model, alone, one)["patches"]
        np.testing.assert_allclose(decoded["patches"][number], again, atol=1e-4)


def test_half_precision_is_near_and_patches_of_another_side_are_refused():
    model, patched = network(), preprocess(picture(6, 6), view=VIEW)
    wide = encode_patches(model, patched)
    narrow = encode_patches(model, patched, dtype=jnp.dtype(jnp.bfloat16))
    assert narrow.dtype == jnp.float32 and float(jnp.mean(jnp.abs(wide - narrow))) < 0.1
    with pytest.raises(ValueError, match=r"side 2\) and was given patches of 27"):
        encode_patches(model, preprocess(picture(6, 6), view=PatchView(3, 4)))
