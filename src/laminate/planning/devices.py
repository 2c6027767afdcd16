"""Devices that are described, not there: enough to lay out a mesh and to compile for it."""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import jax
from jax.experimental import topologies

from laminate.parallel.places import places
from laminate.planning.chips import Topology

INSTALL = "pip install -e '.[tpu]'"
# What the compiler would otherwise ask the machine it runs on, which has no TPU; and that it need not be alone there,
# since it takes no device. What the user has set stays.
DESCRIBED = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-32",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}


class CompilerMissing(FileNotFoundError):
    """The TPU compiler is not installed."""


@dataclass(frozen=True)
class Slice:
    """The devices of a topology, which can be compiled for; `hosts` run them. `kind` is the compiler's name."""

    topology: Topology
    devices: tuple[Any, ...]

    @property
    def hosts(self) -> int:
        return len({place.host for place in places(self.devices)})


def has_compiler() -> bool:
    """Whether libtpu can be imported here."""
    return find_spec("libtpu") is not None


def describe_slice(topology: Topology) -> Slice:
    """The devices of `topology`. The process's own backend should be the CPU; no accelerator is touched.

    Raises:
        CompilerMissing: libtpu is not installed.
        ValueError: the compiler knows no such slice.
    """
    if not has_compiler():
        raise CompilerMissing(
            f"compiling for {topology} needs the TPU compiler, libtpu, which is not installed (it needs no TPU): "
            f"{INSTALL}"
        )
    for name, value in DESCRIBED.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {}
    if topology.chip.compiled_as:
        options["chip_config_name"] = topology.chip.compiled_as
    if topology.slices > 1:
        options["num_slices"] = topology.slices
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=topology.layout, **options)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0].removeprefix("INVALID_ARGUMENT: ")
        raise ValueError(f"--topology {topology}: the TPU compiler knows no such slice: {reason}") from error
    return Slice(topology, tuple(found.devices))
