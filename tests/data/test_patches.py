"""Images of any size as dictionaries of patches."""

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from laminate.data.batch import stack
from laminate.data.host_slice import ALONE, HostShare
from laminate.data.loader import TrainLoader
from laminate.data.patch_views import BudgetView, PatchView
from laminate.data.patches import (
    Buckets,
    budget_size,
    from_patches,
    patch_grid,
    to_patches,
    with_budget,
)
from laminate.data.sources import open_splits

sides = st.integers(1, 41)


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(height, width, channels)).astype(np.float32)


@given(
    height=sides, width=sides, patch=st.integers(1, 9), channels=st.integers(1, 4), spare=st.integers(0, 5)
)
def test_every_image_comes_back_to_the_last_bit(height, width, patch, channels, spare):
    image = picture(height, width, channels)
    count = math.prod(patch_grid(height, width, patch))
    patched = to_patches(image, patch, count + spare)
    assert patched["mask"].sum() == count
    assert not patched["patches"][count:].any()
    np.testing.assert_array_equal(from_patches(patched, patch), image)


@given(height=sides, width=sides)
def test_the_order_of_patches_does_not_matter_since_each_knows_its_place(height, width):
    image = picture(height, width)
    patched = to_patches(image, 4, 150)
    order = np.random.default_rng(1).permutation(150)
    shuffled = patched | {name: patched[name][order] for name in ("patches", "mask", "row", "col")}
    np.testing.assert_array_equal(from_patches(shuffled, 4), image)


def test_a_patch_is_flattened_channel_by_channel_and_the_grid_row_by_row():
    image = np.moveaxis(np.arange(3 * 20 * 24, dtype=np.float32).reshape(3, 20, 24), 0, -1)
    patched = to_patches(image, 8, 12)
    assert patched["row"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0]
    assert patched["patches"][1, :3].tolist() == [8, 9, 10]
    assert patched["patches"][1, 64:66].tolist() == [488, 489]
    assert patched["patches"][8, 30:34].tolist() == [478, 479, 0, 0]
    assert (patched["grid"].tolist(), patched["size"].tolist()) == ([3, 3], [20, 24])


@given(
    height=st.integers(1, 6000),
    width=st.integers(1, 6000),
    patch=st.sampled_from([1, 8, 16, 32]),
    tokens=st.integers(1, 300),
)
def test_a_budget_is_always_kept_and_no_side_grows(height, width, patch, tokens):
    new_height, new_width = budget_size(height, width, patch, tokens)
    assert math.prod(patch_grid(new_height, new_width, patch)) <= tokens
    assert 1 <= new_height <= height and 1 <= new_width <= width
    if math.prod(patch_grid(height, width, patch)) <= tokens:
        assert (new_height, new_width) == (height, width)


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        ((480, 640), (208, 288)),
        ((1080, 1920), (192, 336)),
        ((96, 128), (96, 128)),
        ((512, 512), (256, 256)),
        ((100, 3000), (48, 1312)),
        ((17, 5000), (16, 3200)),
        ((257, 255), (256, 240)),
    ],
)
def test_a_budget_gives_the_sizes_of_the_reference(size, fits):
    assert budget_size(*size, 16, 256) == budget_size(*size, 16, 256, strict=False) == fits


def test_a_side_of_one_patch_cannot_shrink_so_the_other_one_gives_way():
    assert budget_size(10, 160_000, 16, 256) == (10, 256 * 16)
    assert math.prod(patch_grid(*budget_size(10, 160_000, 16, 256, strict=False), 16)) > 256


def test_an_image_beyond_its_budget_is_refused_with_a_size_that_fits():
    with pytest.raises(
        ValueError, match=r"1200 patches of 16, and the budget is 256: resize it \(to 208x288"
    ):
        to_patches(np.zeros((480, 640, 3), np.float32), 16, 256)


@pytest.mark.parametrize("shape", [(0, 3, 3), (3, 0, 3)])
def test_an_empty_image_is_refused(shape):
    with pytest.raises(ValueError, match="must be at least 1"):
        to_patches(np.zeros(shape, np.float32), 4, 9)


def test_patches_of_another_side_and_places_outside_the_grid_are_refused():
    patched = to_patches(picture(5, 6), 4, 9)
    with pytest.raises(ValueError, match="48 numbers are no whole number of channels of 5 x 5"):
        from_patches(patched, 5)
    with pytest.raises(ValueError, match="outside its grid of 2 x 2"):
        from_patches(patched | {"col": patched["col"] + 1}, 4)


@given(height=sides, width=sides, budget=st.integers(121, 200))
def test_another_budget_changes_nothing_but_the_padding(height, width, budget):
    image = picture(height, width)
    small = to_patches(image, 4, math.prod(patch_grid(height, width, 4)))
    for name, array in to_patches(image, 4, budget).items():
        np.testing.assert_array_equal(with_budget(small, budget)[name], array)
    with pytest.raises(ValueError, match="does not fit a budget"):
        with_budget(small, len(small["mask"]) - 1)


@given(counts=st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_a_batch_takes_the_smallest_bucket_that_holds_all_its_images(counts):
    buckets = Buckets((4, 9, 30))
    examples = [to_patches(picture(2, 2 * n), 2, 30) for n in counts]
    batch = buckets.batch(examples)
    budget = batch["mask"].shape[1]
    assert budget == min(b for b in buckets.budgets if b >= max(counts))
    assert batch["mask"].sum(axis=1).tolist() == counts
    groups = buckets.grouped(examples)
    assert sorted(i for group in groups.values() for i in group) == list(range(len(counts)))
    assert all(buckets.holding(counts[i]) == b for b, group in groups.items() for i in group)


def test_buckets_say_how_many_shapes_there_are_and_refuse_what_they_cannot_hold():
    assert Buckets((64, 256)).description == "2 shapes of batches: 64, 256 tokens"
    with pytest.raises(ValueError, match="300 patches do not fit the largest budget, 256"):
        Buckets((64, 256)).holding(300)
    for wrong in ((), (0, 4), (4, 4), (8, 4)):
        with pytest.raises(ValueError, match="at least one token and rise"):
            Buckets(wrong)


def test_images_of_every_size_make_batches_with_their_labels_among_them_class_zero(painted):
    loader = TrainLoader(painted(6), seed=0, global_batch_size=6, augment=PatchView(4, 12), threads=0)
    with loader.batches() as batches:
        batch = next(batches)
    assert batch["patches"].shape == (6, 12, 48)
    assert sorted(batch["label"].tolist()) == [0, 0, 1, 1, 2, 2]
    assert len({tuple(size) for size in batch["size"].tolist()}) > 1
    assert batch["mask"].any(axis=1).all()


def test_one_pixel_is_one_token_and_patches_may_be_larger_than_images():
    for patch in (1, 16, 32):
        patched = to_patches(picture(1, 1), patch, 3)
        assert patched["mask"].tolist() == [True, False, False]
        np.testing.assert_array_equal(from_patches(patched, patch), picture(1, 1))
    assert to_patches(picture(16, 16), 32, 1)["grid"].tolist() == [1, 1]
    assert to_patches(picture(1, 4000), 16, 256)["grid"].tolist() == [1, 250]
    assert stack([to_patches(picture(1, 4000), 16, 256), to_patches(picture(16, 9), 16, 256)])["size"].shape


def test_every_batch_has_one_of_the_budgets_the_same_on_every_host_and_after_a_resume():
    """So the hosts of a pod have arrays of one shape without a word between them."""
    records = open_splits("embedded:any-size")["train"]
    view = BudgetView(PatchView(8, 20), Buckets((6, 11, 20)))

    def loader(share: HostShare = ALONE) -> TrainLoader:
        return TrainLoader(records, seed=3, global_batch_size=4, augment=view, share=share, threads=2)

    with loader().batches() as whole:
        batches = [next(whole) for _ in range(9)]
    rooms = [batch["mask"].shape[1] for batch in batches]
    assert set(rooms) == {6, 11, 20}
    for host in range(2):
        with loader(HostShare.even(host, 2)).batches() as part:
            for batch in batches:
                mine = next(part)
                np.testing.assert_array_equal(mine["patches"], batch["patches"][2 * host : 2 * host + 2])
    with loader().batches(4 * 5) as later:
        np.testing.assert_array_equal(next(later)["patches"], batches[5]["patches"])
    for batch in batches:
        assert (batch["mask"].sum(axis=1) == batch["grid"].prod(axis=1)).all()


def test_an_evaluation_has_the_largest_budget_and_others_must_rise_to_it():
    view = BudgetView(PatchView(8, 20), Buckets((6, 20)))
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, "PNG")
    assert view(buffer.getvalue(), np.random.default_rng(0))["mask"].shape == (20,)
    assert "budgets=(6, 20)" in view.description
    with pytest.raises(ValueError, match="must be that of the view, 20"):
        BudgetView(PatchView(8, 20), Buckets((6, 19)))
