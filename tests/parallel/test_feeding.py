"""Host batches arrive on the mesh in order, ahead of their use, cut by rows."""

import numpy as np
import pytest

from laminate.parallel.feeding import feed
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.parallel.sharding import batch_sharding

MESH = build_mesh(MeshShape(2, 2))


def batches(count, taken):
    for i in range(count):
        taken.append(i)
        rows = np.arange(8, dtype=np.int32) + 100 * i
        image = np.broadcast_to(rows[:, None, None, None] % 256, (8, 2, 3, 1)).astype(np.uint8)
        yield {"image": image, "label": rows, "row": rows.astype(np.int64), "valid": rows % 2 == 0}


def test_batches_come_in_order_and_whole():
    arrived = list(feed(batches(5, []), MESH))
    assert [int(batch["label"][0]) for batch in arrived] == [0, 100, 200, 300, 400]
    for got, sent in zip(arrived, batches(5, []), strict=True):
        for name in ("image", "label", "valid"):
            np.testing.assert_array_equal(got[name], sent[name])
            assert got[name].dtype == sent[name].dtype


def test_rows_are_cut_over_every_device_in_order():
    batch = next(feed(batches(1, []), MESH))
    assert batch["image"].sharding.is_equivalent_to(batch_sharding(MESH), 4)
    by_device = {shard.device: shard.data for shard in batch["label"].addressable_shards}
    pieces = [np.asarray(by_device[device]) for device in MESH.devices.flat]
    np.testing.assert_array_equal(np.concatenate(pieces), np.arange(8))


def test_bookkeeping_of_64_bits_stays_on_the_host():
    assert set(next(feed(batches(1, []), MESH))) == {"image", "label", "valid"}


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_no_more_than_a_few_batches_are_under_way(ahead):
    taken: list[int] = []
    fed = feed(batches(6, taken), MESH, ahead=ahead)
    assert taken == []
    for used in range(1, 7):
        next(fed)
        assert len(taken) == min(used - 1 + ahead, 6)
    assert list(fed) == []


def test_no_batches_are_no_batches():
    assert list(feed([], MESH)) == []
