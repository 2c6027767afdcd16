"""One training step on one slice: what it holds, computes, moves and says, and what follows from that."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, runtime_checkable

import jax
from jax.sharding import Mesh
from jaxtyping import PyTree

from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.parallel.places import ChipPlace, places
from laminate.planning.chips import Topology
from laminate.planning.collectives import (
    Collective,
    CollectiveSummary,
    blocking_in_loops,
    find_collectives,
    overlapped_share,
    summarise_collectives,
)
from laminate.planning.compiled import Compiled, DoesNotFit, compile_step
from laminate.planning.devices import Slice
from laminate.planning.flops import count_flops
from laminate.planning.kept import stacked_bytes
from laminate.planning.kernels import NONE, Kernels, find_kernels
from laminate.planning.memory import Held, device_bytes, gathered_bytes
from laminate.planning.roofline import Roofline, roofline
from laminate.planning.top import Costly, most_costly
from laminate.planning.traffic import count_traffic
from laminate.train.state import GanState, TrainState

MIB = 2**20


@dataclass(frozen=True)
class Setting:
    """All that may be varied without changing what is trained, but for the batch: mesh, parts of the batch, remat."""

    mesh: MeshShape
    global_batch_size: int
    micro_batches: int
    remat: str

    @property
    def device_batch_size(self) -> int:
        """Images on one device at a time."""
        return self.global_batch_size // self.mesh.devices // self.micro_batches

    @property
    def choice(self) -> str:
        """The flags that change how it is computed and not what."""
        parts = "" if self.micro_batches == 1 else f" --device-batch-size {self.device_batch_size}"
        return f"--remat {self.remat}{parts}"

    def __str__(self) -> str:
        parts = "" if self.micro_batches == 1 else f" --device-batch-size {self.device_batch_size}"
        batch = f" --global-batch-size {self.global_batch_size}"
        return f"--mesh {self.mesh} --remat {self.remat}{batch}{parts}"


@dataclass(frozen=True)
class AbstractStep:
    """A jitted training step with the shapes, in their layout, that it is called on; `note` is what it leaves out."""

    step: Any
    state: TrainState
    frozen: PyTree
    batch: dict[str, Any]
    note: str = ""


@runtime_checkable
class MakeJob(Protocol):
    """The training step of an experiment in a setting, on a mesh of any devices."""

    def __call__(self, setting: Setting, mesh: Mesh, /) -> AbstractStep: ...


@dataclass(frozen=True)
class Measured:
    """What the compiled step of one device does. Bytes and operations are those of one step, times are seconds."""

    peak_bytes: int
    temporary_bytes: int
    gathered_bytes: int
    flops: int
    recomputed_flops: int
    traffic_bytes: int
    collectives: tuple[CollectiveSummary, ...]
    collective_bytes: int
    overlapped: float
    bytes_in_loops: int
    overlapped_in_loops: float
    blocking: tuple[str, ...]
    crossing_bytes: int
    roofline: Roofline
    trace_seconds: float
    compile_seconds: float
    compile_cpu_seconds: float
    top: tuple[Costly, ...] = ()
    kernels: Kernels = NONE

    @property
    def activation_bytes(self) -> int:
        """Temporaries other than what collectives leave: activations, gradients, the compiler's own."""
        return max(0, self.temporary_bytes - self.gathered_bytes)


@dataclass(frozen=True)
class Plan:
    """The answer for one setting. `measured` is None where it does not fit, `needed_bytes` then says by how much.

    `needed_bytes` of what does not fit is the compiler's count of temporaries and arguments.
    """

    name: str
    topology: str
    hosts: int
    setting: Setting
    parameters: int
    held: Held
    capacity_bytes: int
    needed_bytes: int
    measured: Measured | None
    note: str = ""

    @property
    def fits(self) -> bool:
        return self.measured is not None

    @property
    def images_per_second(self) -> float:
        """Of the whole slice, by the estimate of a step; 0 where it does not fit."""
        return 0.0 if self.measured is None else self.setting.global_batch_size / self.measured.roofline.step

    @property
    def images_per_second_and_host(self) -> float:
        """What the input pipeline of one host must deliver."""
        return self.images_per_second / self.hosts

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON; derived figures beside the ones they come from."""
        written: dict[str, Any] = {
            **asdict(self),
            "fits": self.fits,
            "images_per_second": self.images_per_second,
        }
        if self.measured is not None:
            lines = self.measured.roofline
            written["measured"]["roofline"] |= {
                "binds": lines.binds,
                "least": lines.least,
                "step": lines.step,
            }
        return written


def make_plan(name: str, place: Slice, setting: Setting, make_job: MakeJob, *, top: int = 0) -> Plan:
    """Compile the step of `make_job` in `setting` for the devices of `place`, and read the result, with the `top`
    instructions of its schedule.

    Raises ValueError if the mesh needs another number of devices than there are.
    """
    plan = uncompiled(name, place, setting, make_job)
    mesh = build_mesh(setting.mesh, place.devices)
    job = make_job(setting, mesh)
    try:
        compiled = compile_step(job.step, job.state, job.frozen, job.batch)
    except DoesNotFit as error:
        return replace(plan, capacity_bytes=error.capacity, needed_bytes=error.needed + plan.held.total)
    return replace(
        plan,
        needed_bytes=compiled.peak,
        measured=measure(compiled, place.topology, places(mesh.devices.flat), top=top),
    )


def uncompiled(name: str, place: Slice, setting: Setting, make_job: MakeJob) -> Plan:
    """What is known of a setting before it is compiled: what a device holds between steps, which is all it needs so
    far. Raises as `make_plan`."""
    if setting.mesh.devices != len(place.devices):
        raise ValueError(
            f"--mesh {setting.mesh} has {setting.mesh.devices} devices and {place.topology} has {len(place.devices)}."
        )
    job = make_job(setting, build_mesh(setting.mesh, place.devices))
    held, parameters = held_of(job)
    return Plan(
        name=name,
        topology=str(place.topology),
        hosts=place.hosts,
        setting=setting,
        parameters=parameters,
        held=held,
        capacity_bytes=int(place.topology.chip.of_device(float(place.topology.chip.hbm_bytes))),
        needed_bytes=held.total,
        measured=None,
        note=job.note,
    )


def least_bytes(place: Slice, setting: Setting, make_job: MakeJob) -> tuple[int, int]:
    """Bytes that a device holds between steps, and those that it needs at least, without compiling anything."""
    return least_of(make_job(setting, build_mesh(setting.mesh, place.devices)))


def least_of(job: AbstractStep) -> tuple[int, int]:
    """As `least_bytes`, of a step that is made."""
    held = held_of(job)[0].total
    return held, held + stacked_bytes(job.step.trace(job.state, job.frozen, job.batch).jaxpr)


def held_of(job: AbstractStep) -> tuple[Held, int]:
    """Bytes that are held on one device, and the number of trained parameters on all of them, of both players."""
    players = [job.state, *([job.state.discriminator] if isinstance(job.state, GanState) else [])]
    held = Held(
        parameters=device_bytes([(one.params, one.buffers) for one in players]),
        optimizer=device_bytes([(one.opt_state, one.step, one.key) for one in players]),
        average=device_bytes([one.ema for one in players]),
        frozen=device_bytes(job.frozen),
        batch=device_bytes(job.batch),
    )
    return held, sum(leaf.size for leaf in jax.tree.leaves([one.params for one in players]))


def measure(compiled: Compiled, topology: Topology, standing: list[ChipPlace], *, top: int = 0) -> Measured:
    """Counts and times, read from the program, and its `top` instructions.

    `standing` are the devices in the order of the mesh.
    """
    program = compiled.program
    collectives = find_collectives(program)
    flops, traffic = count_flops(program), count_traffic(program)
    kernels = find_kernels(program, topology.chip)
    lines = roofline(
        program,
        collectives,
        topology,
        standing,
        flops=flops.total,
        traffic=traffic,
        kernels=kernels.seconds,
    )
    return Measured(
        peak_bytes=compiled.peak,
        temporary_bytes=compiled.temporaries,
        gathered_bytes=gathered_bytes(program),
        flops=flops.total,
        recomputed_flops=flops.recomputed,
        traffic_bytes=traffic,
        collectives=tuple(summarise_collectives(collectives)),
        collective_bytes=_bytes(collectives, lambda one: True),
        overlapped=overlapped_share(collectives),
        bytes_in_loops=_bytes(collectives, lambda one: one.in_loop),
        overlapped_in_loops=overlapped_share([one for one in collectives if one.in_loop]),
        blocking=tuple(
            f"{one.kind} of {one.bytes / MIB:.1f} MiB, {one.times} times"
            for one in blocking_in_loops(collectives, above=MIB)
        ),
        crossing_bytes=_bytes(collectives, lambda one: one.network),
        roofline=lines,
        trace_seconds=compiled.trace_seconds,
        compile_seconds=compiled.compile_seconds,
        compile_cpu_seconds=compiled.cpu_seconds,
        top=most_costly(program, topology.chip, top),
        kernels=kernels,
    )


def _bytes(collectives: list[Collective], chosen: Callable[[Collective], bool]) -> int:
    return sum(one.total_bytes for one in collectives if chosen(one))
