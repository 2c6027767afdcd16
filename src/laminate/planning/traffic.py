"""Bytes that a compiled program moves through the main memory of one device.

Every instruction reads its operands and writes its results, but for what lies in the core's scratch memory, and for
slices: who cuts a slice of a long array, or writes into one in place, touches the slice alone. A collective that a
chain of fusions carries on beside their own work moves its array once, where it begins; its links hand it on.
"""

import re

from laminate.planning.collectives import KINDS
from laminate.planning.hlo import Computation, Instruction, Program

MOVES_NOTHING = {
    *("parameter", "constant", "get-tuple-element", "tuple", "bitcast", "while", "call", "conditional"),
    *("after-all", "partition-id", "replica-id", "iota", "optimization-barrier"),
}
_VIEWS = ("bitcast", "copy", "convert", "reshape", "get-tuple-element")


def count_traffic(program: Program) -> int:
    """Bytes of one call of the program, those in the body of a loop times its length."""
    total = 0
    for computation, times, _ in program.runs():
        for one in computation.instructions:
            if one.opcode not in MOVES_NOTHING and not one.opcode.endswith("-done"):
                total += times * instruction_traffic(program, computation, one)
    return total


def instruction_traffic(program: Program, computation: Computation, one: Instruction) -> int:
    """Bytes that one execution of one instruction reads and writes."""
    if one.opcode in ("dynamic-slice", "slice", "slice-start", "gather"):
        return 2 * _in_hbm(one)
    if one.opcode == "dynamic-update-slice":
        return 2 * _in_hbm(computation.operands(one)[1])
    if one.opcode != "fusion" or one.name.startswith("async-collective-start"):
        return _in_hbm(one) + sum(map(_in_hbm, computation.operands(one)))
    fused = program.computations[one.called[0]]
    read = sum(
        min(_in_hbm(operand), _bytes_read(program, fused, place))
        for place, operand in enumerate(computation.operands(one))
    )
    return read + _bytes_written(fused, one)


def _is_carried(user: Instruction) -> bool:
    """Whether a fusion only hands a value on to `user`: the collective of which it is a link, or its results."""
    return user.opcode in KINDS or (user.is_root and user.opcode == "tuple")


def _shared(fusion: Instruction) -> set[int]:
    """The numbers of the results that lie where one of the operands does."""
    return {int(result) for result in re.findall(r"\{(\d+)\}: \(\d+, \{", fusion.attributes)}


def _in_hbm(one: Instruction) -> int:
    return sum(shape.bytes for shape in one.shapes if shape.in_hbm)


def _bytes_read(program: Program, fused: Computation, place: int) -> int:
    """What a fusion reads of its operand number `place`."""
    for one in fused.instructions:
        if one.opcode == "parameter" and one.arguments == str(place):
            return _bytes_used(program, fused, one)
    return 0


def _bytes_used(program: Program, fused: Computation, value: Instruction) -> int:
    """What is used of a value inside a fusion: all of it, unless every use takes or overwrites a slice."""
    used = 0
    for user in fused.instructions:
        if value.name not in user.operands:
            continue
        if user.opcode in ("dynamic-slice", "slice", "gather"):
            used += user.bytes
        elif user.opcode == "dynamic-update-slice" and user.operands[0] == value.name:
            continue
        elif user.opcode in _VIEWS and user.bytes == value.bytes:
            used += _bytes_used(program, fused, user)
        elif user.opcode == "fusion":
            inner = program.computations[user.called[0]]
            places = [place for place, name in enumerate(user.operands) if name == value.name]
            used += sum(_bytes_read(program, inner, place) for place in places)
        elif not _is_carried(user):
            return value.bytes
    return min(used, value.bytes)


def _bytes_written(fused: Computation, fusion: Instruction) -> int:
    """What a fusion writes: its results, of which one that is updated in place counts as the update."""
    roots = fused.operands(fused.root) if fused.root.opcode == "tuple" else [fused.root]
    if len(roots) != len(fusion.shapes):
        return _in_hbm(fusion)
    written, shared = 0, _shared(fusion)
    for number, (shape, root) in enumerate(zip(fusion.shapes, roots, strict=True)):
        if number in shared and root.opcode in (*KINDS, "parameter"):
            continue
        while root.opcode in _VIEWS and root.operands and root.operands[0] in fused.by_name:
            root = fused.by_name[root.operands[0]]
        if root.opcode == "dynamic-update-slice":
            written += fused.operands(root)[1].bytes
        elif shape.in_hbm:
            written += shape.bytes
    return written
