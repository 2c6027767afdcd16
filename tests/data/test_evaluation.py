import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.data.augment import CenterCrop, RandomResizedCrop
from laminate.data.evaluation import evaluation_batches
from laminate.data.faults import TooManyBadImagesError
from laminate.data.host_slice import HostShare


def batches(records, **options) -> list[dict[str, np.ndarray]]:
    settings = {"global_batch_size": 4, "augment": CenterCrop(6), "threads": 2, **options}
    return list(evaluation_batches(records, **settings))


@given(count=st.integers(1, 23), host_batch_size=st.integers(1, 7), hosts=st.integers(1, 4))
def test_every_record_comes_once_over_all_hosts_and_shapes_are_equal(
    painted, record_of, count, host_batch_size, hosts
):
    records, size = painted(count), host_batch_size * hosts
    shares = [HostShare.even(host, hosts) for host in range(hosts)]
    per_host = [batches(records, global_batch_size=size, share=share) for share in shares]
    assert {len(mine) for mine in per_host} == {-(-count // size)}
    shown, rows = [], []
    for together in zip(*per_host, strict=True):
        for batch in together:
            assert batch["image"].shape == (host_batch_size, 6, 6, 3) and batch["image"].dtype == np.uint8
            assert batch["label"].dtype == np.int32 and batch["valid"].dtype == np.bool_
            shown.extend(record_of(batch["image"])[batch["valid"]])
            rows.extend(batch["global_row"])
            np.testing.assert_array_equal(
                batch["label"][batch["valid"]], batch["global_row"][batch["valid"]] % 3
            )
            assert not batch["image"][~batch["valid"]].any() and (batch["label"][~batch["valid"]] == -1).all()
    np.testing.assert_array_equal(shown, np.arange(count))
    np.testing.assert_array_equal(rows, np.arange(-(-count // size) * size))


def test_a_random_view_of_a_record_is_the_same_in_every_evaluation(painted):
    whole = batches(painted(9), augment=RandomResizedCrop(5), global_batch_size=8)
    halves = [
        batches(
            painted(9),
            augment=RandomResizedCrop(5),
            global_batch_size=8,
            share=HostShare.even(host, 2),
            threads=host,
        )
        for host in range(2)
    ]
    for batch, parts in zip(whole, zip(*halves, strict=True), strict=True):
        for name in batch:
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), batch[name])


def test_a_bad_record_is_an_error_that_names_it(painted):
    with pytest.raises(TooManyBadImagesError, match=r"1 images of painted cannot be read \(key-5\)"):
        batches(painted(9, bad=(5,)))


def test_bad_records_that_are_allowed_are_not_valid_and_nothing_stands_in_for_them(
    painted, record_of, caplog
):
    taken = batches(painted(9, bad=(0, 5), unreadable=(7,)), max_bad_images=3)
    valid = np.concatenate([batch["valid"] for batch in taken])
    shown = np.concatenate([record_of(batch["image"]) for batch in taken])
    np.testing.assert_array_equal(shown[valid], [1, 2, 3, 4, 6, 8])
    np.testing.assert_array_equal(np.flatnonzero(valid), [1, 2, 3, 4, 6, 8])
    assert [
        sum(name in message for message in caplog.messages) for name in ("key-0", "key-5", "record 7")
    ] == [1, 1, 1]


def test_no_good_record_at_all_is_an_error(painted):
    with pytest.raises(ValueError, match="no image of painted can be read"):
        batches(painted(3, bad=range(3)), max_bad_images=3)


def test_impossible_settings_are_refused_at_once(painted):
    with pytest.raises(ValueError, match="cannot be split evenly into 3 parts"):
        evaluation_batches(painted(9), global_batch_size=4, augment=CenterCrop(6), share=HostShare.even(0, 3))
    with pytest.raises(ValueError, match="no records to evaluate"):
        evaluation_batches(painted(0), global_batch_size=4, augment=CenterCrop(6))
