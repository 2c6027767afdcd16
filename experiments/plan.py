"""What a training will cost on a TPU slice, before it is rented: compiled here, on a CPU, for devices that are not.

    python experiments/plan.py --experiment long-32-bl-128 --topology v5e:4x8 --mesh 4x8 --remat dots
    python experiments/plan.py --experiment long-32-bl-128 --topology v5e:4x8 --mesh 32x1 --suggest
    python experiments/plan.py --experiment vit-xl --topology v5e:4x8 --mesh 4x8 --remat dots     an image decoder's
    python experiments/plan.py --experiment ditxl-kappa3 --topology v5e:4x8 --mesh 4x8            a generator's training
    python experiments/plan.py --experiment ditxl-kappa3 --topology v5e:4x8 --mesh 4x8 --draw     drawing images from it

It compiles the very step that training runs. Needs the TPU compiler, no TPU: pip install 'laminate-jax[tpu]'.
"""

import os

from laminate.recipes.plan_flags import plan_command, script_of

if __name__ == "__main__":  # before the imports below, which --help need not wait for
    FLAGS = plan_command(__doc__)
    os.environ["JAX_PLATFORMS"] = "cpu"  # no device of this machine is looked for, a TPU least of all

import dataclasses
import importlib.util
import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
from rich.console import Console

from laminate.parallel.mesh import MeshShape, parse_mesh, split_batch
from laminate.parallel.sharding import abstract, batch_sharding
from laminate.planning.chips import parse_topology
from laminate.planning.devices import describe_slice
from laminate.planning.figure import draw_plan
from laminate.planning.loader_speed import images_per_second
from laminate.planning.plan import AbstractStep, Setting, held_bytes, make_plan
from laminate.planning.suggest import suggest
from laminate.planning.table import markdown, show
from laminate.recipes.decoder_flags import DecoderFlags, resolve_decoder
from laminate.recipes.endings import say, user_errors
from laminate.recipes.flags import GeneratorFlags, resolve_generator, resolve_recipe
from laminate.recipes.work import learning_rate

IMAGENET = 1_281_167
DTYPE = jnp.dtype(jnp.bfloat16)


def load_experiment(script):
    path = Path(__file__).parent / script
    if not path.is_file():
        raise ValueError(f"--script {script}: there is no {path}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def resolve(training, experiment):
    """The recipe that the flags ask for."""
    if isinstance(training, DecoderFlags):
        return resolve_decoder(training, experiment.RECIPES, default=experiment.DEFAULT, weights=False)
    resolved = resolve_generator if isinstance(training, GeneratorFlags) else resolve_recipe
    return resolved(training, experiment.RECIPES, default=experiment.DEFAULT)


def job_maker(experiment, flags, recipe):
    """The experiment's own step, on shapes, in any setting."""

    def make(setting, mesh):
        varied = dataclasses.replace(flags.training, remat=setting.remat)
        planned = dataclasses.replace(recipe, global_batch_size=setting.global_batch_size)
        frozen = abstract(experiment.make_frozen(planned, weights=False), mesh)
        work = experiment.make_work(varied, planned, frozen, DTYPE)
        counts = planned.schedule.counts(examples=IMAGENET, global_batch_size=setting.global_batch_size)
        optimizer = work.optimizer(learning_rate(planned.schedule, counts), counts)
        key = jax.eval_shape(lambda: jax.random.key(0))
        state = abstract(eqx.filter_eval_shape(work.fresh(optimizer), key, key), mesh)
        if flags.draw:
            return drawing_job(experiment, planned, state, frozen, mesh)
        step = work.step(
            optimizer, state, mesh=mesh, micro_batches=setting.micro_batches, compute_dtype=DTYPE
        )
        side = planned.augment.image_size
        shapes = {"image": ((side, side, 3), jnp.uint8), "label": ((), jnp.int32)}
        return AbstractStep(step, state, frozen, batch_of(shapes, setting.global_batch_size, mesh))

    return make


def drawing_job(experiment, recipe, state, frozen, mesh):
    """Every step of the sampler of a generator, on the averaged weights alone."""
    draw_plan = experiment.make_drawing(recipe, state.model, frozen, mesh=mesh, dtype=DTYPE)
    held = eqx.tree_at(  # the constructor is for arrays, and these are shapes
        lambda state: (state.opt_state, state.ema), state, ((), None), is_leaf=lambda node: node is None
    )
    step = jax.jit(lambda state, frozen, batch: draw_plan(state.model, frozen, batch))
    shapes = {"label": ((), jnp.int32), "index": ((), jnp.uint32)}
    return AbstractStep(step, held, frozen, batch_of(shapes, recipe.global_batch_size, mesh))


def batch_of(shapes, global_batch_size, mesh):
    return {
        name: jax.ShapeDtypeStruct((global_batch_size, *shape), dtype, sharding=batch_sharding(mesh))
        for name, (shape, dtype) in shapes.items()
    }


def main(flags):
    with user_errors("plan.py"):
        experiment = load_experiment(script_of(flags))
        recipe = resolve(flags.training, experiment)
        topology = parse_topology(flags.topology, slices=flags.slices)
        place = describe_slice(topology)
        shape = parse_mesh(flags.mesh) or MeshShape(len(place.devices) // topology.slices, 1, topology.slices)
        parts = split_batch(recipe.global_batch_size, shape.devices, flags.device_batch_size)
        setting = Setting(shape, recipe.global_batch_size, parts, flags.remat)
        make_job = job_maker(experiment, flags, recipe)
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
    out.mkdir(parents=True, exist_ok=True)
    (out / "plan.json").write_text(json.dumps({**plan.as_dict(), "loader_images_per_second": rate}, indent=2))
    (out / "plan.md").write_text(markdown(plan, loader_rate=rate))
    draw_plan(plan, out / "plan.png")
    say(f"{out}/plan.json, plan.md, plan.png", primary=True)


if __name__ == "__main__":
    main(FLAGS)
