"""Compiled programs, read from their text: computations, instructions, and how often each of them runs.

XLA's own totals count the body of a loop once. Here an instruction is met together with the number of times that
it runs in one call of the program.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

BITS = {
    **{"pred": 8, "s4": 4, "u4": 4, "s8": 8, "u8": 8, "s16": 16, "u16": 16, "s32": 32, "u32": 32},
    **{"s64": 64, "u64": 64, "bf16": 16, "f16": 16, "f32": 32, "f64": 64, "c64": 64, "c128": 128},
    **{"f8e4m3fn": 8, "f8e5m2": 8, "f8e4m3b11fnuz": 8},
}

_ARRAY = re.compile(r"([a-z][a-z0-9]*)\[([0-9,]*)\](\{[^{}]*\})?")
_LINE = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_OPERAND = re.compile(r"%?([A-Za-z_][\w.\-]*)(?=,|$|\s*/\*)")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")


@dataclass(frozen=True)
class Shape:
    """One array: element type, sizes, and whether it lies in main memory (not in a core's own scratch memory)."""

    dtype: str
    dims: tuple[int, ...]
    in_hbm: bool = True

    @property
    def size(self) -> int:
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        return (self.size * BITS.get(self.dtype, 0) + 7) // 8


@dataclass(frozen=True)
class Instruction:
    """`name = shapes opcode(operands), attributes`; a tuple result is flattened into `shapes`."""

    name: str
    shapes: tuple[Shape, ...]
    opcode: str
    operands: tuple[str, ...]
    arguments: str
    attributes: str
    is_root: bool

    @property
    def bytes(self) -> int:
        return sum(shape.bytes for shape in self.shapes)

    @cached_property
    def called(self) -> tuple[str, ...]:
        """Computations that this instruction runs, a loop's condition among them."""
        names = _CALLED.findall(self.attributes)
        for group in _BRANCHES.findall(self.attributes):
            names += [name.strip().lstrip("%") for name in group.split(",")]
        return tuple(names)

    def attribute(self, name: str) -> str | None:
        """The value of `name=value` or `name={value}` (without the braces)."""
        found = re.search(rf"\b{name}=(\{{[^{{}}]*\}}|[^\s,]+)", self.attributes)
        return None if found is None else found[1].removeprefix("{").removesuffix("}")

    @property
    def op_name(self) -> str:
        """The path of the traced operation that this instruction comes from."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return "" if found is None else found[1]

    @property
    def frame(self) -> int:
        """The number of the stack frame in which it was traced; 0 if that is not said."""
        found = re.search(r"stack_frame_id=(\d+)", self.attributes)
        return 0 if found is None else int(found[1])


def is_kernel(one: Instruction) -> bool:
    """Whether it runs a kernel that was written by hand for a TPU."""
    return one.opcode == "custom-call" and one.attribute("custom_call_target") == '"tpu_custom_call"'


def stated_flops(one: Instruction) -> int | None:
    """The operations that a kernel states of one of its runs; None if it states none."""
    found = re.search(r'"cost_estimate":\{"flops":"(\d+)"', one.attributes)
    return None if found is None else int(found[1])


@dataclass(frozen=True)
class Computation:
    """Instructions in the order of the text, which in a scheduled program is the order in which they run."""

    name: str
    instructions: tuple[Instruction, ...]

    @cached_property
    def by_name(self) -> dict[str, Instruction]:
        return {instruction.name: instruction for instruction in self.instructions}

    @cached_property
    def root(self) -> Instruction:
        return next((one for one in self.instructions if one.is_root), self.instructions[-1])

    def operands(self, instruction: Instruction) -> list[Instruction]:
        return [self.by_name[name] for name in instruction.operands if name in self.by_name]


@dataclass(frozen=True)
class Program:
    """A compiled module. `is_scheduled` says that the order of instructions is that of their execution."""

    computations: dict[str, Computation]
    entry: str
    is_scheduled: bool
    frames: dict[int, tuple[str, int]] = field(default_factory=dict[int, tuple[str, int]], repr=False)
    """File and line of a stack frame, and the frame that called it: `FILE:LINE` and a number, 0 for none."""

    def place(self, frame: int, files: re.Pattern[str]) -> str:
        """The innermost place, from `frame` outwards, in a file whose path matches, as the group 1 of the match.

        "" for none.
        """
        while frame in self.frames:
            where, frame = self.frames[frame]
            found = files.search(where)
            if found is not None:
                return found[1]
        return ""

    def fused(self, instruction: Instruction) -> Iterator[tuple[Computation, Instruction]]:
        """Every instruction inside a fusion, fusions within it opened as well."""
        for name in instruction.called:
            inner = self.computations[name]
            for one in inner.instructions:
                yield inner, one
                if one.opcode == "fusion":
                    yield from self.fused(one)

    def runs(self) -> Iterator[tuple[Computation, int, bool]]:
        """Every computation that is run (not fused), with the number of times, and whether a loop runs it."""
        yield from self._runs(self.entry, 1, False)

    def _runs(self, name: str, times: int, in_loop: bool) -> Iterator[tuple[Computation, int, bool]]:
        computation = self.computations[name]
        yield computation, times, in_loop
        for one in computation.instructions:
            if one.opcode == "while":
                body = re.search(r"body=%?([\w.\-]+)", one.attributes)
                assert body is not None, one.name
                yield from self._runs(body[1], times * self.trip_count(computation, one), True)
            elif one.opcode in ("call", "conditional", "async-start"):
                for called in one.called:
                    yield from self._runs(called, times, in_loop)

    def trip_count(self, computation: Computation, loop: Instruction) -> int:
        """How often the body of a `while` runs: what the compiler noted, else its condition `i < constant`.

        Raises ValueError for a loop whose length is not known before it runs.
        """
        known = re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.attributes)
        if known is not None:
            return int(known[1])
        found = re.search(r"condition=%?([\w.\-]+)", loop.attributes)
        assert found is not None, loop.name
        counter = self._counter(self.computations[found[1]])
        if counter is None:
            raise ValueError(
                f"the loop {loop.name} has no length that can be read off its condition {found[1]}: costs can be "
                "counted only for loops of fixed length, as lax.scan makes them."
            )
        index, limit = counter
        return max(0, limit - self._first(computation, loop, index))

    def _counter(self, condition: Computation) -> tuple[int, int] | None:
        """(which element of the loop's tuple is counted, up to which constant)."""
        index = limit = None
        less_than = any("direction=LT" in one.attributes for one in condition.instructions) or any(
            "direction=LT" in inner.attributes
            for one in condition.instructions
            if one.opcode == "fusion"
            for _, inner in self.fused(one)
        )
        for one in condition.instructions:
            if one.opcode == "constant" and one.shapes[0].dims == ():
                limit = int(one.arguments) if re.fullmatch(r"-?\d+", one.arguments) else None
            if one.opcode == "get-tuple-element":
                index = int(one.attribute("index") or 0)
        return None if index is None or limit is None or not less_than else (index, limit)

    def _first(self, computation: Computation, loop: Instruction, index: int) -> int:
        """The value with which the counter enters the loop; 0 where it is not a constant, as in `lax.scan`."""
        (start,) = computation.operands(loop) or (None,)
        for _ in range(8):
            if start is None:
                return 0
            if start.opcode == "tuple":
                start = computation.by_name.get(start.operands[index])
            elif start.opcode in ("copy", "bitcast", "convert"):
                start = computation.by_name.get(start.operands[0])
            else:
                break
        is_number = start is not None and start.opcode == "constant" and start.arguments.isdigit()
        return int(start.arguments) if start is not None and is_number else 0


def parse_hlo(text: str) -> Program:
    """The program in the text that `compiled.as_text()` returns.

    Raises ValueError for text without an entry computation.
    """
    computations: dict[str, Computation] = {}
    entry, name, lines = "", "", list[Instruction]()
    for line in text.splitlines():
        start = _COMPUTATION.match(line)
        if start is not None:
            name, lines = start[2], []
            entry = name if start[1] else entry
        elif line.startswith("}") and name:
            computations[name] = Computation(name, tuple(lines))
            name = ""
        elif name:
            instruction = _instruction(line)
            if instruction is not None:
                lines.append(instruction)
    if not entry:
        raise ValueError("this is no compiled program: it has no ENTRY computation.")
    return Program(computations, entry, "is_scheduled=true" in text[:2000], _frames(text))


def _frames(text: str) -> dict[int, tuple[str, int]]:
    """The tables of stack frames in front of the computations; empty where the text has none."""

    def table(name: str, row: str) -> dict[int, tuple[str, ...]]:
        found = re.search(rf"^{name}\n((?:\d+ .*\n)+)", text, re.MULTILINE)
        lines = re.finditer(rf"^(\d+) {row}", found[1], re.MULTILINE) if found is not None else ()
        return {int(line[1]): line.groups()[1:] for line in lines}

    files = table("FileNames", '"(.*)"$')
    places = table("FileLocations", r"\{file_name_id=(\d+) .*?line=(\d+) ")
    frames = table("StackFrames", r"\{file_location_id=(\d+) parent_frame_id=(\d+)")
    found: dict[int, tuple[str, int]] = {}
    for number, (place, parent) in frames.items():
        file, line = places[int(place)]
        found[number] = f"{files[int(file)][0]}:{line}", int(parent) - 1
    return found


def _instruction(line: str) -> Instruction | None:
    head = _LINE.match(line)
    if head is None:
        return None
    start = head.end()
    end = _closing(line, start) + 1 if line[start] == "(" else line.index(" ", start)
    shapes = tuple(_shape(match) for match in _ARRAY.finditer(line, start, end))
    opening = line.index("(", end)
    closing = _closing(line, opening)
    inside = line[opening + 1 : closing]
    operands = tuple(_OPERAND.findall(re.sub(r"/\*.*?\*/", "", _without_types(inside))))
    return Instruction(
        name=head[2],
        shapes=shapes,
        opcode=line[end:opening].strip(),
        operands=operands,
        arguments=inside,
        attributes=line[closing + 1 :],
        is_root=head[1] is not None,
    )


def _without_types(inside: str) -> str:
    """Operand names alone: some versions print each one behind its type."""
    return re.sub(r"[a-z][a-z0-9]*\[[0-9,]*\](\{[^{}]*\})?\s+", "", inside)


def _shape(match: re.Match[str]) -> Shape:
    dims = tuple(int(size) for size in match[2].split(",") if size)
    return Shape(match[1], dims, in_hbm=re.search(r"S\([1-9]\d*\)", match[3] or "") is None)


def _closing(line: str, opening: int) -> int:
    """The index of the parenthesis that closes the one at `opening`."""
    depth = 0
    for place in range(opening, len(line)):
        if line[place] == "(":
            depth += 1
        elif line[place] == ")":
            depth -= 1
            if depth == 0:
                return place
    raise ValueError(f"unbalanced parentheses in {line[:80]!r}")
