import json
import logging
import threading
from itertools import islice

import numpy as np
import pytest

from laminate.data.augment import CenterCrop, RandomResizedCrop
from laminate.data.batch import Arrays
from laminate.data.faults import TooManyBadImagesError
from laminate.data.host_slice import HostShare
from laminate.data.loader import TrainLoader


class Speckle:
    """The middle pixel's colour, and a second column that only the generator decides."""

    description = "speckle"

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> Arrays:
        image = np.repeat(CenterCrop(1)(data, rng)["image"], 2, axis=1)
        image[0, 1] = rng.integers(0, 256, 3)
        return {"image": image}


def loader(records, **options) -> TrainLoader:
    settings = {"seed": 3, "global_batch_size": 8, "augment": Speckle(), "threads": 2, **options}
    return TrainLoader(records, **settings)


def take(train: TrainLoader, batches: int, start_row: int = 0) -> dict[str, np.ndarray]:
    """`batches` batches joined along the rows."""
    with train.batches(start_row) as iterator:
        taken = list(islice(iterator, batches))
    return {name: np.concatenate([batch[name] for batch in taken]) for name in taken[0]}


def assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_a_batch_holds_images_labels_and_rows(painted, record_of):
    batch = next(loader(painted(11), augment=RandomResizedCrop(6)).batches())
    assert {name: (array.dtype, array.shape) for name, array in batch.items()} == {
        "image": (np.uint8, (8, 6, 6, 3)),
        "label": (np.int32, (8,)),
        "global_row": (np.int64, (8,)),
    }
    np.testing.assert_array_equal(batch["label"], record_of(batch["image"]) % 3)
    np.testing.assert_array_equal(batch["global_row"], np.arange(8))


@pytest.mark.parametrize("count", [1, 2, 3, 8, 40])
def test_every_epoch_is_a_permutation_of_all_records(painted, record_of, count):
    rows = take(loader(painted(count), global_batch_size=count), 3)
    shown = record_of(rows["image"]).reshape(3, count)
    for epoch in shown:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(count))


def test_epochs_and_seeds_differ_in_their_order(painted, record_of):
    first, second = record_of(take(loader(painted(96)), 24)["image"]).reshape(2, 96)
    other = record_of(take(loader(painted(96), seed=4), 12)["image"])
    assert (first != second).any() and (first != other).any() and (first != np.arange(96)).any()


def test_the_same_image_is_augmented_anew_in_every_epoch(painted):
    speckles = take(loader(painted(1)), 4)["image"][:, 0, 1]
    assert len(np.unique(speckles, axis=0)) == len(speckles)


@pytest.mark.parametrize("hosts", [2, 4, 8])
def test_the_global_batches_are_the_same_for_any_number_of_hosts(painted, hosts):
    whole = list(islice(loader(painted(90)).batches(), 5))
    shares = [HostShare.even(host, hosts) for host in range(hosts)]
    parts = [islice(loader(painted(90), share=share).batches(), 5) for share in shares]
    for batch, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert all(len(piece["global_row"]) == 8 // hosts for piece in pieces)
        assert_same({name: np.concatenate([piece[name] for piece in pieces]) for name in batch}, batch)


def test_a_host_reads_the_rows_of_its_parts_and_parts_need_not_be_neighbours(painted):
    whole = list(islice(loader(painted(90), global_batch_size=48).batches(16), 3))
    for parts in [(0, 1), (1, 2, 6), (7,)]:
        mine = loader(painted(90), global_batch_size=48, share=HostShare(parts, 8)).batches(16)
        rows = np.concatenate([np.arange(6 * part, 6 * part + 6) for part in parts])
        for batch, expected in zip(mine, whole, strict=False):
            assert_same(batch, {name: array[rows] for name, array in expected.items()})


@pytest.mark.parametrize("parts", [(), (1, 0), (0, 0), (-1,), (3,)])
def test_parts_that_do_not_exist_are_refused(parts):
    with pytest.raises(ValueError, match=r"increasing numbers|does not exist"):
        HostShare(parts, 3)


@pytest.mark.parametrize("threads", [0, 1, 5])
@pytest.mark.parametrize("global_batch_size", [8, 24, 34])
def test_the_number_of_threads_changes_nothing(painted, threads, global_batch_size):
    reference = take(loader(painted(90), global_batch_size=global_batch_size, threads=2), 3)
    assert_same(take(loader(painted(90), global_batch_size=global_batch_size, threads=threads), 3), reference)


@pytest.mark.parametrize("host", [0, 1])
@pytest.mark.parametrize("start_row", [0, 1, 7, 8, 50, 100])
def test_a_resumed_run_sees_the_rows_of_an_uninterrupted_one(painted, start_row, host):
    expected = take(loader(painted(97)), 15)
    resumed = take(loader(painted(97), share=HostShare.even(host, 2)), 2, start_row)
    rows = np.concatenate([start_row + batch * 8 + host * 4 + np.arange(4) for batch in range(2)])
    assert_same(resumed, {name: array[rows] for name, array in expected.items()})


def test_the_row_of_the_iterator_is_where_the_next_batch_begins(painted):
    with loader(painted(7)).batches(16) as batches:
        for step in range(3):
            assert batches.row == 16 + 8 * step
            assert next(batches)["global_row"][0] == 16 + 8 * step


def test_a_far_row_is_reached_at_once(painted):
    batch = next(loader(painted(7), threads=0).batches(10**12))
    np.testing.assert_array_equal(batch["global_row"], 10**12 + np.arange(8))


def test_a_position_is_json_and_leads_back_to_its_row(painted):
    train = loader(painted(7))
    stored = json.loads(json.dumps(train.position(48)))
    assert loader(painted(7), share=HostShare.even(1, 4), threads=7).check_position(stored) == 48


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("seed", {"seed": 4}),
        ("global_batch_size", {"global_batch_size": 16}),
        ("augment", {"augment": RandomResizedCrop(6)}),
        ("dataset", {}),
    ],
)
def test_a_position_of_another_order_is_refused_and_says_what_differs(painted, name, change):
    stored = loader(painted(7)).position(48)
    other = loader(painted(9 if name == "dataset" else 7), **change)
    with pytest.raises(ValueError, match=f"another order of examples: {name} was .* and is now [^;]*Resume"):
        other.check_position(stored)


@pytest.mark.parametrize("row", [-1, "8", None])
def test_a_position_without_a_row_is_refused(painted, row):
    train = loader(painted(7))
    stored = {**train.position(8), "row": row}
    with pytest.raises(ValueError, match="expected an integer"):
        train.check_position(stored)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"share": HostShare((0,), 3)},
            "8 rows cannot be split evenly into 3 parts; the nearest that can are 6 and 9",
        ),
        ({"timeout": 0.0}, "the input needs some seconds for a batch"),
        ({"global_batch_size": 0}, "0 rows cannot be split"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"threads": -1}, "threads must be 0"),
        ({"max_bad_images": -1}, "max_bad_images must be 0 or more"),
    ],
)
def test_impossible_settings_are_refused(painted, change, message):
    with pytest.raises(ValueError, match=message):
        loader(painted(7), **change).batches()


def test_no_records_and_negative_rows_are_refused(painted):
    with pytest.raises(ValueError, match="no records"):
        loader(painted(0))
    with pytest.raises(ValueError, match="counted from 0"):
        loader(painted(7)).batches(-8)


def test_bad_images_are_replaced_by_the_next_good_record_named_and_counted(painted, record_of, caplog):
    clean = take(loader(painted(13)), 4)
    train = loader(painted(13, bad=(4, 12), unreadable=(5,)))
    with caplog.at_level(logging.WARNING, logger="laminate.data"), train.batches() as batches:
        taken = list(islice(batches, 4))
        assert sorted(fault.record for fault in batches.faults) == [4, 5, 12]
        assert {fault.key for fault in batches.faults} == {"key-4", "key-12", "record 5"}
    shown = record_of(np.concatenate([batch["image"] for batch in taken]))
    replaced = {4: 6, 5: 6, 12: 0}
    np.testing.assert_array_equal(shown, [replaced.get(r, r) for r in record_of(clean["image"])])
    np.testing.assert_array_equal(np.concatenate([batch["label"] for batch in taken]), shown % 3)
    assert sum("key-4 in painted" in message for message in caplog.messages) == 1
    assert len(caplog.messages) == 3


def test_bad_images_leave_every_other_row_as_it_was(painted, record_of):
    clean, mended = (take(loader(painted(13, bad=bad)), 4) for bad in ((), (4, 12)))
    good = ~np.isin(record_of(clean["image"]), [4, 12])
    assert_same({n: a[good] for n, a in mended.items()}, {n: a[good] for n, a in clean.items()})


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_too_many_bad_images_stop_at_the_same_batch_for_any_number_of_threads(painted, record_of, threads):
    order = record_of(take(loader(painted(50)), 6)["image"]).tolist()
    train = loader(painted(50, bad=range(0, 50, 5)), threads=threads, max_bad_images=3)
    with train.batches() as batches:
        seen, failed = 0, list(dict.fromkeys(row for row in order if row % 5 == 0))
        with pytest.raises(
            TooManyBadImagesError, match=r"4 images of painted cannot be read \(key-.*3 are allowed"
        ):
            for _ in batches:
                seen += 1
    assert seen == order.index(failed[3]) // 8


def test_one_bad_image_counts_once_however_often_it_comes(painted):
    with loader(painted(5, bad=(2,)), max_bad_images=1).batches() as batches:
        for _ in range(6):
            next(batches)
        assert [fault.record for fault in batches.faults] == [2]


@pytest.mark.parametrize("max_bad_images", [0, 7, 100])
def test_nothing_but_bad_images_stops_with_an_error(painted, max_bad_images):
    with loader(painted(30, bad=range(30)), max_bad_images=max_bad_images).batches() as batches:
        with pytest.raises(ValueError, match=r"images? of painted can"):
            next(batches)


def test_images_of_several_sizes_are_refused(painted):
    class Growing:
        description = "growing"

        def __call__(self, data, rng, /):
            return CenterCrop(1 + int(rng.integers(5)))(data, rng)

    with pytest.raises(ValueError, match="must give all the same"):
        take(loader(painted(13), augment=Growing()), 1)


def test_closing_ends_the_threads(painted):
    before = set(threading.enumerate())
    with loader(painted(13), threads=4).batches() as batches:
        next(batches)
        started = set(threading.enumerate()) - before
    assert started
    for thread in started:
        thread.join(timeout=10)
    assert not [thread for thread in started if thread.is_alive()]
