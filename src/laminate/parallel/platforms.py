"""Which kinds of devices JAX looks for: no TPU where there is none.

With libtpu installed (`laminate.planning` compiles with it) JAX starts it on every machine to find out whether there is
a TPU. Where there is none it writes warnings, or waits for a metadata server that does not answer.
"""

from typing import Any

import jax
from jax._src import hardware_utils, xla_bridge  # pyright: ignore[reportPrivateUsage]
from jax.extend.backend import register_backend_factory

from laminate.parallel.signs import says_tpu


def may_have_tpu() -> bool:
    """Whether anything says that this process has a TPU: a chip on the PCI bus, a device file, or a variable."""
    return hardware_utils.num_available_tpu_chips_and_device_id()[0] > 0 or says_tpu()


def skip_missing_tpu() -> None:
    """Do not look for a TPU on a machine without one. Comes before JAX starts its backend; afterwards it does nothing.

    All other platforms are looked for as ever, a GPU before the CPU. Where the user names platforms (`JAX_PLATFORMS`),
    those are taken.
    """
    if _named() or xla_bridge.backends_are_initialized() or may_have_tpu():
        return
    # Not by `jax_platforms`: JAX ends if a platform that is named there is not found, and looks for no other.
    register_backend_factory("tpu", _no_tpu, priority=300, fail_quietly=True)


def _named() -> str | None:
    return jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]


def _no_tpu() -> Any:
    raise RuntimeError("there is no TPU on this machine; JAX_PLATFORMS=tpu has it looked for all the same")
