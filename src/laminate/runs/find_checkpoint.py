"""The checkpoint that a path names: RUN, for its newest, or RUN/checkpoints/STEP."""

import os
from dataclasses import dataclass

from etils import epath

from laminate.parallel.hosts import any_host, barrier, is_first
from laminate.train.checkpoint import Checkpoints
from laminate.train.run_folder import RunFolder


@dataclass(frozen=True)
class NamedCheckpoint:
    """The checkpoints of a run, and the step that is meant."""

    checkpoints: Checkpoints
    step: int


def run_of(text: str) -> tuple[str, int | None]:
    """The run folder in RUN or RUN/checkpoints/STEP, and the step."""
    path = epath.Path(os.path.expanduser(text))
    if path.name.isdecimal() and path.parent.name == "checkpoints":
        return os.fspath(path.parent.parent), int(path.name)
    return text, None


def find_checkpoint(text: str, *, flag: str = "") -> NamedCheckpoint:
    """The checkpoint that `text` names.

    Raises FileNotFoundError, naming the `flag`, with the steps that there are.
    """
    run, step = run_of(text)
    folder = RunFolder(run).checkpoints_path
    checkpoints = Checkpoints(folder, recipe=None, primary=is_first(), barrier=barrier, any_host=any_host)
    steps = checkpoints.steps()
    if not steps or (step is not None and step not in steps):
        held = (
            f"{folder} holds the steps {', '.join(map(str, steps))}"
            if steps
            else f"there is none in {folder}"
        )
        raise FileNotFoundError(f"{flag}{' ' if flag else ''}{text}: there is no such checkpoint; {held}.")
    return NamedCheckpoint(checkpoints, steps[-1] if step is None else step)
