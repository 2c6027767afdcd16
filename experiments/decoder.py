"""The image decoder: a frozen tokenizer's tokens to pixels, by L1, LPIPS and an adversary (FlatDINO, RAE).

    python experiments/decoder.py                                     a laptop, on the tokenizer that vae.py left
    python experiments/decoder.py --experiment vit-l --tokenizer runs/long-32-bl-128 --lpips lpips.safetensors
                                  --mesh 4x8                          FlatDINO's, on a tokenizer of your own
    python experiments/decoder.py --experiment rae-xl --lpips lpips.safetensors --mesh 4x8
                                                                      RAE's, from the features of DINOv2-B

Ends with report.html in the run folder; `experiments/sample.py --decoder` draws through it. Run it again to go on, or
with --fresh to start over.
"""

from laminate.cli.command import training_command
from laminate.recipes.image_decoder.family import IMAGE_DECODER

if __name__ == "__main__":  # before the imports below, which --help and a misspelt name need not wait for
    COMMAND = training_command(__doc__, IMAGE_DECODER)

from functools import partial

import jax
import jax.numpy as jnp

from laminate.analysis.decoder_input import DecoderInput
from laminate.analysis.decoder_report import ReconstructionFid, write_decoder_report
from laminate.analysis.decoding import decoding_measures, summarise_decoding
from laminate.losses.detail import detail_loss
from laminate.losses.reconstruction import charbonnier_loss, l1_loss, mse_loss
from laminate.recipes.adversarial.modules import (
    adversarial_objectives,
    discriminator,
    inception,
    perceptual_distance,
)
from laminate.recipes.flatdino.family import VAE
from laminate.recipes.image_decoder.modules import image_decoder
from laminate.runs.asked_subjects import asked_pictures
from laminate.runs.devices import open_devices
from laminate.runs.evaluations import Looked, Measured
from laminate.runs.exit_codes import training_errors, user_errors
from laminate.runs.experiment import trained_first
from laminate.runs.fitting import fitted
from laminate.runs.load_tokenizer import load_tokenizer, side_of
from laminate.runs.setup import setup
from laminate.runs.task import GanTask, Task
from laminate.runs.tokenizer_place import tokenizer_of_run
from laminate.runs.training import conclude, train

PIXELS = {"l1": l1_loss, "l2": mse_loss, "charbonnier": charbonnier_loss, "detail": detail_loss}

# 1. What is read, noisy in training: latents of a frozen tokenizer, features that it gives back, or a frozen network's


def make_inputs(recipe, dtype):
    return DecoderInput(recipe.noise.kind, recipe.noise.strength, dtype, recipe.reads == "reconstructed")


# 2. The decoder's objective: L1 + LPIPS (or another distance), and beside them, balanced by their gradients, -D(image)


def perceptual_of(recipe, frozen):
    """The perceptual distance of two images in [0, 1]; None if there is none."""
    return perceptual_distance(recipe.perceptual, frozen.perceptual, clip=recipe.clip)


def reconstruct(recipe, image, hidden, example, frozen, *, step):
    loss, perceptual = PIXELS[recipe.pixels](image, example.target), perceptual_of(recipe, frozen)
    terms = {"recon_loss": loss}
    if perceptual is not None:
        terms["perceptual_loss"] = perceptual(image, example.target)
        loss = loss + recipe.perceptual.weight * terms["perceptual_loss"]
    return loss, terms


def reconstruct_alone(recipe, inputs, decoder, frozen, example, *, step, key):
    """The same for the plain step, where there is no adversary."""
    k_noise, k_decoder = jax.random.split(key)
    prepared = inputs.prepared(frozen, example, key=k_noise, fresh=False)
    image = decoder(prepared.inputs.astype(inputs.dtype), key=k_decoder)
    return reconstruct(recipe, image, None, prepared, frozen, step=step)


# 3. The adversary's objective: to tell images from decoded ones, both moved and recoloured at random


def make_objectives(recipe, dtype, counts):
    inputs = make_inputs(recipe, dtype)
    return adversarial_objectives(
        recipe.adversary,
        recipe.schedule,
        counts,
        prepare=lambda frozen, example, step, key: inputs.prepared(
            frozen, example, key=key, fresh=recipe.reads == "features"
        ),
        hidden=lambda decoder, frozen, latents, key: decoder.hidden(latents.astype(dtype), key=key),
        image=lambda decoder, hidden: decoder.image(hidden),
        last=lambda decoder: decoder.last.weight,
        reconstruct=partial(reconstruct, recipe),
        dtype=dtype,
        clip=recipe.clip,
    )


# 4. Architecture and optimisation: a ViT to patches of pixels; the discriminator has its own optimiser


def make_task(recipe, frozen, compute):
    dtype, decoder = jnp.dtype(compute.dtype), partial(image_decoder, recipe, compute)
    if recipe.adversary.kind == "none":
        alone = partial(reconstruct_alone, recipe, make_inputs(recipe, dtype))
        return Task(decoder, frozen, alone, recipe.optimizer)
    return GanTask(
        build=decoder,
        build_discriminator=partial(discriminator, recipe.adversary),
        frozen=frozen,
        objectives=partial(make_objectives, recipe, dtype),
        optim=recipe.optimizer,
        discriminator_optim=recipe.adversary.optimizer,
        rate=recipe.adversary.rate(recipe.schedule),
    )


# 5. Evaluation: held-out images from latents without noise, and rFID where Inception is given


def picture(inputs, decoder, frozen, example):
    return decoder(inputs.clean(frozen, example).astype(inputs.dtype)), inputs.target(example)


def measure(recipe, inputs, decoder, frozen, example):
    image, original = picture(inputs, decoder, frozen, example)
    perceptual = perceptual_of(recipe, frozen)
    named = {} if perceptual is None else {"perceptual": perceptual}
    measures = decoding_measures(original, image, perceptual=named)
    loss = PIXELS[recipe.pixels](image, original)
    if perceptual is not None:
        loss = loss + recipe.perceptual.weight * measures["perceptual"]
    return {**measures, "loss": loss}


def make_evaluations(run, inputs):
    measured = Measured(measure=partial(measure, run.recipe, inputs), summarise=summarise_decoding)
    if run.beside is None:
        return (measured,)
    held_out = lambda: run.evaluation_batches(run.validation)
    return measured, Looked(look=ReconstructionFid(inputs, run.frozen, run.beside, held_out, mesh=run.mesh))


def main(flags, recipe):
    with user_errors("decoder.py"):
        # 6. What is read, data, devices and run folder
        open_devices(flags)
        tokenizer = None
        if recipe.reads != "features":
            source = trained_first(
                flags.tokenizer or tokenizer_of_run(flags, recipe),
                VAE,
                flags,
                beside=__file__,
                what="tokenizer",
            )
            side = side_of(flags.image_size, recipe)
            tokenizer = load_tokenizer(source, codes=True, kernel=flags.attention, image_size=side)
        networks = lambda recipe: None if flags.inception is None else inception(flags.inception)
        run = setup(flags, recipe, tokenizer=tokenizer, beside=networks)
        run = fitted(run, make_task)
        inputs = make_inputs(run.recipe, run.dtype)
        asked = asked_pictures(run, partial(picture, inputs), run.frozen)
    with run.folder, training_errors("decoder.py"):
        trained = train(
            run,
            make_task(run.recipe, run.frozen, run.compute),
            evaluations=(*make_evaluations(run, inputs), *asked),
            progress_metrics=("train/recon_loss", "train/logits_gap", "train/adversarial_weight"),
        )
        report = partial(write_decoder_report, frozen=run.frozen, inputs=inputs)
        conclude(run, trained, report, best=False)


if __name__ == "__main__":
    main(*COMMAND)
