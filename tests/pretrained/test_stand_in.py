"""A teacher that is left out has the shape of one."""

import jax.numpy as jnp
import pytest

from laminate.pretrained.patches import Patches
from laminate.pretrained.stand_in import StandIn
from laminate.recipes.build import teacher
from laminate.recipes.network import find_teacher, patch_teacher


@pytest.mark.parametrize("name", ["dinov2-s", "dinov2-l"])
def test_a_network_without_weights_is_stood_in_for(name):
    recipe = find_teacher(name)
    frozen = teacher(recipe, weights=False)
    assert isinstance(frozen, StandIn)
    assert frozen(jnp.ones((7, 5, 3), jnp.bfloat16)).shape == (recipe.patches, recipe.dim)


def test_pixel_patches_need_no_weights():
    assert teacher(patch_teacher(16, 4), weights=False) == Patches(16, 4) == teacher(patch_teacher(16, 4))


def test_weights_that_cannot_be_loaded_are_refused_when_they_are_asked_for():
    with pytest.raises(ValueError, match="'dinov2-b' needs published weights"):
        teacher(find_teacher("dinov2-b"))
