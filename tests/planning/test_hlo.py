"""A compiled program read from its text, and how often its instructions run."""

import jax
import jax.numpy as jnp
import pytest

from laminate.planning.hlo import Shape, parse_hlo

LOOP = """
HloModule loop, is_scheduled=true

%body (p: (s32[], bf16[4,6])) -> (s32[], bf16[4,6]) {
  %p = (s32[]{:T(128)}, /*index=1*/bf16[4,6]{1,0:T(8,128)(2,1)S(1)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %one = s32[] constant(1)
  %next = s32[]{:T(128)} add(%i, %one)
  %x = bf16[4,6]{1,0:T(8,128)(2,1)S(1)} get-tuple-element(%p), index=1
  ROOT %t = (s32[]{:T(128)}, bf16[4,6]{1,0}) tuple(%next, %x)
}

%condition (p.1: (s32[], bf16[4,6])) -> pred[] {
  %p.1 = (s32[]{:T(128)}, bf16[4,6]{1,0}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%p.1), index=0
  %limit = s32[] constant(LIMIT)
  ROOT %less = pred[]{:T(512)} compare(%i.1, %limit), direction=DIRECTION
}

ENTRY %main (x.2: bf16[4,6]) -> (s32[], bf16[4,6]) {
  %x.2 = bf16[4,6]{1,0} parameter(0)
  %first = s32[] constant(FIRST)
  %start = (s32[], bf16[4,6]{1,0}) tuple(%first, %x.2)
  ROOT %while = (s32[], bf16[4,6]{1,0}) while(%start), condition=%condition, body=%body
}
"""


def loop(*, limit=12, first=0, direction="LT"):
    text = LOOP.replace("LIMIT", str(limit)).replace("FIRST", str(first)).replace("DIRECTION", direction)
    return parse_hlo(text)


def test_shapes_operands_and_attributes_are_read():
    body = loop().computations["body"]
    assert [one.name for one in body.instructions] == ["p", "i", "one", "next", "x", "t"]
    assert body.by_name["p"].shapes == (Shape("s32", ()), Shape("bf16", (4, 6), in_hbm=False))
    assert body.by_name["p"].bytes == 4 + 48
    assert body.by_name["next"].operands == ("i", "one")
    assert body.by_name["x"].attribute("index") == "1"
    assert body.root.opcode == "tuple"


@pytest.mark.parametrize(("limit", "first", "runs"), [(12, 0, 12), (12, 1, 11), (3, 5, 0)])
def test_a_loop_runs_from_its_first_value_to_its_limit(limit, first, runs):
    program = loop(limit=limit, first=first)
    assert [(c.name, times, inside) for c, times, inside in program.runs()] == [
        ("main", 1, False),
        ("body", runs, True),
    ]
    assert program.is_scheduled


def test_a_loop_of_unknown_length_is_refused():
    with pytest.raises(
        ValueError, match="the loop while has no length that can be read off its condition condition"
    ):
        list(loop(direction="NE").runs())


def test_text_without_an_entry_is_refused():
    with pytest.raises(ValueError, match="no compiled program"):
        parse_hlo("HloModule empty")


def test_nested_scans_multiply():
    def inner(x, w):
        return jnp.tanh(x @ w), None

    def outer(x, _):
        return jax.lax.scan(inner, x, jnp.ones((3, 4, 4)))[0], None

    step = jax.jit(lambda x: jax.lax.scan(outer, x, None, length=5)[0])
    program = parse_hlo(step.lower(jax.ShapeDtypeStruct((2, 4), jnp.float32)).compile().as_text())
    assert sorted({times for _, times, _ in program.runs()}) == [1, 5, 15]
