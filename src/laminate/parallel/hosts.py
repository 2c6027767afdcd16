"""The processes of one training: one on each host of a pod, a single one on a laptop."""

import jax


def start(distributed: bool) -> None:
    """Join the other processes, found by what the TPU or Slurm environment says. Must come before any device use."""
    if distributed:
        jax.distributed.initialize()


def host_index() -> int:
    """The number of this process, from 0."""
    return jax.process_index()


def host_count() -> int:
    """How many processes train together."""
    return jax.process_count()


def is_first() -> bool:
    """Whether this process writes the logs and pictures."""
    return jax.process_index() == 0
