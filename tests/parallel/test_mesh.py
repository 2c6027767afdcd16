"""Mesh names, what does not fit, and how a global batch is cut."""

import dataclasses

import jax
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from laminate.parallel import mesh
from laminate.parallel.mesh import MeshShape, build_mesh, parse_mesh, prepare_devices, split_batch

SIZES = st.integers(1, 300)


@given(data=SIZES, fsdp=SIZES, slices=SIZES)
def test_reading_a_written_mesh_gives_it_back(data, fsdp, slices):
    shape = MeshShape(data, fsdp, slices)
    assert parse_mesh(str(shape)) == shape
    assert shape.devices == data * fsdp * slices


def test_the_short_forms():
    assert parse_mesh("auto") is None
    assert parse_mesh("8") == MeshShape(data=8)
    assert parse_mesh("4x8") == MeshShape(data=4, fsdp=8)
    assert parse_mesh("2x4x8") == MeshShape(slices=2, data=4, fsdp=8)


@pytest.mark.parametrize("text", ["", "0", "4x0", "x4", "4x", "2x2x2x2", "4*8", "-4", " 4", "4X8", "04"])
def test_what_is_no_mesh_is_refused_with_the_forms_there_are(text):
    with pytest.raises(ValueError, match=r"is no mesh: write 'auto', '8' \(data\), '4x8'"):
        parse_mesh(text)


def test_an_axis_without_devices_is_refused():
    with pytest.raises(ValueError, match="at least one device along every axis"):
        MeshShape(4, 0)


def test_a_mesh_on_the_cpu_may_leave_devices_unused_and_never_wants_more():
    assert len(jax.devices()) == 8
    assert prepare_devices(MeshShape(2, 2)) == (MeshShape(2, 2), "4 simulated on the CPU")
    assert prepare_devices(MeshShape(1)) == (MeshShape(1), "the CPU")
    assert prepare_devices(None)[0] == MeshShape(8)
    with pytest.raises(ValueError, match=r"--mesh 4x4 needs 16 devices and there are 8\..* 2x4, 4x2, 1x8\."):
        prepare_devices(MeshShape(4, 4))


@dataclasses.dataclass
class Chip:
    platform: str = "tpu"
    device_kind: str = "TPU v0"


def test_accelerators_must_all_be_used(monkeypatch):
    jax.devices()  # so that the number of simulated ones is fixed
    monkeypatch.setattr(jax, "devices", lambda: [Chip()] * 8)
    assert prepare_devices(MeshShape(2, 4)) == (MeshShape(2, 4), "8 x TPU v0")
    with pytest.raises(ValueError, match=r"--mesh 2x2 needs 4 devices and there are 8.* 4x2"):
        prepare_devices(MeshShape(2, 2))
    with pytest.raises(ValueError, match=r"--mesh 2x2x4 needs 16 .* 2x1x4"):
        prepare_devices(MeshShape(2, 4, 2))


def test_hosts_share_the_devices_of_a_mesh_evenly_or_are_refused(monkeypatch):
    monkeypatch.setattr(mesh, "hosts_that_joined", lambda: 3)
    with pytest.raises(ValueError, match="--mesh 4x1 has 4 devices, which 3 hosts cannot share evenly"):
        prepare_devices(MeshShape(4))
    with pytest.raises(ValueError, match="--mesh 6x1 needs 6 devices and there are 8"):
        prepare_devices(MeshShape(6))  # on several hosts every device has to be used
    monkeypatch.setattr(mesh, "hosts_that_joined", lambda: 4)
    assert prepare_devices(MeshShape(8)) == (MeshShape(8), "8 simulated on the CPU of 4 hosts")


def test_a_built_mesh_has_the_slices_major_in_the_data_axis():
    built = build_mesh(MeshShape(data=2, fsdp=2, slices=2))
    assert built.axis_names == ("data", "fsdp") and built.devices.shape == (4, 2)
    assert list(built.devices.flat) == jax.devices()
    assert build_mesh(MeshShape(2, 1)).devices.size == 2


@given(devices=st.integers(1, 64), parts=st.integers(1, 16), micro=st.integers(1, 16))
def test_micro_batches_make_up_the_global_batch(devices, parts, micro):
    assert split_batch(devices * parts * micro, devices, micro) == parts
    assert split_batch(devices * parts * micro, devices, None) == 1


@given(devices=st.integers(2, 64), size=st.integers(1, 1000))
def test_the_sizes_named_instead_are_the_nearest_and_are_accepted(devices, size):
    assume(size % devices)
    with pytest.raises(ValueError, match="cannot be cut over") as refusal:
        split_batch(size, devices, None)
    named = [int(text) for text in str(refusal.value).split(" are ")[1].rstrip(".").split(", ")]
    assert all(split_batch(one, devices, None) == 1 and abs(one - size) < devices for one in named)


def test_a_share_that_cannot_be_cut_into_micro_batches_is_refused():
    with pytest.raises(ValueError, match=r"share of 12 .* micro-batches of 5: use a device batch of 4, 6, 3"):
        split_batch(48, 4, 5)
    with pytest.raises(ValueError, match="micro-batches of 0"):
        split_batch(48, 4, 0)
