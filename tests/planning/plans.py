"""A plan that was not compiled, for tests of what is made from one."""

from laminate.parallel.mesh import MeshShape
from laminate.planning.collectives import CollectiveSummary
from laminate.planning.memory import Held
from laminate.planning.plan import Measured, Plan, Setting
from laminate.planning.roofline import Roofline

GIB = 2**30
MEASURED = Measured(
    peak_bytes=6 * GIB,
    temporary_bytes=4 * GIB,
    gathered_bytes=GIB // 2,
    flops=15 * 10**12,
    recomputed_flops=3 * 10**12,
    traffic_bytes=87 * 10**9,
    collectives=(
        CollectiveSummary("all-gather", 367, 2 * 10**9, 0.95),
        CollectiveSummary("all-reduce", 7, 10**9, 0.0),
    ),
    collective_bytes=3 * 10**9,
    overlapped=0.63,
    bytes_in_loops=2 * 10**9,
    overlapped_in_loops=0.97,
    blocking=("all-gather of 3.4 MiB, 12 times",),
    crossing_bytes=10**9,
    roofline=Roofline(
        compute=0.076, memory=0.11, interconnect=0.06, network=0.02, waiting=0.03, scheduled=0.2
    ),
    trace_seconds=1.5,
    compile_seconds=60.0,
    compile_cpu_seconds=80.0,
)
FITS = Plan(
    name="long-32-bl-128",
    topology="2*v5e:4x8",
    hosts=16,
    setting=Setting(MeshShape(4, 8, 2), global_batch_size=1024, micro_batches=2, remat="dots"),
    parameters=518_000_000,
    held=Held(parameters=GIB // 4, optimizer=GIB // 2, average=0, frozen=0, batch=3 * 2**20),
    capacity_bytes=16 * GIB,
    needed_bytes=6 * GIB,
    measured=MEASURED,
)
