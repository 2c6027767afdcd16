"""The devices and hosts on which a command runs, and how it computes there."""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from laminate.parallel.cluster import find_place
from laminate.parallel.hosts import is_first, start
from laminate.parallel.mesh import MeshShape, parse_mesh, prepare_devices
from laminate.recipes.flags import AutoRemat, Precision
from laminate.recipes.network import AttentionKernel, Compute
from laminate.runs.exit_codes import say

DEEP = 4  # layers from which on computing them again is the faster way on a CPU


@runtime_checkable
class DeviceFlags(Protocol):
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


def open_devices(flags: DeviceFlags) -> tuple[MeshShape, str]:
    """Meet the other hosts, start the devices; the mesh's shape, and a sentence for the log.

    For a command that has arrays before its training opens: simulated devices are made when JAX starts.

    Raises ValueError if the mesh does not fit them, OSError if the hosts do not meet.
    """
    shape = parse_mesh(flags.mesh)
    start(find_place(flags.coordinator, flags.hosts, flags.host, required=flags.distributed))
    return prepare_devices(shape)


def compute_dtype(precision: Precision, *, float32: str = "") -> jnp.dtype:
    """What `--precision` says; on these devices, for `auto`.

    With a reason why it must be `float32` it is that, and another one that was asked for by name is answered.
    """
    if float32:
        if precision not in ("auto", "float32"):
            say(f"--precision {precision}: {float32}, so it is done in float32.", primary=is_first())
        return jnp.dtype(jnp.float32)
    if precision != "auto":
        return jnp.dtype(precision)
    return jnp.dtype(jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16)


def require_kernel(kernel: AttentionKernel) -> None:
    """Raises ValueError for the kernels of a TPU on other devices."""
    backend = jax.default_backend()
    if kernel == "pallas" and backend != "tpu":
        raise ValueError(
            f"--attention pallas (kernel='pallas') is for TPUs, and these devices are of kind {backend}: use xla"
            f"{' or cudnn' if backend == 'gpu' else ''}."
        )


def compute_on(
    precision: Precision, kernel: AttentionKernel = "xla", remat: AutoRemat = "none", float32: str = ""
) -> Compute:
    """How networks are computed on these devices; `float32` as in `compute_dtype`.

    `auto` computes layers again on a CPU, where keeping what each of them computed costs more time than computing it
    again; of few layers that is nothing. Elsewhere it is nothing here, and `runs.fitting` finds out what fits. Raises
    ValueError for a kernel that is not for these devices.
    """
    require_kernel(kernel)
    dtype = "float32" if compute_dtype(precision, float32=float32) == jnp.float32 else "bfloat16"
    if remat != "auto":
        return Compute(dtype, kernel, remat)
    if jax.default_backend() == "cpu":
        return Compute(dtype, kernel, "block", remat_from=DEEP)
    return Compute(dtype, kernel)
