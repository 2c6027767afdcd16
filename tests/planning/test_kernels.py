"""Kernels written by hand: the schedule leaves their time out, and a plan says how long they take at least."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding

from laminate.nn.flash import flash_attention
from laminate.planning.chips import CHIPS, parse_topology
from laminate.planning.compiled import compile_step
from laminate.planning.devices import describe_slice, has_compiler
from laminate.planning.flops import count_flops
from laminate.planning.hlo import parse_hlo
from laminate.planning.kernels import SHARE, find_kernels
from laminate.planning.table import rows
from laminate.planning.top import most_costly
from tests.planning.plans import FITS, MEASURED

CHIP = CHIPS["v5e"]
FLOPS = 5 * 10**9
TEXT = """HloModule m, is_scheduled=true

%body (p: (s32[], bf16[64,640])) -> (s32[], bf16[64,640]) {
  %p = (s32[]{:T(128)}, bf16[64,640]{1,0:T(8,128)(2,1)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %x = bf16[64,640]{1,0:T(8,128)(2,1)} get-tuple-element(%p), index=1
  %y = bf16[64,640]{1,0:T(8,128)(2,1)} custom-call(%x), custom_call_target="tpu_custom_call", \
operand_layout_constraints={bf16[64,640]{1,0}}, \
metadata={op_name="jit(step)/while/body/checkpoint/rematted_computation/attend/pallas_call"}, \
backend_config={"custom_call_config":{"body":"TUzvUg==",STATED"serialization_format":"1"}}
  ROOT %t = (s32[]{:T(128)}, bf16[64,640]{1,0}) tuple(%i, %y)
}

%condition (p.1: (s32[], bf16[64,640])) -> pred[] {
  %p.1 = (s32[]{:T(128)}, bf16[64,640]{1,0}) parameter(0)
  ROOT %less = pred[]{:T(512)} constant(true)
}

ENTRY %main (x.2: bf16[64,640]) -> bf16[64,640] {
  %x.2 = bf16[64,640]{1,0} parameter(0)
  %first = s32[] constant(0)
  %buffer = f32[8,128]{1,0} custom-call(), custom_call_target="AllocateBuffer"
  %start = (s32[], bf16[64,640]{1,0}) tuple(%first, %x.2)
  %while = (s32[], bf16[64,640]{1,0}) while(%start), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"12"}}
  ROOT %y.2 = bf16[64,640]{1,0} get-tuple-element(%while), index=1
}
"""
STATED = f'"cost_estimate":{{"flops":"{FLOPS}","transcendentals":"7","bytes_accessed":"9"}},'


def program(stated):
    return parse_hlo(TEXT.replace("STATED", stated))


def test_a_kernel_counts_as_it_states_and_as_often_as_it_runs():
    whole = program(STATED)
    found = find_kernels(whole, CHIP)
    assert found.runs == {"attend": 12} and not found.unstated
    assert found.least == pytest.approx(12 * FLOPS / CHIP.peak_flops)
    assert found.seconds == pytest.approx(found.least / SHARE)
    flops = count_flops(whole)
    assert flops.total == flops.recomputed == 12 * FLOPS
    (top,) = most_costly(whole, CHIP, 5)
    assert (top.times, top.seconds, top.products) == (12, pytest.approx(found.seconds), pytest.approx(SHARE))


def test_a_kernel_that_states_nothing_is_named_and_takes_as_long_as_its_bytes():
    found = find_kernels(program(""), CHIP)
    assert found.unstated == ("attend",)
    assert found.seconds == pytest.approx(12 * 2 * 2 * 64 * 640 / CHIP.hbm_bandwidth)


def test_a_step_is_the_schedule_and_its_kernels_and_the_table_says_so():
    found = find_kernels(program(STATED), CHIP)
    lines = replace(MEASURED.roofline, kernels=found.seconds)
    assert lines.step == pytest.approx(MEASURED.roofline.step + found.seconds)
    table = dict(rows(replace(FITS, measured=replace(MEASURED, kernels=found, roofline=lines))))
    assert table["kernels written by hand"].startswith("attend 12 times: at least 0.3 ms by")
    assert "scheduled 200.0 ms, kernels 1.2 ms" in table["estimated step"]
    assert "kernels written by hand" not in dict(rows(FITS))


@pytest.mark.skipif(not has_compiler(), reason="needs the TPU compiler")
def test_attention_is_compiled_for_a_tpu_and_states_its_products():
    device = describe_slice(parse_topology("v5e:2x2")).devices[0]
    images, heads, tokens, dim = 2, 3, 257, 64
    q = jax.ShapeDtypeStruct(
        (images, heads, tokens, dim), jnp.bfloat16, sharding=SingleDeviceSharding(device)
    )

    def loss(q):
        return jnp.sum(jnp.square(jax.vmap(lambda q: flash_attention(q, q, q, None))(q)))

    whole = compile_step(jax.jit(jax.grad(loss)), q).program
    assert find_kernels(whole, CHIP).runs == {"attention_forward": 1, "attention_backward": 1}
    assert count_flops(whole).total == (2 + 5) * 2 * images * heads * tokens**2 * dim
