"""A frozen network of one's own: a masked autoencoder whose patch features tokenizers compress (He et al. 2022).

    python experiments/teacher.py                                     a network like that in the package
    python experiments/teacher.py --data ~/photos --run-dir runs/photos-teacher
    python experiments/vae.py --teacher runs/photos-teacher --data ~/photos --run-dir runs/photos-vae
    python experiments/teacher.py --init-from runs/photos-teacher --freeze encoder --tokenizer runs/photos-vae \
        --set masked_images=0 --data ~/photos --run-dir runs/decoded  its decoder again, for what tokenizers give back
                                                                      too: --decoder runs/decoded shows no seams

Ends with report.html in the run folder. Run it again to go on, or with --fresh to start over.
"""

from laminate.cli.command import training_command
from laminate.recipes.masked_autoencoder.family import MASKED_AUTOENCODER

if __name__ == "__main__":  # before the imports below, which --help and a misspelt name need not wait for
    COMMAND = training_command(__doc__, MASKED_AUTOENCODER)

from functools import partial

import jax
import jax.numpy as jnp

from laminate.analysis.teacher_report import NeighbourAccuracy, write_teacher_report
from laminate.bottlenecks.noisy import Noisy
from laminate.evals.psnr import decibels
from laminate.losses.reconstruction import mse_loss
from laminate.pretrained.features import unit_image
from laminate.pretrained.patches import IMAGENET_MEAN
from laminate.recipes.freezing import require_beginning
from laminate.recipes.masked_autoencoder.modules import masked_autoencoder, trained_parts, with_features_of
from laminate.recipes.resolve import goes_on
from laminate.runs.asked_subjects import asked_pictures
from laminate.runs.devices import open_devices
from laminate.runs.evaluations import Looked, Measured
from laminate.runs.exit_codes import training_errors, user_errors
from laminate.runs.fitting import fitted
from laminate.runs.setup import setup
from laminate.runs.task import Task
from laminate.runs.training import Best, conclude, train

# 1. Objective: the squared error of all pixels, of images of which some patches are hidden, from features that may be
# noisy, or those that tokenizers give back


def hide(recipe, image, *, key):
    """`image` with some of its patches gray (the mean of the normalised pixels), of some images."""
    k_image, k_patches = jax.random.split(key)
    rate = jnp.where(jax.random.bernoulli(k_image, recipe.masked_images), recipe.masked_patches, 0.0)
    hidden = jax.random.bernoulli(k_patches, rate, (recipe.grid, recipe.grid))
    over = jnp.repeat(jnp.repeat(hidden, recipe.patch_size, 0), recipe.patch_size, 1)[..., None]
    gray = jnp.broadcast_to(jnp.asarray(IMAGENET_MEAN, image.dtype), image.shape)
    return jnp.where(over, gray, image)


def make_objective(recipe, dtype):
    noisy = Noisy(recipe.encoder.dim, strength=recipe.feature_noise, level="uniform")

    def objective(network, tokenizers, example, *, step, key):
        image = unit_image(example["image"])
        features = network(hide(recipe, image, key=key), dtype=dtype)
        # Keys beside the two that `hide` splits, which stay those of a training without noise and tokenizers.
        if tokenizers:
            features = given_back(recipe, tokenizers, features, key=jax.random.fold_in(key, 3))
        if recipe.feature_noise:
            noised, _ = noisy(features, key=jax.random.fold_in(key, 2))
            features = noised.astype(dtype)
        return mse_loss(network.decoder(features), image), {}

    return objective


def given_back(recipe, tokenizers, features, *, key):
    """Of some images what a tokenizer makes of the features, its latents noisy; of the others the features."""
    k_image, k_which, *k_latents = jax.random.split(key, 2 + len(tokenizers))
    rebuilt = []
    for tokenizer, k_noise in zip(tokenizers, k_latents, strict=True):
        latents = tokenizer.encode(features)
        noisy = Noisy(latents.shape[-1], strength=recipe.latent_noise, level="uniform")
        raw = tokenizer.normalization.inverse(noisy(latents, key=k_noise)[0])
        rebuilt.append(tokenizer.decode_raw(raw, dtype=features.dtype).final)
    chosen = jnp.stack(rebuilt)[jax.random.randint(k_which, (), 0, len(tokenizers))]
    return jnp.where(jax.random.bernoulli(k_image, recipe.rebuilt_images), chosen, features)


# 2. Architecture and optimisation: ViT encoder, ViT decoder to overlapping windows of pixels


def make_task(recipe, frozen, compute):
    return Task(
        build=partial(masked_autoencoder, recipe, compute),
        frozen=frozen,
        objective=make_objective(recipe, jnp.dtype(compute.dtype)),
        optim=recipe.optimizer,
        trained=trained_parts(recipe),
    )


# 3. Evaluation: pixels of whole images, and whether nearest neighbours by features have one label


def picture(network, tokenizers, example, *, dtype):
    image = unit_image(example["image"])
    return network.pixels(network(image, dtype=dtype).astype(jnp.float32)), image


def measure(recipe, network, tokenizers, example, *, dtype):
    image = unit_image(example["image"])
    features = network(image, dtype=dtype)
    exact = mse_loss(network.pixels(features.astype(jnp.float32)), image)
    if not tokenizers:
        return {"loss": exact, "psnr": decibels(exact)}
    rebuilt = [network.pixels(one.decode(one.encode(features))) for one in tokenizers]
    errors = [mse_loss(one, image) for one in rebuilt]
    loss = exact + recipe.rebuilt_images * (sum(errors) / len(errors) - exact)
    through = sum(decibels(error) for error in errors) / len(errors)
    return {"loss": loss, "psnr": decibels(exact), "rebuilt_psnr": through}


def summarise(sums):
    return {f"val/{name}": float(sums[name] / sums["count"]) for name in sums if name != "count"}


def make_evaluations(run):
    knn = NeighbourAccuracy(
        lambda: run.evaluation_batches(run.training),
        lambda: run.evaluation_batches(run.validation),
        mesh=run.mesh,
        dtype=run.dtype,
    )
    measured = Measured(measure=partial(measure, run.recipe, dtype=run.dtype), summarise=summarise)
    return measured, Looked(look=knn)


def main(flags, recipe):
    with user_errors("teacher.py"):
        # 4. Data, devices and run folder
        if goes_on(flags) is None:
            require_beginning(recipe.freeze, flags)
        open_devices(flags)
        run = setup(flags, with_features_of(recipe, flags.init_from))
        run = fitted(run, make_task)
        asked = asked_pictures(run, partial(picture, dtype=run.dtype), run.frozen)
    with run.folder, training_errors("teacher.py"):
        trained = train(
            run,
            make_task(run.recipe, run.frozen, run.compute),
            evaluations=(*make_evaluations(run), *asked),
            progress_metrics=("train/loss", "train/grad_norm"),
            best=Best("val/loss"),
        )
        conclude(run, trained, partial(write_teacher_report, tokenizers=run.frozen))


if __name__ == "__main__":
    main(*COMMAND)
