"""Hosts that meet and take steps together without end: each step is one collective over all of them.

    steps.py SECONDS-OF-THE-WATCHDOG

The environment variable FAULT names what goes wrong in this process at step 4.
"""

import os
import sys
import time

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from laminate.parallel.cluster import find_place
from laminate.parallel.hosts import check, host_count, start, watched
from laminate.parallel.mesh import MeshShape, build_mesh, prepare_devices


def go_wrong() -> None:
    if os.environ["FAULT"] == "raises":
        raise ZeroDivisionError("a fault of the program")
    if os.environ["FAULT"] == "is stuck":
        time.sleep(600)


def main() -> None:
    start(find_place(required=True))
    shape, _ = prepare_devices(MeshShape(host_count()))
    mesh = build_mesh(shape)
    ones = jax.device_put(jnp.ones(shape.devices), NamedSharding(mesh, PartitionSpec("data")))
    total = jax.jit(jnp.sum, out_shardings=NamedSharding(mesh, PartitionSpec()))
    with watched(float(sys.argv[1])):
        for step in range(10**6):
            check("")
            assert float(total(ones)) == shape.devices
            sys.stderr.write(f"step {step}\n")
            if step == 4:
                go_wrong()
            time.sleep(0.05)


if __name__ == "__main__":
    main()
