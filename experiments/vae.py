"""FlatDINO, the β-VAE: patch features of a frozen network in a few Gaussian tokens (arXiv:2602.04873).

    python experiments/vae.py                                         a laptop, two minutes, nothing to download
    python experiments/vae.py --data ~/photos --mesh 4x8              your images, 32 devices
    python experiments/vae.py --experiment fast-16-ss-64 --teacher patches-64-8
                                                                      the sizes of the paper, on pixel patches

Ends with report.html in the run folder. Run it again to go on, or with --fresh to start over.
"""

from laminate.cli.command import training_command
from laminate.recipes.flatdino.family import VAE

if __name__ == "__main__":  # before the imports below, which --help and a misspelt name need not wait for
    COMMAND = training_command(__doc__, VAE)

from functools import partial

import jax.numpy as jnp

from laminate.analysis.reconstruction import LOSSES, reconstruction_measures, summarise
from laminate.analysis.tokenizer_report import write_tokenizer_report
from laminate.losses.divergence import anneal, kl_loss, kl_variance_loss, posterior_metrics
from laminate.pretrained.features import features_of
from laminate.recipes.bottleneck import GaussianBottleneck
from laminate.recipes.flatdino.modules import flatdino
from laminate.recipes.modules import feature_decoder
from laminate.runs.asked_subjects import asked_features
from laminate.runs.evaluations import Measured
from laminate.runs.exit_codes import training_errors, user_errors
from laminate.runs.fitting import fitted
from laminate.runs.setup import setup
from laminate.runs.task import Task
from laminate.runs.training import conclude, train

# 1. Objective: L = reconstruction + β KL (eq. 4), β normalised by the latent size (eq. 10)


def make_objective(recipe, dtype):
    vae: GaussianBottleneck = recipe.bottleneck
    reconstruction_loss = LOSSES[recipe.reconstruction]
    beta, free_bits = vae.resolved_kl_weight(recipe.tokens), float(vae.free_bits or 0.0)

    def objective(tokenizer, teacher, example, *, step, key):
        features = features_of(teacher, example, layer=recipe.intermediate_layer, dtype=dtype)
        z, posterior = tokenizer.encode_raw(features.final.astype(dtype), key=key)
        rebuilt = tokenizer.decode_raw(z, dtype=dtype)

        reconstruction = reconstruction_loss(rebuilt.final, features.final)
        layers = {}
        if features.intermediate is not None:
            layers = {"intermediate_loss": reconstruction_loss(rebuilt.intermediate, features.intermediate)}
        kl = kl_loss(*posterior, free_bits=free_bits)
        kl_variance = kl_variance_loss(*posterior, free_bits=free_bits)
        weight = anneal(beta, step, vae.anneal_steps)

        loss = reconstruction + weight * (kl + float(vae.kl_variance_weight or 0.0) * kl_variance)
        loss += recipe.intermediate_weight * sum(layers.values())
        terms = {"recon_loss": reconstruction, "kl_loss": kl, "kl_variance": kl_variance, "kl_weight": weight}
        return loss, {
            **terms,
            **layers,
            **posterior_metrics(*posterior),
            "z_sq_mean": jnp.mean(jnp.square(z)),
        }

    return objective


# 2. Architecture and optimisation: ViT encoder, Gaussian tokens, ViT decoder, beside the frozen teacher


def make_task(recipe, teacher, compute):
    return Task(
        build=partial(flatdino, recipe, compute),
        frozen=teacher,
        objective=make_objective(recipe, jnp.dtype(compute.dtype)),
        optim=recipe.optimizer,
    )


# 3. Evaluation: no sampling; variance explained of the held-out teacher features


def make_evaluation(recipe, dtype):
    measure = partial(reconstruction_measures, loss=recipe.reconstruction, dtype=dtype)
    return Measured(measure=measure, summarise=summarise)


def main(flags, recipe):
    with user_errors("vae.py"):
        # 4. Data, devices and run folder
        run = setup(flags, recipe, beside=lambda recipe: feature_decoder(recipe.teacher, flags.pixel_decoder))
        run = fitted(run, make_task)
        asked = asked_features(run)
    with run.folder, training_errors("vae.py"):
        trained = train(
            run,
            make_task(run.recipe, run.frozen, run.compute),
            evaluations=(make_evaluation(run.recipe, run.dtype), *asked),
            progress_metrics=("train/recon_loss", "train/kl_nats", "train/grad_norm"),
        )
        conclude(run, trained, partial(write_tokenizer_report, teacher=run.frozen, decoder=run.beside))


if __name__ == "__main__":
    main(*COMMAND)
