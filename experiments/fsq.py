"""FlatDINO with finite scalar quantisation: patch features in a few tokens of whole numbers (Mentzer et al. 2023).

    python experiments/fsq.py                                             a laptop, nothing to download
    python experiments/fsq.py --experiment fast-32-ss-8555-nd --teacher patches-64-8
                                                                          32 tokens of 1000 values, nested dropout

Ends with report.html in the run folder. Run it again to go on, or with --fresh to start over.
"""

from laminate.recipes.command_line import train_command
from laminate.recipes.experiments import flatdino_fsq

RECIPES, DEFAULT = flatdino_fsq, "embedded-32-L88888888"

if __name__ == "__main__":  # before the imports below, which --help and a misspelt name need not wait for
    COMMAND = train_command(__doc__, RECIPES, default=DEFAULT)

from functools import partial

import jax.numpy as jnp

from laminate.analysis.reconstruction import LOSSES, reconstruction_measures, summarise
from laminate.analysis.tokenizer_report import write_tokenizer_report
from laminate.bottlenecks.nested_dropout import draw_keep, keep_counts
from laminate.pretrained.features import features_of
from laminate.recipes import build
from laminate.recipes.devices import computed_again
from laminate.recipes.endings import training_errors, user_errors
from laminate.recipes.launch import conclude, train
from laminate.recipes.opening import open_run
from laminate.recipes.work import Work

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
        ordered = jnp.sort(quantised.indices)
        distinct = 1.0 + jnp.sum((ordered[1:] != ordered[:-1]).astype(jnp.float32))
        terms = {
            "recon_loss": reconstruction,
            "codes_per_image": distinct,
            "z_sq_mean": jnp.mean(jnp.square(quantised.continuous)),
        }
        return reconstruction, terms

    return objective


# 2. Evaluation: variance explained of the held-out teacher features; with nested dropout, the loss of every prefix


def make_measure(recipe, dtype):
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

    return measure_prefixes


# 3. Teacher: frozen, its patch features are what is compressed


def make_frozen(recipe, *, weights=True):
    return build.teacher(recipe.teacher, weights=weights)


# 4. Architecture: ViT encoder, quantiser, ViT decoder


def make_work(flags, recipe, teacher, dtype):
    return Work(
        build=lambda key: build.flatdino(
            recipe, kernel=flags.attention, remat=computed_again(flags.remat, recipe.decoder.depth), key=key
        ),
        frozen=teacher,
        objective=make_objective(recipe, dtype),
        optim=recipe.optimizer,
    )


def main(flags, recipe):
    with user_errors("fsq.py"):
        # 5. Data, devices and run folder
        run = open_run(flags, recipe, make_frozen)
    title = f"FlatDINO FSQ {recipe.name}"
    with run.folder, training_errors("fsq.py"):
        trained = train(
            run,
            make_work(flags, recipe, run.frozen, run.compute_dtype),
            measure=make_measure(recipe, run.compute_dtype),
            summarise=summarise,
            title=title,
            shown=("train/recon_loss", "train/codes_per_image", "train/grad_norm"),
        )
        conclude(run, trained, partial(write_tokenizer_report, teacher=run.frozen, title=title))


if __name__ == "__main__":
    main(*COMMAND)
