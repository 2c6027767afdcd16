"""A generator by flow matching on the latents of a tokenizer: LightningDiT or DiT^DH (arXiv:2602.04873, section 4.3).

    python experiments/generator.py                                   a laptop, on the tokenizer that vae.py left
    python experiments/generator.py --tokenizer runs/photos --data ~/photos --run-dir runs/photos-dit
    python experiments/generator.py --experiment ditxl-kappa3 --tokenizer runs/long-32-bl-128 --mesh 4x8
                                                                      the paper's network, on a tokenizer of your own

Ends with report.html in the run folder; `experiments/sample.py` draws from it. Run it again to go on, or with --fresh
to start over.
"""

from laminate.cli.command import generator_command
from laminate.recipes.flatdino.presets import flow_generator

RECIPES, DEFAULT = flow_generator, "embedded-dit"
TOKENIZER = "runs/embedded-16-128"

if __name__ == "__main__":  # before the imports below, which --help and a misspelt name need not wait for
    COMMAND = generator_command(__doc__, RECIPES, default=DEFAULT)

from functools import partial
from pathlib import Path

import equinox as eqx
import jax

from laminate.analysis.generation import FlowConfig, flow_loss, flow_measures, summarise_flow
from laminate.analysis.generator_report import COLUMNS, ROWS, SampleGrids, write_generator_report
from laminate.analysis.sampling import Sampler, SamplerConfig, SamplerParams, make_sampler
from laminate.flow import EULER, Interval, time_grid
from laminate.parallel.hosts import is_first
from laminate.parallel.sharding import place
from laminate.recipes import modules as build
from laminate.runs.devices import computed_again, open_devices
from laminate.runs.exit_codes import say, training_errors, user_errors
from laminate.recipes.flags import TrainFlags
from laminate.runs.load_tokenizer import latents_like, load_tokenizer, on_classes, speak
from laminate.runs.training import conclude, train
from laminate.runs.setup import open_run
from laminate.runs.load_decoder import find_pictures, painter_of
from laminate.runs.task import Work

# 1. Tokenizer and teacher: frozen; they turn an image into the latents that are to be generated


def make_frozen(recipe, *, weights=True, tokenizer=None):
    described = latents_like(recipe) if tokenizer is None else tokenizer.recipe
    teacher = build.teacher(described.teacher, weights=weights)
    if tokenizer is not None:
        return teacher, tokenizer.model
    return teacher, eqx.filter_eval_shape(build.flatdino, described, key=jax.random.key(0))


# 2. Objective: at t' = t / (kappa - (kappa - 1) t), the velocity from noise to latent; labels are dropped at times


def make_objective(recipe, dtype):
    flow = FlowConfig.of(recipe, dtype)

    def objective(network, frozen, example, *, step, key):
        teacher, tokenizer = frozen
        k_latent, k_flow = jax.random.split(key)
        z = flow.latents(tokenizer, teacher, example, key=k_latent)
        loss = flow_loss(
            flow,
            network,
            z,
            example["label"],
            times=recipe.times,
            time_shift=recipe.shift,
            class_dropout=recipe.class_dropout,
            cosine_weight=recipe.cosine_weight,
            key=k_flow,
        )
        return loss, {}

    return objective


# 3. Architecture and optimisation: a diffusion transformer; AdamW, clipped, averaged


def make_work(flags, recipe, frozen, dtype):
    return Work(
        build=lambda key: build.generator(
            recipe, kernel=flags.attention, remat=computed_again(flags.remat, recipe.network.depth), key=key
        ),
        frozen=frozen,
        objective=make_objective(recipe, dtype),
        optim=recipe.optimizer,
    )


def make_drawing(recipe, network, frozen, *, mesh, dtype):
    """What `sample.py` compiles, for a plan: every step of the recipe's sampler, guided at all times."""
    flow, knobs = FlowConfig.of(recipe, dtype), make_knobs(recipe)
    config = SamplerConfig(EULER, everywhere=recipe.guidance.scale != 1.0)
    held = lambda frozen: (painter_of(*frozen), frozen[1].normalization, None, knobs)
    draw = make_sampler(flow, config, network, held(frozen), mesh=mesh)
    return lambda network, frozen, batch: draw(network, held(frozen), batch)


# 4. Evaluation: the loss of held-out images at fixed times and noise; samples of fixed noise


def make_knobs(recipe):
    guidance = recipe.guidance
    guided = recipe.classes and recipe.class_dropout > 0 and guidance.scale != 1.0
    interval = Interval(*guidance.interval) if guided else None
    return SamplerParams(
        0, time_grid(recipe.steps, time_shift=recipe.shift), scale=guidance.scale, interval=interval
    )


def make_grids(run, recipe, pictures):
    _, tokenizer = run.frozen
    sampler = Sampler(
        FlowConfig.of(recipe, run.compute_dtype),
        None,
        place(pictures.painter(tokenizer), run.mesh),
        tokenizer.normalization,
        mesh=run.mesh,
        config=SamplerConfig(EULER),
        device_batch_size=-(-COLUMNS * ROWS // run.mesh.devices.size),
    )
    return SampleGrids(run.folder.path, sampler, make_knobs(recipe), run.training.manifest.classes)


def look_at(grids, state):
    grids(state.averaged, int(state.step))


def find_tokenizer(flags):
    """The folder of the tokenizer; the embedded one is trained first where it is not there yet."""
    if flags.tokenizer is not None or Path(TOKENIZER, "tokenizer", "config.json").exists():
        return flags.tokenizer or TOKENIZER
    if flags.coordinator is not None or flags.distributed:
        raise FileNotFoundError(
            f"There is no tokenizer in {TOKENIZER}: train one with vae.py, or give --tokenizer."
        )
    say(
        f"There is no tokenizer in {TOKENIZER} yet: vae.py trains one first, on the embedded photographs.",
        primary=True,
    )
    import vae

    tokenizer = TrainFlags(mesh=flags.mesh, data_workers=flags.data_workers)
    vae.main(tokenizer, vae.RECIPES(vae.DEFAULT))
    if not Path(TOKENIZER, "tokenizer", "config.json").exists():
        raise SystemExit(0)  # it was stopped, and has said how to go on
    return TOKENIZER


def main(flags, recipe):
    with user_errors("generator.py"):
        # 5. Data, devices and run folder
        open_devices(flags)  # before the tokenizer's arrays, or a CPU has no simulated devices
        tokenizer = load_tokenizer(find_tokenizer(flags), kernel=flags.attention)
        pictures = find_pictures(flags.decoder, tokenizer, kernel=flags.attention)
        run = open_run(
            flags,
            speak(recipe, tokenizer),
            partial(make_frozen, tokenizer=tokenizer),
            on_data=partial(on_classes, fixed=recipe.tokenizer is not None),
        )
        recipe, frozen = run.recipe, run.frozen
    say(f"samples: painted by {pictures.said}", primary=is_first())
    title = f"Generator {recipe.name} on {tokenizer.recipe.name}"
    with run.folder, training_errors("generator.py"):
        grids = make_grids(run, recipe, pictures)
        trained = train(
            run,
            make_work(flags, recipe, frozen, run.compute_dtype),
            measure=partial(
                flow_measures,
                flow=FlowConfig.of(recipe, run.compute_dtype),
                time_shift=recipe.shift,
            ),
            summarise=summarise_flow,
            title=title,
            shown=("train/loss", "train/grad_norm"),
            look=partial(look_at, grids),
        )
        conclude(run, trained, partial(write_generator_report, grids=grids, title=title), best=False)


if __name__ == "__main__":
    main(*COMMAND)
