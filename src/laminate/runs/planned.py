"""The plan that the command line asks for, with what it chooses itself."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from laminate.cli.plan_flags import PlanFlags
from laminate.parallel.mesh import MeshShape, parse_mesh, split_batch
from laminate.planning.chips import parse_topology
from laminate.planning.devices import Slice, describe_slice
from laminate.planning.plan import Plan, Setting, least_bytes, make_plan, uncompiled
from laminate.planning.suggest import FASTEST, RESERVE, candidates, choices, first_with_room, has_room
from laminate.planning.table import gib
from laminate.recipes.families import family_of
from laminate.recipes.resolve import resolve_recipe
from laminate.runs.exit_codes import say
from laminate.runs.experiment import load_experiment
from laminate.runs.plan_job import job_maker


def planned(flags: PlanFlags, *, beside: str) -> Plan:
    """The plan of `flags`, whose experiment lies in the folder of the file `beside`; says what it chooses and why.

    With `--remat auto` that is the first of `planning.suggest.choices` from `FASTEST` on that fits, and the last of
    them that was looked at if none does; `--suggest` then goes on to other meshes and batches. Raises ValueError and
    OSError.
    """
    experiment = load_experiment(flags.script_name, beside=beside)
    recipe = resolve_recipe(flags.training, flags.family)
    topology = parse_topology(flags.topology, slices=flags.slices)
    place = describe_slice(topology)
    shape = parse_mesh(flags.mesh) or MeshShape(len(place.devices) // topology.slices, 1, topology.slices)
    parts = split_batch(recipe.global_batch_size, shape.devices, flags.device_batch_size)
    remat = flags.remat
    if remat == "auto":
        remat = "none" if flags.draw else FASTEST
    search = _Search(
        recipe, place, job_maker(experiment, recipe, kernel=flags.attention, draws=flags.draw), flags.top
    )
    first = Setting(shape, recipe.global_batch_size, parts, remat)
    if flags.remat != "auto" or flags.draw:
        plan = search.compiled(first)
    else:
        plan = search.cheapest(first, cuts=flags.device_batch_size is None)
    if flags.suggest and not plan.fits:
        return search.nearest(plan)
    if not plan.fits:
        say("--suggest searches for the nearest mesh, batch and part of it that fit", primary=True)
    return plan


class _Search:
    """Plans of one recipe on one slice in several settings; all that was compiled is remembered."""

    def __init__(self, recipe: Any, place: Slice, make_job: Callable[..., Any], top: int):
        self.recipe, self.place, self.make_job, self.top = recipe, place, make_job, top
        self.known: list[Plan] = []

    def compiled(self, setting: Setting) -> Plan:
        say(f"compiling {self.recipe.name} for {self.place.topology}, {setting}", primary=True)
        plan = make_plan(self.recipe.name, self.place, setting, self.make_job, top=self.top)
        if not has_room(plan):
            say(f"{setting.choice} needs {gib(plan.needed_bytes)}, which leaves no room", primary=True)
        self.known.append(plan)
        return plan

    def least(self, setting: Setting) -> tuple[int, int]:
        return least_bytes(self.place, setting, self.make_job)

    def cheapest(self, first: Setting, *, cuts: bool) -> Plan:
        """The first choice with room, or the last one that was looked at."""
        cuts = cuts and not family_of(self.recipe).modules().whole_batch(self.recipe)
        begun = uncompiled(self.recipe.name, self.place, first, self.make_job)
        found, compiled, ruled_out = first_with_room(
            choices(first, cuts_batch=cuts), self.compiled, self.least, capacity=begun.capacity_bytes
        )
        for setting, needed in ruled_out.items():
            say(f"{setting.choice} was not compiled: it needs {gib(needed)} or more", primary=True)
        if found is not None:
            say(
                f"chosen: {found.setting.choice}, which leaves {RESERVE:.0%} of the memory free", primary=True
            )
            return found
        if compiled:
            return compiled[-1]
        last = next(reversed(ruled_out))
        return replace(begun, setting=last, needed_bytes=ruled_out[last])

    def nearest(self, first: Plan) -> Plan:
        """The nearest setting with room, `first` itself if there is none."""
        before = self.known or [first]
        found, compiled, _ = first_with_room(
            candidates(first.setting),
            self.compiled,
            self.least,
            capacity=first.capacity_bytes,
            known=[*before],
        )
        if found is None:
            say(f"nothing near it fits: {len(compiled)} settings compiled", primary=True)
            return first
        say(f"the nearest that fits, after compiling {len(compiled)}: {found.setting}", primary=True)
        return found
