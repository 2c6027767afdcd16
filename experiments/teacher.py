"""A frozen network of one's own: a masked autoencoder whose patch features tokenizers compress (He et al. 2022).

    python experiments/teacher.py                                     the network that ships in the package
    python experiments/teacher.py --data ~/photos --run-dir runs/photos-teacher
    python experiments/vae.py --teacher runs/photos-teacher --data ~/photos
    python experiments/teacher.py --init-from runs/photos-teacher --freeze encoder --data ~/photos \
        --set masked_images=0 --set feature_noise=1.2 --run-dir runs/decoded    a decoder for features with errors

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
from laminate.losses.reconstruction import mse_loss
from laminate.pretrained.features import unit_image
from laminate.pretrained.patches import IMAGENET_MEAN
from laminate.recipes.masked_autoencoder.modules import masked_autoencoder, trained_parts
from laminate.runs.asked_subjects import asked_pictures
from laminate.runs.evaluations import Looked, Measured
from laminate.runs.exit_codes import training_errors, user_errors
from laminate.runs.fitting import fitted
from laminate.runs.setup import setup
from laminate.runs.task import Task
from laminate.runs.training import Best, conclude, train

# 1. Objective: the squared error of all pixels, of images of which some patches are hidden, from noisy features


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

    def objective(network, frozen, example, *, step, key):
        image = unit_image(example["image"])
        features = network(hide(recipe, image, key=key), dtype=dtype)
        if recipe.feature_noise:
            # A third key beside the two that `hide` splits, which stay those of a training without noise.
            noised, _ = noisy(features, key=jax.random.fold_in(key, 2))
            features = noised.astype(dtype)
        return mse_loss(network.decoder(features), image), {}

    return objective


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


def picture(network, frozen, example, *, dtype):
    image = unit_image(example["image"])
    return network.pixels(network(image, dtype=dtype).astype(jnp.float32)), image


def measure(network, frozen, example, *, dtype):
    error = mse_loss(*picture(network, frozen, example, dtype=dtype))
    return {"loss": error, "psnr": -10.0 * jnp.log10(jnp.maximum(error, 1e-10))}


def summarise(sums):
    return {f"val/{name}": float(sums[name] / sums["count"]) for name in ("loss", "psnr")}


def make_evaluations(run):
    knn = NeighbourAccuracy(
        lambda: run.evaluation_batches(run.training),
        lambda: run.evaluation_batches(run.validation),
        mesh=run.mesh,
        dtype=run.dtype,
    )
    return Measured(measure=partial(measure, dtype=run.dtype), summarise=summarise), Looked(look=knn)


def main(flags, recipe):
    with user_errors("teacher.py"):
        # 4. Data, devices and run folder
        run = setup(flags, recipe)
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
        conclude(run, trained, write_teacher_report)


if __name__ == "__main__":
    main(*COMMAND)
