"""The costliest instructions of a schedule, with the place that they come from and what binds them."""

import re

import pytest

from laminate.planning.chips import CHIPS
from laminate.planning.hlo import parse_hlo
from laminate.planning.top import OURS, most_costly

CHIP = CHIPS["v5e"]
TEXT = """HloModule m, is_scheduled=true

FileNames
1 "/somewhere/src/laminate/nn/linear.py"
2 "/site-packages/jax/lax.py"
3 "/somewhere/experiments/vae.py"

FunctionNames
1 "f"

FileLocations
1 {file_name_id=3 function_name_id=1 line=50 end_line=50 column=1 end_column=2}
2 {file_name_id=1 function_name_id=1 line=41 end_line=41 column=1 end_column=2}
3 {file_name_id=2 function_name_id=1 line=7 end_line=7 column=1 end_column=2}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}
3 {file_location_id=3 parent_frame_id=3}
4 {file_location_id=3 parent_frame_id=2}

%body (p: (s32[], bf16[640,640])) -> (s32[], bf16[640,640]) {
  %p = (s32[]{:T(128)}, bf16[640,640]{1,0:T(8,128)(2,1)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %x = bf16[640,640]{1,0:T(8,128)(2,1)S(1)} get-tuple-element(%p), index=1
  %y = bf16[640,640]{1,0:T(8,128)(2,1)S(1)} dot(%x, %x), lhs_contracting_dims={1}, \
rhs_contracting_dims={0}, metadata={op_name="jit(step)/shard_map/while/body/block/linear/dot_general" \
stack_frame_id=3}, backend_config={"estimated_cycles":"PRODUCT"}
  ROOT %t = (s32[]{:T(128)}, bf16[640,640]{1,0}) tuple(%i, %y)
}

%condition (p.1: (s32[], bf16[640,640])) -> pred[] {
  %p.1 = (s32[]{:T(128)}, bf16[640,640]{1,0}) parameter(0)
  ROOT %less = pred[]{:T(512)} constant(true)
}

ENTRY %main (x.2: bf16[640,640]) -> bf16[640,640] {
  %x.2 = bf16[640,640]{1,0} parameter(0)
  %c = bf16[640,640]{0,1} copy(%x.2), \
metadata={op_name="jit(step)/transpose" stack_frame_id=4}, backend_config={"estimated_cycles":"99"}
  %first = s32[] constant(0)
  %start = (s32[], bf16[640,640]{1,0}) tuple(%first, %x.2)
  %while = (s32[], bf16[640,640]{1,0}) while(%start), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"12"}}
  ROOT %y.2 = bf16[640,640]{1,0} get-tuple-element(%while), index=1
}
"""
PEAK_CYCLES = 2 * 640**3 / CHIP.peak_flops * CHIP.clock


def costly(*, cycles, count=5, chip=CHIP):
    return most_costly(parse_hlo(TEXT.replace("PRODUCT", str(round(cycles)))), chip, count)


def test_the_body_of_a_loop_counts_as_often_as_it_runs_and_is_named_for_our_innermost_line():
    product, copy = costly(cycles=2 * PEAK_CYCLES)
    assert (product.name, product.times, product.place) == ("y", 12, "nn/linear.py:41")
    assert product.scope == "block/linear/dot_general"
    assert product.seconds == pytest.approx(12 * 2 * PEAK_CYCLES / CHIP.clock, rel=1e-3)
    assert (copy.name, copy.times, copy.place) == ("c", 1, "vae.py:50")


@pytest.mark.parametrize(("slower", "binds"), [(1.5, "products"), (30.0, "neither")])
def test_what_binds_is_what_takes_most_of_the_time(slower, binds):
    product = costly(cycles=slower * PEAK_CYCLES)[0]
    assert product.binds == binds
    assert product.products == pytest.approx(1 / slower, rel=1e-2)


def test_a_copy_as_long_as_its_bytes_take_is_bound_by_memory():
    copy = next(one for one in costly(cycles=1) if one.name == "c")
    assert copy.memory > 1 and copy.binds == "memory"


def test_only_so_many_are_listed_and_none_where_the_clock_is_not_known():
    assert len(costly(cycles=9, count=1)) == 1
    assert costly(cycles=9, chip=CHIPS["TPU7x"]) == ()


def test_a_place_outside_our_files_is_that_of_the_caller():
    program = parse_hlo(TEXT)
    assert program.place(3, OURS) == "nn/linear.py:41"
    assert program.place(4, re.compile(r"(nowhere)")) == ""
