"""Samples as files, as neighbours of training images, and on the way to each other."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from laminate.analysis.figures import sample_grid
from laminate.analysis.interpolation import (
    back_and_forth,
    interpolate,
    side_by_side,
    travellers,
    write_webp,
)
from laminate.analysis.neighbours import classify
from laminate.analysis.sample_files import SampleArchive, class_major, file_name, to_bytes


def test_the_two_roundings_are_those_of_the_released_evaluators():
    x = np.linspace(-0.1, 1.1, 4001, dtype=np.float32).reshape(1, 1, -1, 1).repeat(3, axis=3)
    wide = x.astype(np.float32) * np.float32(255)
    np.testing.assert_array_equal(to_bytes(x, "nearest"), np.floor(np.clip(wide + np.float32(0.5), 0, 255)))
    np.testing.assert_array_equal(to_bytes(x, "down"), np.trunc(np.clip(wide, 0, 255)))


@given(classes=st.lists(st.integers(-1, 99), min_size=1, max_size=9, unique=True), extra=st.integers(0, 40))
def test_labels_are_balanced_and_sorted_as_the_classes(classes, extra):
    labels = class_major(classes, len(classes) + extra)
    assert len(labels) == len(classes) + extra
    assert list(dict.fromkeys(labels.tolist())) == classes
    counts = [int((labels == label).sum()) for label in classes]
    assert max(counts) - min(counts) <= 1
    assert counts == sorted(counts, reverse=True)


def test_an_archive_is_whole_or_not_there(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (5, 4, 6, 3), np.uint8), np.arange(5, dtype=np.int32)
    with SampleArchive(tmp_path / "samples.npz", labels) as archive:
        archive.add(images[:3])
        archive.add(images[3:])
        assert not (tmp_path / "samples.npz").exists()
    with np.load(tmp_path / "samples.npz") as file:
        np.testing.assert_array_equal(file["arr_0"], images)
        np.testing.assert_array_equal(file["labels"], labels)
    with pytest.raises(RuntimeError), SampleArchive(tmp_path / "cut.npz", labels) as archive:
        archive.add(images[:3])
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["samples.npz"]


def test_files_are_named_by_class_and_number():
    assert file_name(3, 41, ("a", "b", "c", "tabby cat/é")) == "class_0003_tabby_cat_é/000041.png"
    assert file_name(7, 5, ()) == "class_0007/000005.png"
    assert file_name(-1, 5, ()) == "images/000005.png"


def test_the_nearest_neighbours_vote_and_the_nearer_decide_a_tie():
    known = np.array([[0.0], [1.0], [1.2], [5.0], [5.5]], np.float32)
    labels = np.array([0, 1, 1, 2, 2], np.int32)
    found, nearest = classify(np.array([[0.1], [0.7], [5.2]], np.float32), known, labels, neighbours=2)
    assert found.tolist() == [0, 1, 2]
    np.testing.assert_allclose(nearest, [0.1, 0.3, 0.2], atol=1e-3)


@given(steps=st.integers(2, 9), way=st.sampled_from(["linear", "spherical"]))
def test_a_way_begins_and_ends_at_its_latents(steps, way):
    rng = np.random.default_rng(steps)
    a, b = rng.standard_normal((2, 3, 5)).astype(np.float32)
    frames = interpolate(a, b, steps, way)
    np.testing.assert_allclose(frames[0], a, atol=1e-6)
    np.testing.assert_allclose(frames[-1], b, atol=1e-6)
    lengths = np.linalg.norm(frames, axis=-1)
    even = np.linspace(lengths[0], lengths[-1], steps)
    if way == "spherical":
        np.testing.assert_allclose(lengths, even, rtol=1e-4)
    same = interpolate(a, a, steps, way)
    np.testing.assert_allclose(same, np.broadcast_to(a, same.shape), atol=1e-6)


def test_a_moving_picture_goes_there_and_back(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 2, 4, 4, 3), np.uint8)
    assert back_and_forth(3) == [0, 1, 2, 1]
    pictures = [side_by_side(frame) for frame in frames]
    assert pictures[0].shape == (4, 8, 3)
    write_webp([pictures[i] for i in back_and_forth(3)], tmp_path / "way.webp")
    with Image.open(tmp_path / "way.webp") as moving:
        assert moving.n_frames == 4
        moving.seek(2)
        np.testing.assert_array_equal(np.asarray(moving.convert("RGB")), pictures[2])
    with pytest.raises(ValueError, match="at least 2 steps"):
        interpolate(np.zeros((2, 3)), np.ones((2, 3)), 1, "linear")


def test_a_moving_picture_that_would_be_large_loses_quality_then_size(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (5, 40, 60, 3), np.uint8)
    sizes = []
    for most in (10**6, 20_000, 3_000):
        write_webp(list(frames), tmp_path / "way.webp", most=most)
        assert (tmp_path / "way.webp").stat().st_size <= most
        with Image.open(tmp_path / "way.webp") as moving:
            sizes.append(moving.size)
    assert sizes[:2] == [(60, 40), (60, 40)] and sizes[2] < (60, 40)


@given(classes=st.integers(1, 9), each=st.integers(1, 4), pairs=st.integers(1, 6))
def test_ways_lead_through_as_many_classes_as_they_can(classes, each, pairs):
    chosen = travellers(np.repeat(np.arange(classes), each), pairs)
    assert len(chosen) == min(pairs + 1, classes * each) == len(set(chosen.tolist()))
    assert len(set((chosen // each).tolist())) == min(len(chosen), classes)


def test_a_grid_shows_every_image_in_its_place():
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    grid = sample_grid(images, columns=3, rows=("cat", "dog"), tile=16)
    with Image.open(io.BytesIO(grid)) as picture:
        shown = np.asarray(picture.convert("RGB"))
    for index in range(5):
        row, column = divmod(index, 3)
        top, left = 16 + row * 20, 16 + 12 + 27 + column * 20
        np.testing.assert_array_equal(shown[top : top + 16 : 2, left : left + 16 : 2], images[index])
    assert all((shown[top : top + 16, 16:50] != 255).any() for top in (16, 36))  # the names
    assert (shown[36:, 16 + 12 + 27 + 40 :] == 255).all()  # where a sixth image would stand
    with pytest.raises(ValueError, match="a name for each row"):
        sample_grid(images, columns=3, rows=("cat",))
