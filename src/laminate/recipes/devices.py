"""The devices and hosts on which a command runs."""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from laminate.parallel.cluster import find_place
from laminate.parallel.hosts import start
from laminate.parallel.mesh import MeshShape, parse_mesh, prepare_devices
from laminate.recipes.flags import AutoRemat, Precision, Remat

DEEP = 4  # layers from which on computing them again is the faster way on a CPU


@runtime_checkable
class Where(Protocol):
    """The flags that say on which devices and hosts a command runs."""

    @property
    def mesh(self) -> str: ...
    @property
    def coordinator(self) -> str | None: ...
    @property
    def hosts(self) -> int | None: ...
    @property
    def host(self) -> int | None: ...
    @property
    def distributed(self) -> bool: ...


def open_devices(flags: Where) -> tuple[MeshShape, str]:
    """Meet the other hosts, start the devices; the mesh's shape, and a sentence for the log.

    For a command that has arrays before its training opens: simulated devices are made when JAX starts.

    Raises ValueError if the mesh does not fit them, OSError if the hosts do not meet.
    """
    shape = parse_mesh(flags.mesh)
    start(find_place(flags.coordinator, flags.hosts, flags.host, required=flags.distributed))
    return prepare_devices(shape)


def compute_dtype(precision: Precision) -> jnp.dtype:
    """What `--precision` says; on these devices, for `auto`."""
    if precision != "auto":
        return jnp.dtype(precision)
    return jnp.dtype(jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16)


def computed_again(remat: AutoRemat, layers: int) -> Remat:
    """What `--remat` says for a network of so many layers; on these devices, for `auto`.

    On a CPU, keeping what each layer computed costs more time than computing it again; of few layers that is nothing.
    """
    if remat != "auto":
        return remat
    return "block" if jax.default_backend() == "cpu" and layers >= DEEP else "none"
