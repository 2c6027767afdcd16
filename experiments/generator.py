"""A generator by flow matching on the latents of a tokenizer: LightningDiT or DiT^DH (arXiv:2602.04873, section 4.3).

    python experiments/generator.py                                   a laptop, on the tokenizer that vae.py left
    python experiments/generator.py --tokenizer runs/photos           on one of your own, and on the data of its run
    python experiments/generator.py --experiment ditxl-kappa3 --tokenizer runs/long-32-bl-128 --mesh 4x8
                                                                      the paper's network, on a tokenizer of your own

Ends with report.html in the run folder; `experiments/sample.py` draws from it. Run it again to go on, or with --fresh
to start over.
"""

from laminate.cli.command import training_command
from laminate.recipes.generator.family import GENERATOR

if __name__ == "__main__":  # before the imports below, which --help and a misspelt name need not wait for
    COMMAND = training_command(__doc__, GENERATOR)

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from laminate.analysis.generation import FlowConfig, flow_loss, flow_measures, summarise_flow
from laminate.analysis.generator_report import COLUMNS, ROWS, SampleGrids, write_generator_report
from laminate.analysis.sample_files import class_major, to_bytes
from laminate.analysis.sample_reference import MOST_IMAGES, sample_reference
from laminate.analysis.sampling import Sampler, SamplerConfig, SamplerParams, make_sampler
from laminate.cli.sample_flags import PER_CLASS, chosen_classes
from laminate.data.records import spread
from laminate.flow import Interval
from laminate.parallel.hosts import is_first
from laminate.parallel.sharding import place
from laminate.recipes.flatdino.family import VAE
from laminate.recipes.generator.modules import generator
from laminate.recipes.modules import embedded_network, image_tokenizer, sampling_grid, solver
from laminate.recipes.resolve import for_tokenizer
from laminate.runs.asked_subjects import asked_samples
from laminate.runs.devices import open_devices
from laminate.runs.evaluations import Looked, Measured
from laminate.runs.exit_codes import say, training_errors, user_errors
from laminate.runs.experiment import trained_first
from laminate.runs.fitting import fitted
from laminate.runs.load_decoder import find_decoder, require_images
from laminate.runs.load_tokenizer import load_tokenizer, side_of
from laminate.runs.setup import setup
from laminate.runs.task import Task
from laminate.runs.tokenizer_place import tokenizer_of_run
from laminate.runs.training import conclude, train
from laminate.runs.zero_latents import zero_latents_named
from laminate.tokenizers.latent_decoders import OwnLatentDecoder

# 1. Objective: at t' = t / (kappa - (kappa - 1) t), the velocity from noise to the latent of a frozen tokenizer; labels
# are dropped at times


def make_objective(recipe, dtype):
    flow = FlowConfig.of(recipe, dtype)

    def objective(network, tokenizer, example, *, step, key):
        k_latent, k_flow = jax.random.split(key)
        here = flow.of_image(example, recipe.augment.image_size)
        loss = flow_loss(
            here,
            network,
            here.latents(tokenizer, example, key=k_latent),
            example["label"],
            times=recipe.times,
            time_shift=recipe.resolved_time_shift,
            class_dropout=recipe.class_dropout,
            cosine_weight=recipe.cosine_weight,
            key=k_flow,
        )
        return loss, {}

    return objective


# 2. Architecture and optimisation: a diffusion transformer; AdamW, clipped, averaged


def make_task(recipe, tokenizer, compute):
    return Task(
        build=partial(generator, recipe, compute),
        frozen=tokenizer,
        objective=make_objective(recipe, jnp.dtype(compute.dtype)),
        optim=recipe.optimizer,
    )


# 3. Sampling: the recipe's solver, steps and guidance


def make_params(recipe):
    guidance = recipe.guidance
    guided = recipe.classes and recipe.class_dropout > 0 and guidance.scale != 1.0
    interval = Interval(*guidance.interval) if guided else None
    return SamplerParams(0, sampling_grid(recipe), scale=guidance.scale, interval=interval)


def make_config(recipe, *, everywhere=False):
    return SamplerConfig(solver(recipe), everywhere=everywhere, rescale=recipe.guidance.rescale)


def make_drawing(recipe, network, tokenizer, *, mesh, dtype):
    """What `sample.py` compiles, for a plan: every step of the recipe's sampler, guided at all times."""
    flow, params = FlowConfig.of(recipe, dtype), make_params(recipe)
    config = make_config(recipe, everywhere=recipe.guidance.scale != 1.0)
    own = lambda frozen: OwnLatentDecoder(frozen) if frozen.shows_images else None
    held = lambda frozen: (own(frozen), frozen.normalization, None, params)
    draw = make_sampler(flow, config, network, held(tokenizer), mesh=mesh)
    return lambda network, frozen, batch: draw(network, held(frozen), batch)


# 4. Evaluation: the loss of held-out images at fixed times and noise; samples of fixed noise


def make_evaluations(run, grids):
    flow = FlowConfig.of(run.recipe, run.dtype)
    measure = partial(flow_measures, flow=flow, time_shift=run.recipe.resolved_time_shift)
    return (
        Measured(measure=measure, summarise=summarise_flow),
        Looked(look=lambda state: grids(state.averaged, int(state.step))),
    )


def make_grids(run, decoder):
    sampler = Sampler(
        FlowConfig.of(run.recipe, run.dtype),
        None,
        place(decoder.of(run.frozen), run.mesh),
        run.frozen.normalization,
        mesh=run.mesh,
        config=make_config(run.recipe),
        device_batch_size=-(-COLUMNS * ROWS // run.mesh.devices.size),
    )
    return SampleGrids(run.folder.path, sampler, make_params(run.recipe), run.training.manifest.classes)


def make_check(run, grids):
    """What `sample.py --check` finds of the images that `sample.py` draws; not where the data are latents."""
    if run.training.manifest.arrays is not None or not grids.sampler.draws_images:
        return lambda network: None
    flow, classes = grids.sampler.flow, run.training.manifest.classes
    chosen = chosen_classes((), classes, run.recipe.classes, every=False)
    labels = class_major(chosen, PER_CLASS * len(chosen))

    def check(network):
        reference = sample_reference(
            embedded_network(),
            (run.frozen, grids.sampler.decoder),
            lambda: run.evaluation_batches(spread(run.training, MOST_IMAGES)),
            lambda: run.evaluation_batches(spread(run.validation, MOST_IMAGES)),
            flow=flow,
            mesh=run.mesh,
        )
        batches = grids.sampler.draw(labels, grids.params, network=network)
        images = np.concatenate([to_bytes(batch.images, "nearest") for batch in batches])
        return reference(images, labels)

    return check


def main(flags, recipe):
    with user_errors("generator.py"):
        # 5. Tokenizer, data, devices and run folder
        open_devices(flags)  # before the tokenizer's arrays, or a CPU has no simulated devices
        source = trained_first(
            flags.tokenizer or tokenizer_of_run(flags, recipe), VAE, flags, beside=__file__, what="tokenizer"
        )
        side = side_of(flags.image_size, recipe)
        tokenizer = load_tokenizer(source, kernel=flags.attention, image_size=side)
        recipe = for_tokenizer(flags, GENERATOR, recipe, tokenizer.recipe)
        decoder = find_decoder(flags.decoder, tokenizer, kernel=flags.attention)
        if flags.evaluate:
            require_images(decoder.of(image_tokenizer(tokenizer, like=tokenizer.latent)), tokenizer)
        run = setup(flags, recipe, tokenizer=tokenizer)
        run = fitted(run, make_task)
    say(f"tokenizer: {source}; samples: decoded by {decoder.said}", primary=is_first())
    with run.folder, training_errors("generator.py"):
        grids = make_grids(run, decoder)
        with zero_latents_named(run, FlowConfig.of(run.recipe, run.dtype)):
            trained = train(
                run,
                make_task(run.recipe, run.frozen, run.compute),
                evaluations=(*make_evaluations(run, grids), *asked_samples(run, grids.sampler, grids.params)),
                progress_metrics=("train/loss", "train/grad_norm"),
            )
        report = partial(write_generator_report, grids=grids, check=make_check(run, grids))
        conclude(run, trained, report, best=False)


if __name__ == "__main__":
    main(*COMMAND)
