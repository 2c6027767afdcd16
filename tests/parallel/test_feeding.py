"""Host batches arrive on the mesh in order, ahead of their use, cut by rows."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import Mesh

from laminate.parallel.feeding import feed, parts_of_host, whole
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.parallel.sharding import batch_sharding

MESH = build_mesh(MeshShape(2, 2))


def batches(count, taken):
    for i in range(count):
        taken.append(i)
        rows = np.arange(8, dtype=np.int32) + 100 * i
        image = np.broadcast_to(rows[:, None, None, None] % 256, (8, 2, 3, 1)).astype(np.uint8)
        yield {"image": image, "label": rows, "global_row": rows.astype(np.int64), "valid": rows % 2 == 0}


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


def test_bookkeeping_stays_on_the_host_by_its_name_and_everything_else_arrives():
    assert set(next(feed(batches(1, []), MESH))) == {"image", "label", "valid"}
    narrow = {"global_row": np.arange(8, dtype=np.int32), "phase": np.ones((8, 3), np.complex64)}
    assert set(next(feed([narrow], MESH))) == {"phase"}


@pytest.mark.parametrize(
    ("dtype", "held"),
    [("int64", "int32"), ("uint64", "uint32"), ("float64", "float32"), ("complex128", "complex64")],
)
def test_numbers_that_jax_would_cut_are_refused_by_name(dtype, held):
    batch = {"label": np.arange(8, dtype=np.int32), "mask": np.zeros((8, 2), dtype)}
    message = f"array 'mask' of a batch is {dtype}, and devices would hold it as {held}: let .* give {held}"
    with pytest.raises(ValueError, match=message):
        next(feed([batch], MESH))


def test_numbers_of_64_bits_arrive_whole_where_jax_keeps_them():
    rows = 2**40 + np.arange(8)
    with jax.enable_x64(True):
        fed = next(feed([{"index": rows, "weight": rows / 3}], MESH))
        for name, sent in (("index", rows), ("weight", rows / 3)):
            assert fed[name].dtype == sent.dtype
            np.testing.assert_array_equal(fed[name], sent)


@pytest.mark.parametrize("rows", [np.array(["a"] * 8), np.array([b"key"] * 8), np.array([None] * 8)])
def test_what_is_no_number_is_refused_by_name(rows):
    with pytest.raises(ValueError, match=r"array 'key' of a batch is .* devices hold numbers only"):
        next(feed([{"key": rows}], MESH))


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


@dataclasses.dataclass(frozen=True)
class Chip:
    """A device as a mesh sees it, and the process that it belongs to."""

    id: int
    process_index: int


def mesh_of(processes: list[list[int]]):
    """A mesh of devices that belong to these processes."""
    owners = np.array(processes)
    chips = [Chip(number, int(process)) for number, process in enumerate(owners.flat)]
    return Mesh(np.array(chips, object).reshape(owners.shape), ("data", "fsdp"))


def test_a_host_holds_the_parts_of_its_devices_in_the_order_of_the_mesh():
    # A slice of 4x4 chips whose hosts have 2x2 of them.
    mesh = mesh_of([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])
    assert parts_of_host(mesh, 0) == ((0, 1, 4, 5), 16)
    assert parts_of_host(mesh, 3) == ((10, 11, 14, 15), 16)


@given(owners=st.permutations([host for host in range(4) for _ in range(3)]))
def test_the_parts_of_all_hosts_are_the_batch(owners):
    mesh = mesh_of([owners[:6], owners[6:]])
    held = [parts_of_host(mesh, host) for host in range(4)]
    assert {of for _, of in held} == {12}
    assert sorted(part for parts, _ in held for part in parts) == list(range(12))
    assert all(list(parts) == sorted(parts) for parts, _ in held)


def test_a_process_that_is_alone_holds_everything():
    assert parts_of_host(MESH) == ((0, 1, 2, 3), 4)


def test_whole_arrays_are_numpy_arrays_with_the_values_of_the_cut_ones():
    rows = np.arange(24, dtype=np.float32).reshape(8, 3)
    got = whole({"cut": jax.device_put(rows, batch_sharding(MESH)), "host": rows[:1]})
    assert all(type(x) is np.ndarray for x in got.values())
    np.testing.assert_array_equal(got["cut"], rows)
    np.testing.assert_array_equal(got["host"], rows[:1])
