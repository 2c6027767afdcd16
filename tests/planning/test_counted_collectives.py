"""Collectives counted from compiled programs: bytes, executions, groups, and what runs beside them."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from laminate.parallel.collectives import gather, gather_by_hops
from laminate.parallel.mesh import AXES, MeshShape, build_mesh
from laminate.parallel.places import ChipPlace
from laminate.planning.chips import parse_topology
from laminate.planning.collectives import (
    blocking_in_loops,
    find_collectives,
    overlapped_share,
    summarise_collectives,
)
from laminate.planning.hlo import parse_hlo
from laminate.planning.memory import gathered_bytes
from laminate.planning.roofline import roofline

DEPTH, ROWS, DIM = 3, 8, 16
MESH = build_mesh(MeshShape(2, 4))


def compiled(local, *specs, out=None):
    shapes = [jax.ShapeDtypeStruct((DEPTH, ROWS, DIM), jnp.float32)] * len(specs)
    step = jax.shard_map(local, mesh=MESH, in_specs=specs, out_specs=out or P(), check_vma=False)
    return parse_hlo(jax.jit(step).lower(*shapes).compile().as_text())


def test_gathers_in_a_scan_count_every_layer():
    def local(pieces):
        body = lambda x, piece: (x + jnp.sum(gather(piece, 1)), None)
        return jax.lax.scan(body, jnp.float32(0), pieces)[0]

    (one,) = find_collectives(compiled(local, P(None, None, "fsdp")))
    assert (one.kind, one.bytes, one.times, one.in_loop) == ("all-gather", ROWS * DIM * 4, DEPTH, True)
    assert one.group_size == 4 and len(one.groups) == 2
    assert one.wire_bytes == one.bytes * 3 / 4
    assert not one.overlapped


def test_a_sum_over_all_devices_is_met_once_and_travels_twice():
    (one,) = find_collectives(compiled(lambda x: jax.lax.psum(x, AXES), P()))
    assert (one.kind, one.bytes, one.times, one.in_loop) == ("all-reduce", DEPTH * ROWS * DIM * 4, 1, False)
    assert one.wire_bytes == 2 * one.bytes * 7 / 8


def test_a_reduce_scatter_counts_the_whole_array():
    scatter = lambda x: jax.lax.psum_scatter(x, "fsdp", scatter_dimension=2, tiled=True)
    (one,) = find_collectives(compiled(scatter, P(), out=P(None, None, "fsdp")))
    assert (one.kind, one.bytes) == ("reduce-scatter", DEPTH * ROWS * DIM * 4)


def test_scattering_by_hops_sends_what_a_reduce_scatter_does():
    def local(pieces):
        return jax.grad(lambda piece: jnp.sum(jnp.square(gather_by_hops(piece, 2))))(pieces)

    spec = P(None, None, "fsdp")
    found = find_collectives(compiled(local, spec, out=spec))
    hops = [one for one in found if one.kind == "collective-permute"]
    whole = DEPTH * ROWS * DIM * 4
    assert len(hops) == 3 and {one.bytes for one in hops} == {whole // 4}
    assert sum(one.wire_bytes for one in hops) == whole * 3 / 4


GROUPS = 'replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}, frontend_attributes={chain_id="3"}'
CHAIN = """HloModule m, is_scheduled=true

%begin (p: bf16[4,8]) -> bf16[32,8] {
  %p = bf16[4,8]{1,0} parameter(0)
  ROOT %all-gather.1 = bf16[32,8]{1,0} all-gather(%p), GROUPS
}

%middle (q: bf16[4,8], x: bf16[6,8], w: bf16[8,9]) -> bf16[6,9] {
  %q = bf16[4,8]{1,0} parameter(0)
  %x = bf16[6,8]{1,0} parameter(1)
  %w = bf16[8,9]{1,0} parameter(2)
  %all-gather.2 = bf16[32,8]{1,0} all-gather(%q), GROUPS
  ROOT %dot = bf16[6,9]{1,0} dot(%x, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%end (r: bf16[4,8]) -> bf16[32,8] {
  %r = bf16[4,8]{1,0} parameter(0)
  ROOT %all-gather.3 = bf16[32,8]{1,0} all-gather(%r), GROUPS
}

ENTRY %main (a: bf16[4,8], x.1: bf16[6,8], w.1: bf16[8,9]) -> bf16[32,8] {
  %a = bf16[4,8]{1,0} parameter(0)
  %x.1 = bf16[6,8]{1,0} parameter(1)
  %w.1 = bf16[8,9]{1,0} parameter(2)
  %async-collective-start = bf16[32,8]{1,0} fusion(%a), kind=kCustom, calls=%begin
  MIDDLE
  ROOT %async-collective-done = bf16[32,8]{1,0} fusion(%async-collective-start), kind=kCustom, calls=%end
}
""".replace("GROUPS", GROUPS)


def test_a_chain_of_fusions_is_one_collective_and_is_overlapped_if_a_link_computes():
    link = "%f = bf16[6,9]{1,0} fusion(%a, %x.1, %w.1), kind=kOutput, calls=%middle"
    (one,) = find_collectives(parse_hlo(CHAIN.replace("MIDDLE", link)))
    assert (one.kind, one.bytes, one.overlapped) == ("all-gather", 32 * 8 * 2, True)
    (alone,) = find_collectives(parse_hlo(CHAIN.replace("MIDDLE", "")))
    assert not alone.overlapped


PAIR = """HloModule m, is_scheduled=true

ENTRY %main (a: f32[4,8], x: f32[6,8], w: f32[8,9]) -> f32[4,8] {
  %a = f32[4,8]{1,0} parameter(0)
  %x = f32[6,8]{1,0} parameter(1)
  %w = f32[8,9]{1,0} parameter(2)
  BEFORE
  %start = (f32[4,8]{1,0}, f32[4,8]{1,0}, u32[], u32[]) collective-permute-start(%a), source_target_pairs={{0,1},{1,0}}
  BETWEEN
  ROOT %done = f32[4,8]{1,0} collective-permute-done(%start)
}
"""
DOT = "%dot = f32[6,9]{1,0} dot(%x, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}"


@pytest.mark.parametrize(("before", "between", "overlapped"), [("", DOT, True), (DOT, "", False)])
def test_a_pair_is_overlapped_if_something_is_computed_between(before, between, overlapped):
    (one,) = find_collectives(parse_hlo(PAIR.replace("BEFORE", before).replace("BETWEEN", between)))
    assert (one.kind, one.bytes, one.overlapped) == ("collective-permute", 4 * 8 * 4, overlapped)
    assert one.wire_bytes == one.bytes


def test_groups_written_as_a_transposed_grid_are_those_of_its_columns():
    text = (
        "HloModule m\n\nENTRY %main (a: f32[4]) -> f32[4] {\n  %a = f32[4]{0} parameter(0)\n"
        "  ROOT %r = f32[4]{0} all-reduce(%a), replica_groups=[3,2]<=[2,3]T(1,0), to_apply=%add\n}\n"
    )
    (one,) = find_collectives(parse_hlo(text))
    assert one.groups == ((0, 3), (1, 4), (2, 5))


def test_shares_and_waiting_are_by_bytes_and_size():
    text = PAIR.replace("BETWEEN", DOT).replace("BEFORE", "")
    overlapped = find_collectives(parse_hlo(text))
    waited = find_collectives(parse_hlo(text.replace(DOT, "")))
    assert overlapped_share([]) == 1.0
    assert overlapped_share(overlapped + waited) == 0.5
    (line,) = summarise_collectives(overlapped + waited)
    assert (line.count, line.bytes, line.overlapped) == (2, 256, 0.5)
    assert blocking_in_loops(waited, above=0) == []  # not in a loop


def test_time_is_bytes_over_the_links_that_a_group_spans():
    topology = parse_topology("v5e:2x4")
    places = [ChipPlace(0, 0, (x, y)) for x in range(2) for y in range(4)]
    reduce = (
        "HloModule m\n\nENTRY %main (a: f32[1000]) -> f32[1000] {{\n  %a = f32[1000]{{0}} parameter(0)\n"
        "  ROOT %r = f32[1000]{{0}} all-reduce(%a), replica_groups={groups}, to_apply=%add\n}}\n"
    )

    def line(groups):
        program = parse_hlo(reduce.format(groups=groups))
        return roofline(program, find_collectives(program), topology, places, flops=0, traffic=0)

    one_axis = line("{{0,4},{1,5},{2,6},{3,7}}")
    assert one_axis.interconnect == pytest.approx(4000 / 50e9) and one_axis.network == 0.0
    assert one_axis.binds == "interconnect"
    assert one_axis.step == one_axis.waiting == one_axis.interconnect
    assert line("{{0,1,4,5},{2,3,6,7}}").interconnect == pytest.approx(1.5 * 4000 / 100e9)


ACROSS = """HloModule m, is_scheduled=true

ENTRY %main (a: f32[4,8], x: f32[6,8], w: f32[8,9]) -> f32[4,8] {
  %a = f32[4,8]{1,0} parameter(0)
  %x = f32[6,8]{1,0} parameter(1)
  %w = f32[8,9]{1,0} parameter(2)
  %t = token[] after-all()
  %send = (f32[4,8]{1,0}, u32[], token[]) send(%a, %t), is_host_transfer=true, frontend_attributes={MEETING}
  %recv = (f32[4,8]{1,0}, u32[], token[]) recv(%t), is_host_transfer=true, frontend_attributes={MEETING}
  BETWEEN
  ROOT %done = (f32[4,8]{1,0}, token[]) recv-done(%recv), is_host_transfer=true
}
""".replace("MEETING", '_xla_host_transfer_rendezvous="r_0",_xla_megascale_transfer_type="ALL_REDUCE"')


@pytest.mark.parametrize(("between", "overlapped"), [(DOT, True), ("", False)])
def test_what_is_sent_to_other_slices_goes_over_the_network(between, overlapped):
    program = parse_hlo(ACROSS.replace("BETWEEN", between))
    (one,) = find_collectives(program)
    assert (one.kind, one.bytes, one.network) == ("all-reduce", 128, True)
    assert one.overlapped == overlapped
    line = roofline(program, [one], parse_topology("2*v5e:2x2"), [], flops=0, traffic=0)
    assert line.network == pytest.approx(128 / 3.1e9) and line.interconnect == 0.0
    assert line.binds == "network"


def test_results_of_collectives_take_memory_from_their_start_to_their_last_use():
    text = """HloModule m, is_scheduled=true

ENTRY %main (a: f32[4]) -> f32[8] {
  %a = f32[4]{0} parameter(0)
  %g1 = f32[8]{0} all-gather(%a), replica_groups={{0,1}}, dimensions={0}
  %g2 = f32[8]{0:S(1)} all-gather(%a), replica_groups={{0,1}}, dimensions={0}
  %n = f32[8]{0} negate(%g1)
  %g3 = f32[8]{0} all-gather(%a), replica_groups={{0,1}}, dimensions={0}
  %g4 = f32[8]{0} all-gather(%a), replica_groups={{0,1}}, dimensions={0}
  ROOT %s = f32[8]{0} add(%g3, %g4)
}
"""
    assert gathered_bytes(parse_hlo(text)) == 2 * 8 * 4
