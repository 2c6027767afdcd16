"""The nearest setting that fits is found, and what cannot fit is not compiled."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.parallel.mesh import MeshShape
from laminate.planning.memory import Held
from laminate.planning.plan import Setting
from laminate.planning.suggest import candidates, choices, first_with_room
from tests.planning.plans import FITS, MEASURED

PARAMETERS, ACTIVATIONS = 64, 40
KEPT = {"none": 1.0, "products": 0.5, "dots": 0.3, "block": 0.1}
FIRST = Setting(MeshShape(8, 1), global_batch_size=32, micro_batches=1, remat="none")


def held(setting):
    return PARAMETERS // setting.mesh.fsdp


def plan(setting, *, capacity):
    """A plan of a step whose activations are in proportion to the batch on a device and what remat keeps."""
    needed = held(setting) + int(ACTIVATIONS * setting.device_batch_size / 4 * KEPT[setting.remat])
    return replace(
        FITS,
        setting=setting,
        held=Held(held(setting), 0, 0, 0, 0),
        capacity_bytes=capacity,
        needed_bytes=needed,
        measured=MEASURED if needed <= capacity else None,
    )


def search(first, *, capacity, settings=None, kept=lambda setting: 0):
    tried = []

    def compile_one(setting):
        tried.append(setting)
        return plan(setting, capacity=capacity)

    least = lambda setting: (held(setting), held(setting) + kept(setting))
    known = [] if settings is not None else [plan(first, capacity=capacity)]
    among = candidates(first) if settings is None else settings
    found, compiled, _ = first_with_room(among, compile_one, least, capacity=capacity, known=known)
    return found, len(compiled), tried


def test_computing_more_again_comes_before_anything_else():
    found, compiled, tried = search(FIRST, capacity=90)
    assert found.setting == replace(FIRST, remat="products")
    assert compiled == len(tried) == 1


def test_what_fits_without_computing_anything_again_stays_as_it_is():
    found, compiled, _ = search(FIRST, capacity=200, settings=choices(FIRST))
    assert found.setting == FIRST and compiled == 1


def test_a_part_of_the_memory_stays_free():
    needed = plan(FIRST, capacity=1000).needed_bytes
    assert plan(FIRST, capacity=needed).fits
    assert search(FIRST, capacity=needed, settings=choices(FIRST))[0].setting.remat == "products"


def test_what_the_trace_rules_out_is_not_compiled():
    kept = lambda setting: ACTIVATIONS if setting.remat == "none" else 0
    found, compiled, tried = search(FIRST, capacity=90, settings=choices(FIRST), kept=kept)
    assert found.setting == replace(FIRST, remat="products") and compiled == 1 and FIRST not in tried


def test_the_batch_is_cut_once_whole_layers_are_not_enough_and_only_if_it_may_be():
    small = search(FIRST, capacity=72, settings=choices(FIRST))[0]
    assert small.setting == replace(FIRST, remat="block")
    smaller = [one for one in choices(FIRST) if one.micro_batches > 1]
    assert smaller[0] == replace(FIRST, micro_batches=2)
    assert [one.micro_batches for one in choices(FIRST, cuts_batch=False)] == [1, 1, 1, 1]
    parts = replace(FIRST, micro_batches=4, remat="block")
    assert list(choices(parts)) == [parts]  # one image at a time already


def test_the_mesh_is_cut_before_the_batch_is_halved():
    found, _, tried = search(FIRST, capacity=40)
    assert found.setting.mesh == MeshShape(4, 2)
    assert found.setting.global_batch_size == FIRST.global_batch_size
    assert all(setting.mesh != FIRST.mesh for setting in tried)  # its parameters alone are too large


def test_nothing_is_found_where_nothing_fits():
    assert search(FIRST, capacity=2) == (None, 0, [])


@given(
    data=st.sampled_from([1, 2, 4, 8]),
    fsdp=st.sampled_from([1, 2, 4]),
    share=st.sampled_from([1, 3, 4, 8]),
    remat=st.sampled_from(["none", "products", "dots", "block", "attention"]),
)
def test_every_candidate_is_another_setting_that_can_be_run(data, fsdp, share, remat):
    first = Setting(MeshShape(data, fsdp), data * fsdp * share, 1, remat)
    found = list(candidates(first))
    assert first not in found and len(set(found)) == len(found)
    for one in found:
        assert one.mesh.devices == first.mesh.devices
        assert one.global_batch_size % (one.mesh.devices * one.micro_batches) == 0
        assert one.device_batch_size >= 1


@pytest.mark.parametrize("text", ["--mesh 8x1 --remat none --global-batch-size 32"])
def test_a_setting_is_written_as_the_flags_that_ask_for_it(text):
    assert str(FIRST) == text
    assert str(replace(FIRST, micro_batches=2)) == f"{text} --device-batch-size 2"
