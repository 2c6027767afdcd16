"""What a machine says of its accelerators, before JAX is imported."""

import os
from collections.abc import Mapping
from pathlib import Path

# Set by those who run JAX on a TPU, which need not be one of the devices of this machine.
_TELLING = (
    "JAX_FORCE_TPU_INIT",
    "TPU_NAME",
    "TPU_ACCELERATOR_TYPE",
    "TPU_WORKER_ID",
    "TPU_WORKER_HOSTNAMES",
    "TPU_PROCESS_ADDRESSES",
    "TPU_VISIBLE_CHIPS",
    "TPU_VISIBLE_DEVICES",
)
_TPU_FILES = ("accel[0-9]*", "vfio/[0-9]*")
_GPU_FILES = ("nvidia[0-9]*", "kfd")
_DEVICES = Path("/dev")


def says_tpu(environment: Mapping[str, str] = os.environ, devices: Path = _DEVICES) -> bool:
    """Whether a device file or a variable says that this process has a TPU."""
    return any(name in environment for name in _TELLING) or _any_file(devices, _TPU_FILES)


def computes_on_cpu(environment: Mapping[str, str] = os.environ, devices: Path = _DEVICES) -> bool:
    """Whether JAX will compute on the CPU: it is named alone, or nothing says that there is an accelerator."""
    named = environment.get("JAX_PLATFORMS")
    return named == "cpu" or not (named or says_tpu(environment, devices) or _any_file(devices, _GPU_FILES))


def _any_file(devices: Path, patterns: tuple[str, ...]) -> bool:
    return any(True for pattern in patterns for _ in devices.glob(pattern))
