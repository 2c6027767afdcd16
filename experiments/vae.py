"""FlatDINO, the β-VAE: patch features of a frozen network in a few Gaussian tokens (arXiv:2602.04873).

    python experiments/vae.py                                         a laptop, two minutes, nothing to download
    python experiments/vae.py --data ~/photos --mesh 4x8              your images, 32 devices
    python experiments/vae.py --experiment fast-16-ss-64 --teacher patches-64-8
                                                                      the sizes of the paper, on pixel patches

Ends with report.html in the run folder. Run it again to go on, or with --fresh to start over.
"""

from laminate.recipes.command_line import train_command
from laminate.recipes.experiments import flatdino_vae

RECIPES, DEFAULT = flatdino_vae, "embedded-16-128"

if __name__ == "__main__":  # before the imports below, which --help and a misspelt name need not wait for
    COMMAND = train_command(__doc__, RECIPES, default=DEFAULT)

from functools import partial

import jax.numpy as jnp

from laminate.analysis.reconstruction import LOSSES, reconstruction_measures, summarise
from laminate.analysis.tokenizer_report import write_tokenizer_report
from laminate.losses.divergence import anneal, kl_loss, kl_variance_loss, posterior_metrics
from laminate.pretrained.features import features_of
from laminate.recipes import build
from laminate.recipes.bottleneck import GaussianBottleneck
from laminate.recipes.devices import computed_again
from laminate.recipes.endings import training_errors, user_errors
from laminate.recipes.launch import conclude, train
from laminate.recipes.opening import open_run
from laminate.recipes.work import Work

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


# 2. Teacher: frozen, its patch features are what is compressed


def make_frozen(recipe, *, weights=True):
    return build.teacher(recipe.teacher, weights=weights)


# 3. Architecture: ViT encoder, Gaussian tokens, ViT decoder


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
    with user_errors("vae.py"):
        # 4. Data, devices and run folder
        run = open_run(flags, recipe, make_frozen)
    title = f"FlatDINO β-VAE {recipe.name}"
    with run.folder, training_errors("vae.py"):
        trained = train(
            run,
            make_work(flags, recipe, run.frozen, run.compute_dtype),
            # 5. Evaluation: no sampling; variance explained of the held-out teacher features
            measure=partial(reconstruction_measures, loss=recipe.reconstruction, dtype=run.compute_dtype),
            summarise=summarise,
            title=title,
            shown=("train/recon_loss", "train/kl_nats", "train/grad_norm"),
        )
        conclude(run, trained, partial(write_tokenizer_report, teacher=run.frozen, title=title))


if __name__ == "__main__":
    main(*COMMAND)
