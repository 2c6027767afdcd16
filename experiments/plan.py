"""What a training will cost on a TPU slice, before it is rented: compiled here, on a CPU, for devices that are not.

    python experiments/plan.py --experiment long-32-bl-128 --topology v5e:4x8 --mesh 4x8 --remat dots
    python experiments/plan.py --experiment long-32-bl-128 --topology v5e:4x8 --mesh 32x1 --suggest
    python experiments/plan.py --experiment vit-xl --topology v5e:4x8 --mesh 4x8 --remat dots     an image decoder's
    python experiments/plan.py --experiment ditxl-kappa3 --topology v5e:4x8 --mesh 4x8            a generator's training
    python experiments/plan.py --experiment ditxl-kappa3 --topology v5e:4x8 --mesh 4x8 --draw     drawing images from it

It compiles the very step that training runs. Needs the TPU compiler, no TPU: pip install -e '.[tpu]'.
"""

import os

from laminate.cli.plan_flags import plan_command

if __name__ == "__main__":  # before the imports below, which --help need not wait for
    FLAGS = plan_command(__doc__)
    os.environ["JAX_PLATFORMS"] = "cpu"  # no device of this machine is looked for, a TPU least of all

import json
from pathlib import Path

from rich.console import Console

from laminate.parallel.mesh import MeshShape, parse_mesh, split_batch
from laminate.planning.chips import parse_topology
from laminate.planning.devices import describe_slice
from laminate.planning.figure import draw_plan
from laminate.planning.loader_speed import images_per_second
from laminate.planning.plan import Setting, held_bytes, make_plan
from laminate.planning.suggest import suggest
from laminate.planning.table import markdown, show
from laminate.recipes.resolve import resolve_recipe
from laminate.runs.exit_codes import say, user_errors
from laminate.runs.experiment import load_experiment
from laminate.runs.plan_job import job_maker
from laminate.storage.writing import make_folder, write_bytes


def main(flags):
    with user_errors("plan.py"):
        experiment = load_experiment(flags.script_name, beside=__file__)
        recipe = resolve_recipe(flags.training, flags.family)
        topology = parse_topology(flags.topology, slices=flags.slices)
        place = describe_slice(topology)
        shape = parse_mesh(flags.mesh) or MeshShape(len(place.devices) // topology.slices, 1, topology.slices)
        parts = split_batch(recipe.global_batch_size, shape.devices, flags.device_batch_size)
        setting = Setting(shape, recipe.global_batch_size, parts, flags.remat)
        make_job = job_maker(experiment, recipe, kernel=flags.attention, draws=flags.draw)
        say(f"compiling {recipe.name} for {topology}, {setting}", primary=True)
        plan = make_plan(recipe.name, place, setting, make_job)
    rate = images_per_second(recipe.augment.image_size)
    show(plan, Console(), loader_rate=rate)
    if not plan.fits and flags.suggest:
        found, tried = suggest(
            plan,
            lambda one: make_plan(recipe.name, place, one, make_job),
            lambda one: held_bytes(place, one, make_job),
        )
        if found is None:
            say(f"nothing near it fits: {tried} settings compiled", primary=True)
        else:
            say(f"the nearest that fits, after compiling {tried}: {found.setting}", primary=True)
            show(found, Console(), loader_rate=rate)
            plan = found
    elif not plan.fits:
        say("--suggest searches for the nearest setting that fits", primary=True)
    out = flags.out or Path("plans") / f"{recipe.name}-{flags.topology}-{shape}".replace(":", "-").replace(
        "*", "x"
    )
    make_folder(out)
    stated = json.dumps({**plan.as_dict(), "loader_images_per_second": rate}, indent=2)
    write_bytes(out / "plan.json", stated.encode())
    write_bytes(out / "plan.md", markdown(plan, loader_rate=rate).encode())
    draw_plan(plan, out / "plan.png")
    say(f"{out}/plan.json, plan.md, plan.png", primary=True)


if __name__ == "__main__":
    main(FLAGS)
