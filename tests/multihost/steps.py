"""Hosts that meet and take steps together without end: each step is one collective over all of them."""

import sys
import time

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from laminate.parallel.cluster import find_place
from laminate.parallel.hosts import check, host_count, start
from laminate.parallel.mesh import MeshShape, build_mesh, prepare_devices
from laminate.train.signals import stop_requests


def main() -> None:
    start(find_place(required=True))
    shape, _ = prepare_devices(MeshShape(host_count()))
    mesh = build_mesh(shape)
    ones = jax.device_put(jnp.ones(shape.devices), NamedSharding(mesh, PartitionSpec("data")))
    total = jax.jit(jnp.sum, out_shardings=NamedSharding(mesh, PartitionSpec()))
    with stop_requests(check) as stop:
        for step in range(10**6):
            if stop.poll():
                break
            assert float(total(ones)) == shape.devices
            sys.stderr.write(f"step {step}\n")
            time.sleep(0.05)


if __name__ == "__main__":
    main()
