"""Examples of any arrays become batches of the same; what does not fit together is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.data.augment import CenterCrop
from laminate.data.batch import Arrays, stack
from laminate.data.evaluation import evaluation_batches
from laminate.data.loader import TrainLoader


class Patches:
    """A picture as a sequence of patches with its mask and their places, as families of any resolution have it."""

    description = "patches"

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> Arrays:
        image = CenterCrop(4)(data, rng)["image"]
        kept = 1 + image[0, 0, 0] % 4
        return {
            "patches": image.reshape(4, 12).astype(np.float32) / 255,
            "mask": np.arange(4) < kept,
            "place": np.arange(8, dtype=np.int16).reshape(4, 2),
        }


def only(patches: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: patches[name] for name in ("patches", "mask", "place")}


@given(
    names=st.lists(st.text("abc", min_size=1), min_size=1, max_size=4, unique=True), count=st.integers(1, 5)
)
def test_a_batch_is_its_examples_in_their_order(names, count):
    rng = np.random.default_rng(0)
    examples = [{name: rng.random((i + 1, 2)) for i, name in enumerate(names)} for _ in range(count)]
    batch = stack(examples)
    assert list(batch) == names
    for place, example in enumerate(examples):
        for name in names:
            np.testing.assert_array_equal(batch[name][place], example[name])


def test_every_array_of_a_view_comes_in_every_batch(painted):
    records, view = painted(11), Patches()
    loader = TrainLoader(records, seed=3, global_batch_size=4, augment=view, threads=2)
    with loader.batches() as batches:
        batch = next(batches)
    assert {name: (array.dtype, array.shape) for name, array in batch.items()} == {
        "patches": (np.float32, (4, 4, 12)),
        "mask": (np.bool_, (4, 4)),
        "place": (np.int16, (4, 4, 2)),
        "label": (np.int32, (4,)),
        "global_row": (np.int64, (4,)),
    }
    shown = np.round(batch["patches"][:, 0, 0] * 255).astype(int)
    for place, record in enumerate(shown):
        expected = view(records[record].image, np.random.default_rng(0))
        for name, array in expected.items():
            np.testing.assert_array_equal(batch[name][place], array)


def test_rows_that_fill_up_an_evaluation_are_zero_in_every_array(painted):
    last = list(evaluation_batches(painted(5), global_batch_size=4, augment=Patches(), threads=2))[-1]
    assert last["valid"].tolist() == [True, False, False, False]
    assert all(array[0].any() and not array[1:].any() for array in only(last).values())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mask": np.zeros(4)}, "have an array called 'mask' and others lack it"),
        (
            {"image": np.zeros((5, 3), np.uint8)},
            r"arrays 'image' .* the shapes \(4, 3\), \(5, 3\); .* all the same",
        ),
        ({"image": np.zeros((4, 3))}, "arrays 'image' of one batch have the dtypes float64, uint8"),
    ],
)
def test_examples_that_do_not_fit_together_are_refused_by_the_name_of_the_array(changed, message):
    first: Arrays = {"image": np.zeros((4, 3), np.uint8)}
    for examples in ([first, first, first | changed], [first | changed, first]):
        with pytest.raises(ValueError, match=message):
            stack(examples)


@pytest.mark.parametrize("name", ["label", "global_row", "valid"])
def test_the_names_of_the_loader_are_its_own(name):
    with pytest.raises(ValueError, match=f"array called '{name}', which the loader adds itself"):
        stack([{"image": np.zeros(3), name: np.zeros(3)}])
