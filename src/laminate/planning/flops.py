"""Floating-point operations of a compiled program: matrix products and convolutions, a multiply-add being two, and what
kernels written by hand state of theirs.

Element-wise work is not counted: on a matrix unit it costs nothing, and it is what the time in memory is for.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from laminate.planning.hlo import Computation, Instruction, Program, Shape, is_kernel, stated_flops

RECOMPUTED = re.compile(r"rematted_computation|\.remat")


@dataclass(frozen=True)
class Flops:
    """Of one call of the program on one device; `recomputed` is the part that repeats the forward pass."""

    total: int
    recomputed: int


def count_flops(program: Program) -> Flops:
    """Sums over all instructions, those in the body of a loop times its length."""
    total = recomputed = 0
    for instruction, flops in _counted(program):
        total += flops
        if flops and (RECOMPUTED.search(instruction.op_name) or ".remat" in instruction.name):
            recomputed += flops
    return Flops(total, recomputed)


def flops_by_scope(program: Program, scopes: Sequence[str]) -> dict[str, int]:
    """Operations under each of the `jax.named_scope`s, forward and backward, and under none of them as "".

    What lies in several of them is counted under the one that comes first in `scopes`.
    """
    found = dict.fromkeys((*scopes, ""), 0)
    for instruction, flops in _counted(program):
        parts = set(re.split(r"[/()]", instruction.op_name)) if flops else set[str]()
        found[next((scope for scope in scopes if scope in parts), "")] += flops
    return found


def flops_by_opcode(program: Program) -> dict[str, int]:
    """Operations of matrix products (`dot`) and of convolutions (`convolution`), as the compiler of a CPU or GPU writes
    them, which drops the scopes of some; that of a TPU writes products as convolutions too, and runs kernels written
    by hand (`custom-call`)."""
    found = {"dot": 0, "convolution": 0}
    for instruction, flops in _counted(program):
        if flops:
            found[instruction.opcode] = found.get(instruction.opcode, 0) + flops
    return found


def _counted(program: Program) -> Iterator[tuple[Instruction, int]]:
    """Every instruction that is no fusion, and its operations in all its executions."""
    for computation, times, _ in program.runs():
        for one in computation.instructions:
            inner = program.fused(one) if one.opcode == "fusion" else iter([(computation, one)])
            for place, instruction in inner:
                yield instruction, times * instruction_flops(place, instruction)


def instruction_flops(computation: Computation, instruction: Instruction) -> int:
    """Operations of one execution of one instruction that is not a fusion."""
    if is_kernel(instruction):
        return stated_flops(instruction) or 0
    if instruction.opcode not in ("dot", "convolution"):
        return 0
    left, right = (operand.shapes[0] for operand in computation.operands(instruction)[:2])
    if instruction.opcode == "dot":
        contracted = [
            int(axis) for axis in (instruction.attribute("lhs_contracting_dims") or "").split(",") if axis
        ]
        return 2 * instruction.shapes[0].size * math.prod(left.dims[axis] for axis in contracted)
    return _convolution_flops(instruction, left, right)


def _convolution_flops(instruction: Instruction, left: Shape, right: Shape) -> int:
    """2 x multiply-adds; a tap on padding, or between the elements of a dilated input, is none.

    A TPU writes a batched matrix product as a convolution over the batch axes with such a dilation.
    """
    labels = instruction.attribute("dim_labels")
    assert labels is not None, instruction.name
    inputs, kernels, outputs = re.split(r"_|->", labels)
    output = instruction.shapes[0]
    groups = int(instruction.attribute("feature_group_count") or 1)
    batch_groups = int(instruction.attribute("batch_group_count") or 1)
    window = _window(instruction.attribute("window") or "", sum(label.isdigit() for label in inputs))
    taps = 1
    for axis, one in enumerate(window):
        sizes = left.dims[inputs.index(str(axis))], output.dims[outputs.index(str(axis))]
        taps *= _taps(*sizes, right.dims[kernels.index(str(axis))], one)
    features = left.dims[inputs.index("f")] // groups * output.dims[outputs.index("f")]
    return 2 * taps * features * (left.dims[inputs.index("b")] // batch_groups)


@dataclass(frozen=True)
class _Window:
    stride: int = 1
    low: int = 0
    input_dilation: int = 1
    kernel_dilation: int = 1


def _window(text: str, axes: int) -> list[_Window]:
    fields = dict(part.split("=") for part in text.split() if "=" in part)

    def numbers(name: str, missing: str) -> list[int]:
        return [
            int(one.split("_")[0]) for one in fields.get(name, "x".join([missing] * axes)).split("x") if one
        ]

    columns = (
        numbers("stride", "1"),
        numbers("pad", "0"),
        numbers("lhs_dilate", "1"),
        numbers("rhs_dilate", "1"),
    )
    return [_Window(*values) for values in zip(*columns, strict=True)]


def _taps(input_size: int, output_size: int, kernel_size: int, window: _Window) -> int:
    """Pairs of an output place and a kernel place that meet an element of the input."""
    count = 0
    for tap in range(kernel_size):
        for place in range(output_size):
            at = place * window.stride - window.low + tap * window.kernel_dilation
            count += at % window.input_dilation == 0 and 0 <= at // window.input_dilation < input_size
    return count
