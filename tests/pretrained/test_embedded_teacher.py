"""The frozen network in the package: small, true to held-out images, without seams, better than pixels at classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.analysis.neighbours import classify
from laminate.data.decode import decode_image
from laminate.data.sources import open_records
from laminate.pretrained import hub
from laminate.recipes.modules import identified, teacher
from laminate.recipes.network import find_teacher


@pytest.fixture(scope="module")
def network():
    return jax.tree.map(jnp.asarray, teacher(find_teacher("embedded")))


def images(split):
    records = open_records("embedded:emoji", split)
    pictures = np.stack([decode_image(records[i].image) for i in range(len(records))])
    return pictures.astype(np.float32) / 255.0, np.array([records[i].label for i in range(len(records))])


def features(network, pictures):
    apply = jax.jit(jax.vmap(network))
    return np.concatenate([apply(pictures[i : i + 64]) for i in range(0, len(pictures), 64)])


def roughness_of_borders(pictures):
    """The mean step between neighbouring pixels across patches of 8, over that inside them."""
    steps = np.abs(np.diff(pictures, axis=2)).mean((0, 1, 3)) + np.abs(np.diff(pictures, axis=1)).mean(
        (0, 2, 3)
    )
    inside = np.delete(steps, np.arange(7, 63, 8))
    return steps[7::8].mean() / inside.mean()


def test_it_is_found_by_its_name_offline_and_is_small():
    (file,) = hub.locate("embedded").weights
    assert file.stat().length < 2e6
    stated = find_teacher("embedded")
    assert (stated.image_size, stated.patches, stated.dim, stated.depth) == (64, 64, 192, 2)
    assert stated.shows_images and len(identified(stated).weights) == 64


def test_held_out_images_come_back_without_seams_and_their_neighbours_share_their_class(network):
    known, labels = images("train")
    asked, wanted = images("validation")
    found = features(network, asked)
    painted = np.asarray(jax.jit(jax.vmap(network.pixels))(found))
    error = np.mean(np.square(painted - asked), axis=(1, 2, 3))
    assert np.mean(-10.0 * np.log10(error)) > 33.0
    assert abs(roughness_of_borders(painted) / roughness_of_borders(asked) - 1.0) < 0.1
    unit = [flatten(each) for each in (features(network, known), found)]
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in unit]
    by_features = np.mean(classify(unit[1], unit[0], labels)[0] == wanted)
    by_pixels = np.mean(classify(flatten(asked), flatten(known), labels)[0] == wanted)
    assert by_features > 0.9 and by_features > by_pixels


def test_features_of_a_quarter_of_their_numbers_show_no_seams(network):
    """Each patch keeps its 48 principal components of 192, fitted on training images: what it lost, its neighbours may
    have."""
    known, asked = (features(network, images(split)[0]) for split in ("train", "validation"))
    numbers = known.reshape(-1, known.shape[-1])
    mean, axes = numbers.mean(0), np.linalg.eigh(np.cov(numbers.T))[1][:, -48:]
    back = ((asked - mean) @ axes @ axes.T + mean).astype(np.float32)
    assert 0.9 < 1.0 - np.square(back - asked).mean() / np.square(asked - mean).mean() < 0.95
    painted = np.asarray(jax.jit(jax.vmap(network.pixels))(back))
    assert abs(roughness_of_borders(painted) / roughness_of_borders(images("validation")[0]) - 1.0) < 0.1


def flatten(arrays):
    return np.ascontiguousarray(arrays.reshape(len(arrays), -1))
