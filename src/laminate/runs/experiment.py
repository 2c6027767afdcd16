"""The files in `experiments/` as modules, for what is asked of them from outside: a plan, a first training."""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from laminate.recipes.family import Family
from laminate.runs.exit_codes import say
from laminate.runs.pretrained import exported


def load_experiment(script: str, *, beside: str | Path) -> ModuleType:
    """The module of the experiment `script`: a path, or the name of a file in the folder of `beside`.

    Raises ValueError if there is no such file.
    """
    path = Path(script) if "/" in script else Path(beside).resolve().parent / script
    if not path.is_file():
        raise ValueError(f"--script {script}: there is no {path}.")
    name = f"experiment_{path.stem}"
    if name in sys.modules and sys.modules[name].__file__ == str(path):
        return sys.modules[name]  # one that joins a family does so once
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for what it defines
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # one that is half made is not found the next time
        raise
    return module


def trained_first(
    given: str | None,
    family: Family[Any],
    flags: Any,
    *,
    beside: str | Path,
    what: str,
    unfinished_will_do: bool = False,
) -> str:
    """The place that `given` names; without one, the embedded run of `family`, which is trained first if need be.

    `flags` are those of the command that wants it: what a training shares with them is handed on. `what` is asked for
    in the message, `beside` the file in whose folder the experiments lie.

    Raises FileNotFoundError where several hosts run together, and SystemExit(0) if the training was stopped: it has
    said how to go on.
    """
    folder = f"runs/{family.names.default}"
    if given is not None:
        return given
    if exported(folder) != folder or (unfinished_will_do and Path(folder).exists()):
        return folder
    if flags.coordinator is not None or flags.distributed:
        raise FileNotFoundError(
            f"There is no {what} in {folder}: train one with {family.script}, or give --{what}."
        )
    say(
        f"There is no {what} in {folder} yet: {family.script} trains one first, on the emoji in the package.",
        primary=True,
    )
    known = {field.name for field in dataclasses.fields(family.flags)}
    shared = {
        field.name: getattr(flags, field.name)
        for field in dataclasses.fields(flags)
        if field.name in known & {"mesh", "data_workers", "decoder"}
    }
    training = family.flags(**shared)
    load_experiment(family.script, beside=beside).main(training, family.names.recipe(family.names.default))
    if exported(folder) == folder:
        raise SystemExit(0)
    return folder
