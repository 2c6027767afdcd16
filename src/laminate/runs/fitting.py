"""How a training on accelerators computes so that its step fits their memory: decided before the first step runs."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from typing import Any, cast

import jax
import numpy as np

from laminate.data.faults import load_or_next
from laminate.nn import recomputing
from laminate.parallel.hosts import is_first, of_first
from laminate.planning.compiled import DoesNotFit, compile_step
from laminate.planning.memory import Held
from laminate.planning.plan import AbstractStep, Setting, held_of, least_of
from laminate.planning.suggest import FASTEST, RESERVE, choices, first_with_room
from laminate.planning.table import gib
from laminate.recipes.families import to_tree
from laminate.recipes.family import Shapes
from laminate.recipes.network import Compute, Remat
from laminate.runs.exit_codes import say
from laminate.runs.plan_job import abstract_step
from laminate.runs.setup import Run
from laminate.runs.task import GanTask, Task
from laminate.storage.strict_json import JsonError, read_json
from laminate.storage.writing import write_atomically
from laminate.train.loop import OutOfMemory

FILE = "memory.json"
"""What was chosen, in the folder of the run, so that a run that goes on does not look for it again."""
MakeTask = Callable[[Any, Any, Compute], Task | GanTask]


@dataclasses.dataclass(frozen=True)
class Fit:
    """What one device needs in a setting that was compiled, in bytes."""

    setting: Setting
    held: Held
    needed_bytes: int
    capacity_bytes: int
    fits: bool


def fitted(run: Run, make_task: MakeTask) -> Run:
    """`run`, which on accelerators and with `--remat auto` computes in the fastest way that fits their memory.

    Looked for among what `planning.suggest.choices` names, by compiling the step of
    `make_task(recipe, frozen, compute)`, which is then the one that is trained with; found once for a recipe, mesh,
    batch, kind of device and versions, and noted in the run folder. With `--device-batch-size` the parts of the batch
    are those. On a CPU, and with any other `--remat`, nothing changes.

    Raises ValueError if none of them fits.
    """
    capacity = _capacity() if run.flags.remat == "auto" else None
    if capacity is None:
        return run
    first = Setting(run.shape, run.recipe.global_batch_size, run.micro_batches, FASTEST)
    key = _key(run, capacity)
    noted = of_first("memory", _noted(run, key) if is_first() else "")
    if noted:
        remat, parts = noted.split()
        return _computing(run, dataclasses.replace(first, remat=remat, micro_batches=int(parts)))
    chosen, step = cheapest(run, make_task, first, capacity)
    if chosen.setting != first:
        say(
            f"memory: {chosen.setting.choice} needs {gib(chosen.needed_bytes)} of the {gib(capacity)} of a device; "
            "what is faster does not fit",
            primary=is_first(),
        )
    if is_first():
        found = {"remat": chosen.setting.remat, "micro_batches": chosen.setting.micro_batches}
        write_atomically(
            run.folder.path / FILE,
            json.dumps({"key": key, **found, "needed_bytes": chosen.needed_bytes, "bytes": capacity}) + "\n",
        )
    return dataclasses.replace(_computing(run, chosen.setting), step=step)


def cheapest(run: Run, make_task: MakeTask, first: Setting, capacity: int) -> tuple[Fit, Any]:
    """The first setting from `first` on that fits `capacity` bytes, and its step. Raises ValueError if none does."""
    shapes, dtype = _example_shapes(run), run.compute.dtype

    @lru_cache(maxsize=1)
    def job(setting: Setting) -> AbstractStep:
        computing = _computing(run, setting)
        task = make_task(run.recipe, computing.frozen, computing.compute)
        return abstract_step(task, run.recipe, run.counts, setting, run.mesh, shapes=shapes, dtype=dtype)

    def compile_one(setting: Setting) -> Fit:
        made = job(setting)
        held = held_of(made)[0]
        try:
            needed = compile_step(made.step, made.state, made.frozen, made.batch).peak
        except DoesNotFit as error:
            return Fit(setting, held, error.needed + held.total, capacity, fits=False)
        return Fit(setting, held, needed, capacity, fits=needed <= capacity)

    cuts = run.flags.device_batch_size is None and not run.family.modules().whole_batch(run.recipe)
    found, compiled, ruled_out = first_with_room(
        choices(first, cuts_batch=cuts), compile_one, lambda one: least_of(job(one)), capacity=capacity
    )
    if found is not None:
        return found, job(found.setting).step
    needs = {**ruled_out, **{one.setting: one.needed_bytes for one in compiled}}
    setting = min(needs, key=lambda one: needs[one])
    raise ValueError(
        f"This training does not fit: {setting.choice} needs {gib(needs[setting])} of the {gib(capacity)} of a "
        f"device, of which {RESERVE:.0%} stay free. Cut the parameters over more devices (--mesh DATAxFSDP), or give "
        "a smaller --global-batch-size; --remat block goes ahead all the same."
    )


def out_of_memory(run: Run, error: RuntimeError) -> OutOfMemory | None:
    """What to say of a step that failed with `error`; None if that was no lack of memory."""
    if "RESOURCE_EXHAUSTED" not in str(error):
        return None
    setting = Setting(run.shape, run.recipe.global_batch_size, run.micro_batches, run.compute.remat)
    cuts = not run.family.modules().whole_batch(run.recipe)
    following = next((one for one in choices(setting, cuts_batch=cuts) if one != setting), None)
    mend = (
        "cut the parameters over more devices (--mesh DATAxFSDP), or give a smaller --global-batch-size"
        if following is None
        else f"the next choice is {following.choice}"
    )
    return OutOfMemory(
        f"A device is out of memory with {setting.choice}: {mend}. {str(error).splitlines()[0]}"
    )


def _computing(run: Run, setting: Setting) -> Run:
    compute = dataclasses.replace(run.compute, remat=cast(Remat, setting.remat), remat_from=0)
    frozen = recomputing(run.frozen, compute.remat_of)
    return dataclasses.replace(run, compute=compute, frozen=frozen, micro_batches=setting.micro_batches)


def _capacity() -> int | None:
    """Bytes of the smallest of the devices of this host; None where nothing is to be decided by them, as on a CPU."""
    if jax.default_backend() == "cpu":
        return None
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in jax.local_devices()]
    known = [limit for limit in limits if limit is not None]
    return min(known, default=None)


def _key(run: Run, capacity: int) -> str:
    """A hash of all that the choice depends on."""
    decides = {
        "recipe": to_tree(run.recipe),
        "mesh": str(run.shape),
        "parts": run.micro_batches if run.flags.device_batch_size is not None else None,
        "compute": [run.compute.dtype, run.compute.kernel],
        "device": [jax.devices()[0].device_kind, capacity],
        "versions": [version(name) for name in ("jax", "jaxlib", "laminate-jax")],
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _noted(run: Run, key: str) -> str:
    """What was found under that key, "" if nothing was."""
    file = run.folder.path / FILE
    if not file.exists():
        return ""
    try:
        noted = read_json(file)
        if noted["key"].text() != key:
            return ""
        return f"{noted['remat'].text()} {noted['micro_batches'].integer(least=1)}"
    except JsonError:
        return ""  # it is looked for again


def _example_shapes(run: Run) -> Shapes:
    """The arrays of one example: what the family says of images, what lies there of stored features and latents."""
    if run.training.manifest.arrays is None:
        return run.family.modules().example_shapes(run.recipe)
    view, rng = run.loader.augment, np.random.default_rng(0)
    loaded = load_or_next(run.training, 0, lambda data: view(data, rng), run.flags.max_bad_images + 1)
    arrays = loaded.arrays or {}
    return {"label": ((), "int32"), **{name: (one.shape, one.dtype.name) for name, one in arrays.items()}}
