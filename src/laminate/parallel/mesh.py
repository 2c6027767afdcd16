"""Device meshes: how `--mesh` is read, checked and built."""

import dataclasses
import math
import os
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from laminate.parallel.hosts import hosts_that_joined
from laminate.parallel.places import in_rings, places
from laminate.parallel.platforms import skip_missing_tpu

DATA = "data"
FSDP = "fsdp"
AXES = (DATA, FSDP)

# Simulated devices share the cores, so the first and the last may reach a collective minutes apart, and XLA ends a
# process whose devices waited 40 s.
PATIENCE = {
    "xla_cpu_collective_call_warn_stuck_timeout_seconds": 120,
    "xla_cpu_collective_call_terminate_timeout_seconds": 3600,
}


@dataclasses.dataclass(frozen=True)
class MeshShape:
    """`slices x data x fsdp`: parameters are cut over `fsdp` and copied over the other two.

    Slices are groups of devices joined by a slow network; only whole gradients cross it. The batch is cut over all
    three.
    """

    data: int
    fsdp: int = 1
    slices: int = 1

    def __post_init__(self) -> None:
        if min(self.data, self.fsdp, self.slices) < 1:
            raise ValueError(f"A mesh has at least one device along every axis, got {self}.")

    @property
    def devices(self) -> int:
        return self.slices * self.data * self.fsdp

    def __str__(self) -> str:
        prefix = f"{self.slices}x" if self.slices > 1 else ""
        return f"{prefix}{self.data}x{self.fsdp}"


def parse_mesh(text: str) -> MeshShape | None:
    """`8` (data), `4x8` (data x fsdp), `2x4x8` (slices x data x fsdp); None for `auto`.

    Raises ValueError for anything else.
    """
    if text == "auto":
        return None
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){0,2}", text):
        raise ValueError(
            f"--mesh {text!r} is no mesh: write 'auto', '8' (data), '4x8' (data x fsdp) or "
            "'2x4x8' (slices x data x fsdp)."
        )
    sizes = [int(size) for size in text.split("x")]
    if len(sizes) == 3:
        return MeshShape(slices=sizes[0], data=sizes[1], fsdp=sizes[2])
    return MeshShape(*sizes)


def prepare_devices(shape: MeshShape | None) -> tuple[MeshShape, str]:
    """The mesh shape to run on, and a sentence for the log. Starts the JAX backend.

    On a CPU, devices that the mesh asks for are simulated, on every host its share; this works only before JAX has
    started its backend. `None` takes every device for data parallelism. Raises ValueError if the mesh does not fit
    the devices or the hosts.
    """
    hosts = hosts_that_joined()
    if shape is not None:
        if shape.devices % hosts:
            raise ValueError(
                f"--mesh {shape} has {shape.devices} devices, which {hosts} hosts cannot share evenly: give a mesh of "
                f"a multiple of {hosts} devices."
            )
        _simulate(shape.devices // hosts)
    skip_missing_tpu()
    found = jax.devices()
    if shape is None:
        shape = MeshShape(data=len(found))
    kind = found[0].device_kind
    if found[0].platform == "cpu":
        _check_fit(shape, len(found), exact=hosts > 1)
        note = f"{shape.devices} simulated on the CPU" if shape.devices > 1 else "the CPU"
        return shape, note + _spread(hosts)
    _check_fit(shape, len(found), exact=True)
    return shape, f"{len(found)} x {kind}{_spread(hosts)}"


def local_mesh(shape: MeshShape | None) -> Mesh:
    """A mesh of devices of this host alone, all of them if `shape` is None: for work that hosts share out by hand.

    Devices are simulated as by `prepare_devices`. Raises ValueError if there are not so many.
    """
    if shape is not None:
        _simulate(shape.devices)
    skip_missing_tpu()
    found = jax.local_devices()
    shape = MeshShape(data=len(found)) if shape is None else shape
    _check_fit(shape, len(found), exact=False)
    grid = np.asarray(found[: shape.devices]).reshape(shape.slices * shape.data, shape.fsdp)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto, AxisType.Auto))


def _spread(hosts: int) -> str:
    return f" of {hosts} hosts" if hosts > 1 else ""


def _simulate(devices: int) -> None:
    """So many devices on the CPU of this host, which wait long for each other; what is set in `XLA_FLAGS` stays."""
    flags = os.environ.get("XLA_FLAGS", "")
    added = [f"--{name}={seconds}" for name, seconds in PATIENCE.items() if name not in flags]
    os.environ["XLA_FLAGS"] = " ".join([*flags.split(), *added])
    try:
        jax.config.update("jax_num_cpu_devices", devices)
    except RuntimeError:  # the backend runs already: what it has must do
        pass


def _check_fit(shape: MeshShape, count: int, *, exact: bool) -> None:
    if shape.devices == count or (not exact and shape.devices < count):
        return
    per_slice = count // shape.slices if count % shape.slices == 0 else count
    slices = shape.slices if count % shape.slices == 0 else 1
    divisors = [f for f in range(1, per_slice + 1) if per_slice % f == 0]
    near = sorted(divisors, key=lambda f: (abs(math.log(f / shape.fsdp)), f))[:3]
    options = ", ".join(str(MeshShape(per_slice // f, f, slices)) for f in near)
    raise ValueError(
        f"--mesh {shape} needs {shape.devices} devices and there are {count}. Meshes of {count} devices near it: "
        f"{options}."
    )


def build_mesh(shape: MeshShape, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh with axes `data` (slices major) and `fsdp`, laid out along the interconnect."""
    chosen = jax.devices() if devices is None else devices
    chosen = chosen[: shape.devices]
    if chosen[0].platform == "tpu":
        grid = _tpu_grid(shape, chosen)
    elif shape.slices > 1 and getattr(chosen[0], "slice_index", None) is not None:
        grid = mesh_utils.create_hybrid_device_mesh(
            (shape.data, shape.fsdp), (shape.slices, 1), devices=chosen, allow_split_physical_axes=True
        )
    elif chosen[0].platform == "cpu":
        grid = np.asarray(chosen).reshape(shape.slices * shape.data, shape.fsdp)
    else:
        grid = mesh_utils.create_device_mesh(
            (shape.slices * shape.data, shape.fsdp), devices=chosen, allow_split_physical_axes=True
        )
    return Mesh(grid, AXES, axis_types=(AxisType.Auto, AxisType.Auto))


def _tpu_grid(shape: MeshShape, chosen: Sequence[Any]) -> np.ndarray:
    """Slice after slice; in each, groups of `fsdp` devices in rings of neighbours where the slice has such rings."""
    of_slice: dict[int, list[Any]] = {}
    for device, place in zip(chosen, places(chosen), strict=True):
        of_slice.setdefault(place.slice_index, []).append(device)
    if shape.slices > 1 and len(of_slice) == shape.slices:
        within = MeshShape(shape.data, shape.fsdp)
        return np.concatenate([_tpu_grid(within, devices) for _, devices in sorted(of_slice.items())])
    rings = in_rings(chosen, shape.fsdp)
    if rings is not None:
        return rings
    return mesh_utils.create_device_mesh(
        (shape.slices * shape.data, shape.fsdp), devices=chosen, allow_split_physical_axes=True
    )


def is_tpu(mesh: Mesh) -> bool:
    """Whether the devices of `mesh` are TPUs, there or described."""
    return mesh.devices.flat[0].platform == "tpu"


# Gathers that go on while fusions compute: v5e has them by itself, v6e does not. And while element-wise fusions do, or
# the first weight of a layer is gathered while the core stands still: nothing else runs before its first product.
_TPU_OPTIONS = {
    "xla_enable_async_all_gather": "true",
    "xla_tpu_overlap_compute_collective_tc": "true",
    "xla_tpu_enable_async_collective_fusion": "true",
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": "true",
    "xla_tpu_enable_async_collective_fusion_multiple_steps": "true",
    "xla_tpu_enable_async_collective_fusion_fuse_kloop_fusions": "true",
}


def compiler_options(mesh: Mesh) -> dict[str, str] | None:
    """Options for every program that trains on `mesh`; None for the compiler's own."""
    return _TPU_OPTIONS if is_tpu(mesh) else None


def split_batch(global_batch_size: int, mesh_devices: int, device_batch_size: int | None) -> int:
    """The number of micro-batches that each device accumulates for one global batch.

    Raises ValueError if the global batch cannot be cut over the devices, or a device's share into micro-batches of
    `device_batch_size`, naming the nearest sizes that can.
    """
    if global_batch_size % mesh_devices:
        low = global_batch_size // mesh_devices * mesh_devices
        near = ", ".join(str(size) for size in (low, low + mesh_devices) if size > 0)
        raise ValueError(
            f"A global batch of {global_batch_size} cannot be cut over {mesh_devices} devices: the nearest sizes "
            f"that can are {near}."
        )
    share = global_batch_size // mesh_devices
    if device_batch_size is None:
        return 1
    if device_batch_size < 1 or share % device_batch_size:
        divisors = [size for size in range(1, share + 1) if share % size == 0]
        near = sorted(divisors, key=lambda size: (abs(size - device_batch_size), size))[:3]
        raise ValueError(
            f"A device's share of {share} examples cannot be cut into micro-batches of {device_batch_size}: use a "
            f"device batch of {', '.join(map(str, near))}."
        )
    return share // device_batch_size
