"""ViTok-v2: an autoencoder of the patches of images of any size and shape (spec: variants such as Ld4-Ld24/1x16x64).

    python experiments/vitok.py                                       a laptop, two minutes, nothing to download
    python experiments/vitok.py --experiment Ld4-Ld24/1x16x64 --data 'train-{0000..1023}.tar' --mesh 4x8
                                                                      the published network and training
    python experiments/vitok.py --init-from 350M-f16x64 --freeze encoder --data ~/photos
                                                                      published weights, a decoder for your images

Ends with report.html in the run folder; `generator.py --tokenizer` draws its latents. Run it again to go on, or with
--fresh to start over.
"""

from laminate.cli.command import training_command
from laminate.recipes.vitok.family import VITOK

if __name__ == "__main__":  # before the imports below, which --help and a misspelt name need not wait for
    COMMAND = training_command(__doc__, VITOK)

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp

from laminate.analysis.patch_reconstruction import (
    padding_share,
    patch_measures,
    summarise_patches,
    tile_of,
    uniform_places,
    unit_range,
)
from laminate.analysis.patch_report import write_patch_report
from laminate.losses.reconstruction import charbonnier_loss
from laminate.losses.structural import ssim_loss
from laminate.recipes.freezing import require_beginning
from laminate.recipes.resolve import goes_on
from laminate.recipes.vitok.flags import with_known_weights
from laminate.recipes.vitok.modules import trained_parts, vitok
from laminate.runs.asked_subjects import asked_any_size
from laminate.runs.evaluations import AT_THE_END, Measured
from laminate.runs.exit_codes import training_errors, user_errors
from laminate.runs.fitting import fitted
from laminate.runs.setup import setup
from laminate.runs.task import Task
from laminate.runs.training import conclude, train

# 1. Objective: Charbonnier of all patches; of tiles 1 - SSIM, and the distance in all layers of a frozen network


def tile_losses(recipe, distance, rebuilt, example, uniform, *, dtype):
    tile = tile_of(rebuilt, example, uniform, side=recipe.losses.tile, patch=recipe.patch)
    terms = {}
    if recipe.losses.ssim:
        terms["ssim_loss"] = ssim_loss(tile.rebuilt, tile.original, data_range=2.0, mask=tile.inside)
    if distance is not None:
        seen = (unit_range(image).astype(dtype) for image in (tile.rebuilt, tile.original))
        terms["perceptual_loss"] = distance(*seen, mask=tile.inside)
    return terms


def compare(recipe, distance, rebuilt, example, uniform, *, dtype):
    losses = recipe.losses
    loss = charbonnier_loss(rebuilt, example["patches"], eps=losses.charbonnier_eps, mask=example["mask"])
    terms = {"charbonnier_loss": loss}
    if losses.ssim or distance is not None:
        of_tile = lambda place: tile_losses(recipe, distance, rebuilt, example, place, dtype=dtype)
        terms |= jax.tree.map(jnp.mean, jax.vmap(of_tile)(uniform))
    weights = {
        "charbonnier_loss": losses.charbonnier,
        "ssim_loss": losses.ssim,
        "perceptual_loss": losses.perceptual,
    }
    return sum(weights[name] * term for name, term in terms.items()), terms


def make_objective(recipe, dtype):
    def objective(model, distance, example, *, step, key):
        k_model, k_tiles = jax.random.split(key)
        rebuilt = model.rebuilt(example, dtype=dtype, key=k_model, noise=recipe.latent_noise)
        places = uniform_places(k_tiles, recipe.losses.tiles)
        loss, terms = compare(recipe, distance, rebuilt, example, places, dtype=dtype)
        return loss, {**terms, "padding": padding_share(example)}

    return objective


# 2. Architecture and optimisation: two transformers with rotary positions; AdamW on float32 weights


def make_task(recipe, frozen, compute):
    return Task(
        build=partial(vitok, recipe, compute),
        frozen=frozen,
        objective=make_objective(recipe, jnp.dtype(compute.dtype)),
        optim=recipe.optimizer,
        trained=trained_parts(recipe),
    )


# 3. Evaluation: whole held-out images; what needs a tile takes the one in the middle


def measure(recipe, dtype, model, distance, example):
    rebuilt = model.rebuilt(example, dtype=dtype)
    middle = jnp.full((1, 2), 0.5)
    loss, _ = compare(recipe, distance, rebuilt, example, middle, dtype=dtype)
    return {**patch_measures(rebuilt, example, side=recipe.losses.tile, patch=recipe.patch), "loss": loss}


def measure_smaller(recipe, dtype, model, distance, example):
    rebuilt = model.rebuilt(example, dtype=dtype)
    return patch_measures(rebuilt, example, side=recipe.losses.tile, patch=recipe.patch)


def make_evaluations(run):
    recipe, dtype = run.recipe, run.dtype
    whole = Measured(measure=partial(measure, recipe, dtype), summarise=summarise_patches)
    still, *smaller = recipe.augment.still(), *recipe.augment.rooms[:-1]
    return whole, *(
        Measured(
            measure=partial(measure_smaller, recipe, dtype),
            summarise=partial(summarise_patches, room=room),
            view=replace(still, budgets=(room,)).transform(),
            every=AT_THE_END,
        )
        for room in smaller
    )


def main(flags, recipe):
    with user_errors("vitok.py"):
        # 4. Data, devices and run folder
        if goes_on(flags) is None:
            require_beginning(recipe.freeze, flags)
        run = setup(with_known_weights(flags), recipe)
        run = fitted(run, make_task)
        asked = asked_any_size(run)
    with run.folder, training_errors("vitok.py"):
        trained = train(
            run,
            make_task(run.recipe, run.frozen, run.compute),
            evaluations=(*make_evaluations(run), *asked),
            progress_metrics=("train/charbonnier_loss", "train/grad_norm"),
        )
        rooms = run.recipe.augment.rooms
        conclude(run, trained, partial(write_patch_report, patch=run.recipe.patch, rooms=rooms), best=False)


if __name__ == "__main__":
    main(*COMMAND)
