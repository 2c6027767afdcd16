"""FlatDINO with finite scalar quantisation: patch features in a few tokens of whole numbers (Mentzer et al. 2023).

    python experiments/fsq.py                                             a laptop, nothing to download
    python experiments/fsq.py --experiment fast-32-ss-8555-nd --teacher patches-64-8
                                                                          32 tokens of 1000 values, nested dropout

Ends with report.html in the run folder. Run it again to go on, or with --fresh to start over.
"""

from laminate.cli.command import training_command
from laminate.recipes.flatdino.family import FSQ

if __name__ == "__main__":  # before the imports below, which --help and a misspelt name need not wait for
    COMMAND = training_command(__doc__, FSQ)

from functools import partial

import jax.numpy as jnp

from laminate.analysis.reconstruction import LOSSES, reconstruction_measures, summarise
from laminate.analysis.tokenizer_report import write_tokenizer_report
from laminate.bottlenecks.nested_dropout import draw_keep, keep_counts
from laminate.pretrained.features import features_of
from laminate.recipes.flatdino.modules import flatdino
from laminate.recipes.modules import feature_decoder
from laminate.runs.asked_subjects import asked_features
from laminate.runs.evaluations import Measured
from laminate.runs.exit_codes import training_errors, user_errors
from laminate.runs.fitting import fitted
from laminate.runs.setup import setup
from laminate.runs.task import Task
from laminate.runs.training import conclude, train

# 1. Objective: reconstruction alone; rounding passes the gradient straight through


def make_objective(recipe, dtype):
    reconstruction_loss = LOSSES[recipe.reconstruction]
    nested = recipe.bottleneck.nested_dropout

    def objective(tokenizer, teacher, example, *, step, key):
        features = features_of(teacher, example, dtype=dtype).final
        z, quantised = tokenizer.encode_raw(features.astype(dtype))
        keep = draw_keep(key, recipe.tokens) if nested else None
        rebuilt = tokenizer.decode_raw(z, keep=keep, dtype=dtype).final

        reconstruction = reconstruction_loss(rebuilt, features)
        ordered = jnp.sort(quantised.indices.reshape(recipe.tokens, -1), axis=0)
        distinct = 1.0 + jnp.sum((ordered[1:] != ordered[:-1]).astype(jnp.float32), axis=0)
        terms = {
            "recon_loss": reconstruction,
            "codes_per_image": jnp.mean(distinct),
            "z_sq_mean": jnp.mean(jnp.square(quantised.continuous)),
        }
        return reconstruction, terms

    return objective


# 2. Architecture and optimisation: ViT encoder, quantiser, ViT decoder, beside the frozen teacher


def make_task(recipe, teacher, compute):
    return Task(
        build=partial(flatdino, recipe, compute),
        frozen=teacher,
        objective=make_objective(recipe, jnp.dtype(compute.dtype)),
        optim=recipe.optimizer,
    )


# 3. Evaluation: variance explained of the held-out teacher features; with nested dropout, the loss of every prefix


def make_evaluation(recipe, dtype):
    measure = partial(reconstruction_measures, loss=recipe.reconstruction, dtype=dtype)
    prefixes = keep_counts(recipe.tokens) if recipe.bottleneck.nested_dropout else ()

    def measure_prefixes(tokenizer, teacher, example):
        features = features_of(teacher, example, dtype=dtype).final
        z, _ = tokenizer.encode_raw(features.astype(dtype))
        loss = lambda keep: LOSSES[recipe.reconstruction](
            tokenizer.decode_raw(z, keep=keep, dtype=dtype).final, features
        )
        losses = {f"loss_k{keep}": loss(keep) for keep in prefixes}
        return {**measure(tokenizer, teacher, example), **losses}

    return Measured(measure=measure_prefixes, summarise=summarise)


def main(flags, recipe):
    with user_errors("fsq.py"):
        # 4. Data, devices and run folder
        run = setup(flags, recipe, beside=lambda recipe: feature_decoder(recipe.teacher, flags.pixel_decoder))
        run = fitted(run, make_task)
        asked = asked_features(run)
    with run.folder, training_errors("fsq.py"):
        trained = train(
            run,
            make_task(run.recipe, run.frozen, run.compute),
            evaluations=(make_evaluation(run.recipe, run.dtype), *asked),
            progress_metrics=("train/recon_loss", "train/codes_per_image", "train/grad_norm"),
        )
        conclude(run, trained, partial(write_tokenizer_report, teacher=run.frozen, decoder=run.beside))


if __name__ == "__main__":
    main(*COMMAND)
