"""Before several hosts train together: the same code, recipe, flags and data on all of them, and one run folder."""

import dataclasses
import hashlib
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import jax

import laminate
from laminate.parallel.hosts import gather, host_names, is_first, of_first
from laminate.recipes.families import to_tree
from laminate.recipes.family import Recipe
from laminate.recipes.flags import RunFlags
from laminate.train.durable import differences
from laminate.train.run_folder import RunFolder

# What may differ between the hosts, or is compared by what it leads to.
_OWN = {"coordinator", "hosts", "host", "distributed", "data", "data_workers", "experiment", "recipe"}
_SHOWN = 4  # differences, of each of as many hosts, in the message
_VISIBLE = 20.0  # seconds in which a file has to reach the other hosts over a network disk


def facts(flags: RunFlags, recipe: Recipe) -> dict[str, Any]:
    """What has to be the same on all hosts before any of them opens its data or devices."""
    stated = {
        f"--{name.replace('_', '-')}": value
        for name, value in dataclasses.asdict(flags).items()
        if name not in _OWN
    }
    return {
        "recipe": to_tree(recipe),
        "versions": {
            "laminate": laminate.__version__,
            "jax": jax.__version__,
            "python": platform.python_version(),
        },
        "code": _digests(),
        **json.loads(json.dumps(stated, default=str)),
    }


def _digests() -> dict[str, str]:
    """Of every source file of the package, and of the program that runs it."""
    package = Path(laminate.__file__).parent
    files = {str(path.relative_to(package)): path for path in sorted(package.rglob("*.py"))}
    program = Path(sys.argv[0])
    if program.is_file():
        files[program.name] = program
    return {name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for name, path in files.items()}


def require_same(topic: str, mine: dict[str, Any]) -> None:
    """All hosts come here with their facts.

    Raises ValueError on every one of them, with what differs on which, unless the facts are the same.
    """
    told = [json.loads(text) for text in gather(topic, json.dumps(mine))]
    names = host_names()
    found = [
        (name, differences(told[0], theirs, names=(names[0], name)))
        for name, theirs in zip(names, told, strict=True)
    ]
    differing = [lines for _, lines in found if lines]
    if differing:
        shown = "; ".join(_few(lines) for lines in differing[:_SHOWN])
        more = f" (and {len(differing) - _SHOWN} more hosts)" if len(differing) > _SHOWN else ""
        raise ValueError(
            f"the hosts do not start the same training: {shown}{more}. Give every host the same commit, command and "
            "data; tpu/launch.sh does"
        )


def _few(lines: list[str]) -> str:
    more = f" (and {len(lines) - _SHOWN} more)" if len(lines) > _SHOWN else ""
    return ", ".join(lines[:_SHOWN]) + more


def require_shared(folder: RunFolder) -> None:
    """All hosts come here when the first has opened the run folder.

    Raises ValueError on a host that does not see what the first one wrote there.
    """
    token = of_first("run folder", folder.holder() if is_first() else "")
    end = time.monotonic() + _VISIBLE
    while folder.holder() != token:
        if time.monotonic() > end:
            raise ValueError(
                f"the run folder {folder.path} of this host is not that of the first host: checkpoints are written by "
                "all hosts, so --run-dir must be on a disk that they share, or gs://BUCKET/PATH"
            )
        time.sleep(0.5)
