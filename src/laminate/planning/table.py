"""A plan for a person to read: one table on the terminal."""

import math

from rich.console import Console
from rich.table import Table

from laminate.planning.kernels import SHARE, Kernels
from laminate.planning.plan import Measured, Plan

GIB, MIB = 2**30, 2**20
PlanRow = tuple[str, str]


def gib(count: int) -> str:
    """Bytes of memory for a person."""
    return f"{count / GIB:.2f} GiB" if count >= 0.1 * GIB else f"{count / MIB:.1f} MiB"


def si(count: int, unit: str) -> str:
    """A count for a person: at least one digit before the point, `12.3 GB` or `45.6 MB`."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if count >= size:
            return f"{count / size:.2f} {prefix}{unit}"
    return f"{count / 1e3:.2f} k{unit}"


def ms(seconds: float) -> str:
    """Seconds for a person."""
    return f"{1000 * seconds:.1f} ms" if seconds >= 1e-4 else f"{1000 * seconds:.3f} ms"


def rows(plan: Plan, *, loader_rate: float | None = None) -> list[PlanRow]:
    """Name and value of everything in the table. `loader_rate` is what one core's loader makes, images per second."""
    setting = plan.setting
    parts = "" if setting.micro_batches == 1 else f" in {setting.micro_batches} parts"
    share = setting.global_batch_size // setting.mesh.devices
    return [
        (
            "slice",
            f"{plan.topology}, {plan.hosts} hosts; mesh {setting.mesh} (data x fsdp), remat {setting.remat}",
        ),
        ("batch", f"{setting.global_batch_size} images, {share} on each device{parts}"),
        ("parameters", f"{plan.parameters / 1e6:.1f} million"),
        *([("left out", plan.note)] if plan.note else []),
        *_memory(plan),
        *([] if plan.measured is None else _work(plan, plan.measured, loader_rate)),
    ]


def _memory(plan: Plan) -> list[PlanRow]:
    held = plan.held
    verdict = "fits" if plan.fits else "DOES NOT FIT"
    lines = [
        ("memory of one device", f"{gib(plan.needed_bytes)} of {gib(plan.capacity_bytes)}: {verdict}"),
        ("  parameters", gib(held.parameters)),
        ("  optimiser", gib(held.optimizer)),
        ("  average (EMA)", gib(held.average)),
        ("  frozen networks", gib(held.frozen)),
        ("  batch", gib(held.batch)),
    ]
    if plan.measured is None:
        return [*lines, ("  temporaries", gib(plan.needed_bytes - held.total))]
    return [
        *lines,
        ("  activations, gradients", gib(plan.measured.activation_bytes)),
        ("  results of collectives", gib(plan.measured.gathered_bytes)),
    ]


def _work(plan: Plan, measured: Measured, loader_rate: float | None) -> list[PlanRow]:
    lines = measured.roofline
    recomputed = measured.recomputed_flops / max(1, measured.flops)
    table = [
        (
            "operations",
            f"{si(measured.flops, 'FLOP')} a step and device, {recomputed:.1%} of it computed again",
        ),
        ("memory traffic", si(measured.traffic_bytes, "B")),
        (
            "collectives",
            f"{si(measured.collective_bytes, 'B')}, {measured.overlapped:.0%} beside compute",
        ),
        *(
            (
                f"  {one.kind}",
                f"{one.count} of {si(one.bytes, 'B')} in all, {one.overlapped:.0%} beside compute",
            )
            for one in measured.collectives
        ),
        ("  in loops", _in_loops(measured)),
        ("  waited for in loops", _waited(measured.blocking)),
    ]
    if plan.topology[0].isdigit():
        table.append(("  between slices", si(measured.crossing_bytes, "B")))
    scheduled = "" if lines.scheduled is None else f", scheduled {ms(lines.scheduled)}"
    scheduled += f", kernels {ms(lines.kernels)}" if lines.kernels else ""
    network = f", network {ms(lines.network)}" if lines.network else ""
    return [
        *table,
        *([("kernels written by hand", _kernels(measured.kernels))] if measured.kernels.runs else []),
        (
            "at least",
            f"compute {ms(lines.compute)}, memory {ms(lines.memory)}, interconnect {ms(lines.interconnect)}{network}"
            f": {lines.binds} binds",
        ),
        ("estimated step", f"{ms(lines.step)}{scheduled}, waiting for collectives {ms(lines.waiting)}"),
        ("images", _images(plan, loader_rate)),
        (
            "compilation",
            f"{measured.compile_seconds:.0f} s ({measured.compile_cpu_seconds:.0f} s of CPU), after "
            f"{measured.trace_seconds:.1f} s of tracing",
        ),
    ]


def _kernels(kernels: Kernels) -> str:
    runs = ", ".join(f"{name} {times} times" for name, times in kernels.runs.items())
    unstated = f"; {', '.join(kernels.unstated)} by bytes alone" if kernels.unstated else ""
    return (
        f"{runs}: at least {ms(kernels.least)} by their products and bytes, estimated as {ms(kernels.seconds)} with "
        f"products at {SHARE:.0%} of the peak{unstated}; the schedule leaves them out"
    )


def _waited(blocking: tuple[str, ...], most: int = 3) -> str:
    """The first few of what is waited for, and how many more there are."""
    if not blocking:
        return "none above 1 MiB"
    more = f"; {len(blocking) - most} more" if len(blocking) > most else ""
    return "; ".join(blocking[:most]) + more


def _in_loops(measured: Measured) -> str:
    if measured.bytes_in_loops == 0:
        return "none"
    return f"{si(measured.bytes_in_loops, 'B')}, {measured.overlapped_in_loops:.0%} beside compute"


def _images(plan: Plan, loader_rate: float | None) -> str:
    need = plan.images_per_second_and_host
    text = f"{plan.images_per_second:,.0f} a second, {need:,.0f} for each host"
    if loader_rate is None:
        return text
    return f"{text}: {need / loader_rate:.1f} cores of this machine, of {loader_rate:,.0f} each"


def show(plan: Plan, console: Console, *, loader_rate: float | None = None) -> None:
    """The table on `console`."""
    table = Table(title=f"{plan.name} on {plan.topology}", show_header=False, title_justify="left", box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows(plan, loader_rate=loader_rate):
        table.add_row(name, value)
    console.print(table)


def show_top(plan: Plan, console: Console) -> None:
    """The instructions that take most of the schedule, on `console`."""
    measured = plan.measured
    if measured is None or not measured.top:
        return
    lines = measured.roofline
    whole = math.inf if lines.scheduled is None else lines.scheduled + lines.kernels
    table = Table(title="What takes most of the schedule", title_justify="left", box=None)
    for name in ("ms", "of all", "times", "products", "memory", "binds", "place", "traced as"):
        table.add_column(
            name, justify="right" if name in ("ms", "of all", "times") else "left", overflow="fold"
        )
    for one in measured.top:
        shares = (f"{one.seconds / whole:.1%}", str(one.times), f"{one.products:.0%}", f"{one.memory:.0%}")
        named = f"{one.name} {one.scope}" + (" (kernel: estimate)" if one.opcode == "custom-call" else "")
        table.add_row(f"{1000 * one.seconds:.2f}", *shares, one.binds, one.place, named)
    console.print(table)


def markdown(plan: Plan, *, loader_rate: float | None = None) -> str:
    """The same table in Markdown."""
    lines = [f"| {_indented(name)} | {value} |" for name, value in rows(plan, loader_rate=loader_rate)]
    return "\n".join(["| | |", "|---|---|", *lines])


def _indented(name: str) -> str:
    """`name` with its indentation, which a cell would lose, and with it what tells one row from another."""
    text = name.lstrip()
    return "· " * ((len(name) - len(text)) // 2) + text
