"""Bytes through main memory: operands and results, of which slices touch only themselves."""

from laminate.planning.hlo import parse_hlo
from laminate.planning.traffic import count_traffic

HEAD = "HloModule m, is_scheduled=true\n"


def entry(*lines, before=""):
    body = "\n".join(f"  {line}" for line in lines)
    return count_traffic(parse_hlo(f"{HEAD}{before}\nENTRY %main () -> f32[] {{\n{body}\n}}\n"))


A = "%a = f32[10,8]{1,0} parameter(0)"
I = "%i = s32[] parameter(1)"


def test_an_instruction_reads_its_operands_and_writes_its_result():
    assert entry(A, "ROOT %n = bf16[10,8]{1,0} convert(%a)") == 10 * 8 * (4 + 2)


def test_scratch_memory_costs_nothing():
    assert entry(A, "ROOT %n = bf16[10,8]{1,0:T(8,128)(2,1)S(1)} convert(%a)") == 10 * 8 * 4


def test_views_and_bookkeeping_move_nothing():
    assert entry(A, "%b = f32[80]{0} bitcast(%a)", "ROOT %t = (f32[80]{0}) tuple(%b)") == 0


def test_a_slice_touches_itself():
    assert entry(A, I, "ROOT %s = f32[1,8]{1,0} dynamic-slice(%a, %i, %i)") == 2 * 8 * 4


NESTED = """
%inner (q: f32[10,8], j: s32[]) -> f32[1,8] {
  %q = f32[10,8]{1,0} parameter(0)
  %j = s32[] parameter(1)
  ROOT %cut = f32[1,8]{1,0} dynamic-slice(%q, %j, %j)
}

%update (p: f32[10,8], k: s32[], x: f32[10,8]) -> f32[10,8] {
  %p = f32[10,8]{1,0} parameter(0)
  %k = s32[] parameter(1)
  %x = f32[10,8]{1,0} parameter(2)
  %row = f32[1,8]{1,0} fusion(%x, %k), kind=kLoop, calls=%inner
  ROOT %put = f32[10,8]{1,0} dynamic-update-slice(%p, %row, %k, %k)
}
"""


def test_a_fusion_that_replaces_one_row_by_another_touches_two_rows():
    """Both long arrays are operands of the fusion, one of them of a fusion within; neither is read or written whole."""
    line = "ROOT %f = f32[10,8]{1,0} fusion(%a, %i, %b), kind=kLoop, calls=%update"
    moved = entry(A, I, "%b = f32[10,8]{1,0} parameter(2)", line, before=NESTED)
    index = 4
    assert moved == 2 * 8 * 4 + index


LINK = """
%link (piece: bf16[10,8], whole: bf16[40,8], x: f32[10,8]) -> (f32[10,8], bf16[10,8], bf16[40,8]) {
  %piece = bf16[10,8]{1,0} parameter(0)
  %whole = bf16[40,8]{1,0} parameter(1)
  %x = f32[10,8]{1,0} parameter(2)
  %y = f32[10,8]{1,0} negate(%x)
  %on = bf16[40,8]{1,0} all-gather(%piece), dimensions={0}
  ROOT %out = (f32[10,8]{1,0}, bf16[10,8]{1,0}, bf16[40,8]{1,0}) tuple(%y, %piece, %on)
}
"""
PIECES = ("%p = bf16[10,8]{1,0} parameter(2)", "%w = bf16[40,8]{1,0} parameter(3)")


def test_a_link_of_a_gather_moves_what_it_computes_and_not_what_it_carries():
    aliased = "output_to_operand_aliasing={{1}: (0, {}), {2}: (1, {})}"
    shapes = "(f32[10,8]{1,0}, bf16[10,8]{1,0}, bf16[40,8]{1,0})"
    line = f"ROOT %f = {shapes} fusion(%p, %w, %a), kind=kLoop, {aliased}, calls=%link"
    assert entry(A, *PIECES, line, before=LINK) == 2 * 10 * 8 * 4
    start = f"ROOT %async-collective-start = {shapes} fusion(%p), kind=kCustom, calls=%link"
    assert entry(PIECES[0], start, before=LINK) == 10 * 8 * 4 + (2 * 10 + 40) * 8 * 2
