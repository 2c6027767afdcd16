"""Teachers: what the network sees, and what comes out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.nn import resize
from laminate.pretrained.dinov2 import DINOV2_REGISTERS
from laminate.pretrained.patches import IMAGENET_MEAN, IMAGENET_STD, Patches
from laminate.pretrained.teachers import Teacher, VitTeacher, vision_teacher
from tests.oracles.arrays import filled, normal

CONFIG = {
    "hidden_size": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "image_size": 12,
    "patch_size": 3,
    "num_register_tokens": 2,
}
WEIGHTS = DINOV2_REGISTERS.export(filled(lambda key: DINOV2_REGISTERS.make(CONFIG, key=key)), prefix="")
TEACHER = vision_teacher(DINOV2_REGISTERS, CONFIG, WEIGHTS, image_size=9)
IMAGE = jax.nn.sigmoid(normal(0, 7, 10, 3))
CALL = jax.jit(lambda teacher, image: teacher(image))


def test_it_gives_the_patch_tokens_under_a_norm_without_scale_and_bias():
    tokens = CALL(TEACHER, IMAGE)
    assert (TEACHER.tokens, TEACHER.dim) == tokens.shape == (9, 12)
    np.testing.assert_allclose(tokens.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(tokens.std(axis=1), 1, atol=1e-3)


def test_it_sees_the_resized_image_in_the_units_of_its_training():
    sized = np.asarray(resize(IMAGE, (9, 9), "bilinear-antialias"))
    np.testing.assert_allclose(TEACHER.seen(IMAGE), (sized - IMAGENET_MEAN) / IMAGENET_STD, atol=1e-5)


def test_taps_are_patch_tokens_too():
    tokens, taps = jax.jit(lambda teacher, image: teacher.taps(image, (0, 2)))(TEACHER, IMAGE)
    assert taps.shape == (2, 9, 12)
    np.testing.assert_allclose(tokens, CALL(TEACHER, IMAGE), atol=1e-5)


def test_the_dtype_of_the_image_is_that_of_the_computation_and_weights_may_be_stored_in_bfloat16():
    small = vision_teacher(DINOV2_REGISTERS, CONFIG, WEIGHTS, image_size=9, dtype=jnp.dtype(jnp.bfloat16))
    assert {leaf.dtype for leaf in jax.tree.leaves(small)} == {jnp.dtype(jnp.bfloat16)}
    tokens = CALL(small, IMAGE.astype(jnp.bfloat16))
    assert tokens.dtype == jnp.bfloat16
    np.testing.assert_allclose(tokens.astype(jnp.float32), CALL(TEACHER, IMAGE), atol=0.15)
    assert CALL(small, IMAGE).dtype == jnp.float32


def test_the_teachers_have_one_interface():
    assert isinstance(TEACHER, Teacher) and isinstance(Patches(8, 4), Teacher)


def test_a_size_that_is_no_whole_number_of_patches_is_refused():
    with pytest.raises(ValueError, match="image_size=10 and patch=3"):
        VitTeacher(TEACHER.vit, 10, mean=IMAGENET_MEAN, std=IMAGENET_STD)
