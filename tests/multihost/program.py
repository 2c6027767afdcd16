"""Trainings as a user starts them, one after the other in one process, and a fault where a test wants one.

    program.py vae FLAGS... [--then fsq FLAGS...]

The environment variable FAULT names what goes wrong in this process.
"""

import os
import signal
import sys
import time

from laminate.cli.command import training_command
from laminate.data import loader
from laminate.runs.setup import Run
from laminate.train import checkpoint
from tests.experiments.jobs import FAMILIES, experiment


def hang_in_reading() -> None:
    inner, count = loader.load_or_next, []

    def load(*arguments):
        count.append(1)
        if len(count) > 16:
            time.sleep(600)
        return inner(*arguments)

    loader.load_or_next = load


def die_in_save(number: int) -> None:
    """Once the first host, which may be slower, has begun to write as well."""
    inner, count = checkpoint.save_arrays, []

    def save(place, *arguments):
        written = inner(place, *arguments)
        count.append(1)
        if len(count) == number:
            while not any(place.parent.glob(f"{place.name}*")):
                time.sleep(0.005)
            os.kill(os.getpid(), signal.SIGKILL)
        return written

    checkpoint.save_arrays = save


def validate_for_ever() -> None:
    inner = Run.evaluation_batches

    def batches(self, records, view=None):
        while True:
            yield from inner(self, records, view)

    Run.evaluation_batches = batches


FAULTS = {
    "": lambda: None,
    "hangs in reading": hang_in_reading,
    "validates for ever": validate_for_ever,
    "dies in its second save": lambda: die_in_save(2),
}


def main() -> None:
    FAULTS[os.environ["FAULT"]]()
    jobs, arguments = [], []
    for argument in [*sys.argv[1:], "--then"]:
        if argument == "--then":
            jobs.append(arguments)
            arguments = []
        else:
            arguments.append(argument)
    for family, *flags in jobs:
        experiment(family).main(*training_command(None, FAMILIES[family], arguments=flags))


if __name__ == "__main__":
    main()
