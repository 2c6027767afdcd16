"""The image decoder: a frozen tokenizer's tokens to pixels, by L1, LPIPS and an adversary (FlatDINO, RAE).

    python experiments/decoder.py                                     a laptop, on the tokenizer that vae.py left
    python experiments/decoder.py --experiment vit-l --tokenizer runs/long-32-bl-128 --lpips lpips.safetensors
                                  --mesh 4x8                          FlatDINO's, on a tokenizer of your own
    python experiments/decoder.py --experiment rae-xl --lpips lpips.safetensors --mesh 4x8
                                                                      RAE's, from the features of DINOv2-B

Ends with report.html in the run folder; `experiments/sample.py --decoder` draws through it. Run it again to go on, or
with --fresh to start over.
"""

from laminate.recipes.command_line import decoder_command
from laminate.recipes.experiments import image_decoder

RECIPES, DEFAULT = image_decoder, "embedded-decoder"

if __name__ == "__main__":  # before the imports below, which --help and a misspelt name need not wait for
    COMMAND = decoder_command(__doc__, RECIPES, default=DEFAULT)

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from laminate.analysis.decoder_report import ReconstructionFid, write_decoder_report
from laminate.analysis.decoding import decoding_measures, summarise_decoding
from laminate.analysis.reading import Frozen, Reading
from laminate.losses.adversarial import (
    adaptive_weight,
    consistency_loss,
    generator_loss,
    hinge_loss,
    non_saturating_loss,
    r1_penalty,
    vanilla_loss,
)
from laminate.losses.diffaug import diffaug, draw_augmentation
from laminate.losses.perceptual import lpips_loss
from laminate.losses.pyramid import pyramid_distance
from laminate.losses.reconstruction import charbonnier_loss, l1_loss, mse_loss
from laminate.recipes import build, painting
from laminate.recipes.decoder import for_tokenizer
from laminate.recipes.devices import computed_again, open_devices
from laminate.recipes.endings import training_errors, user_errors
from laminate.recipes.latents import latents_like, load_tokenizer
from laminate.recipes.launch import conclude, train
from laminate.recipes.opening import open_run
from laminate.recipes.work import AdversarialWork, Work
from laminate.train.gan_objectives import GanObjectives

PIXELS = {"l1": l1_loss, "l2": mse_loss, "charbonnier": charbonnier_loss}
DISCRIMINATOR = {"hinge": hinge_loss, "vanilla": vanilla_loss}
ADVERSARIAL = {"mean": generator_loss, "non-saturating": non_saturating_loss}

# 1. What is read: latents of a frozen tokenizer, or features of a frozen network; noisy in training


def find_tokenizer(flags):
    """The folder of the tokenizer, as for a generator: the embedded one is trained first where it is not there yet."""
    if flags.tokenizer is not None:
        return flags.tokenizer
    import generator

    return generator.find_tokenizer(flags)


def make_frozen(recipe, *, weights=True, tokenizer=None):
    described = None
    if recipe.reads == "latents":
        described = latents_like(recipe) if tokenizer is None else tokenizer.recipe
    teacher = build.teacher(recipe.teacher if described is None else described.teacher, weights=weights)
    model = None if tokenizer is None else tokenizer.model
    if described is not None and model is None:
        model = eqx.filter_eval_shape(build.flatdino, described, key=jax.random.key(0))
    adversary = None if recipe.adversary.kind == "none" else painting.backbone(recipe, weights=weights)
    return Frozen(teacher, model, painting.perceptual(recipe, weights=weights), adversary)


def make_reading(recipe, dtype):
    return Reading(recipe.noise.kind, recipe.noise.strength, dtype)


def make_hidden(dtype):
    """What the decoder computes in front of its last layer, from latents or features."""
    return lambda decoder, frozen, latents, key: decoder.hidden(latents.astype(dtype), key=key)


# 2. The decoder's objective: L1 + LPIPS, and beside them, balanced by their gradients, -D(image)


def make_perceptual(recipe, frozen):
    """The perceptual distance of two images in [0, 1]; None if there is none."""
    if recipe.perceptual.kind == "lpips":
        return partial(lpips_loss, network=frozen.perceptual, clip=recipe.clip)
    return pyramid_distance if recipe.perceptual.kind == "pyramid" else None


def make_decoder_objective(recipe):
    def objective(image, hidden, prepared, frozen, *, step):
        loss = PIXELS[recipe.pixels](image, prepared.target)
        terms = {"recon_loss": loss}
        perceptual = make_perceptual(recipe, frozen)
        if perceptual is not None:
            terms["perceptual_loss"] = perceptual(image, prepared.target)
            loss = loss + recipe.perceptual.weight * terms["perceptual_loss"]
        return loss, terms

    return objective


# 3. The adversary's objective: to tell images from painted ones, both moved and recoloured at random


def make_views(recipe, dtype):
    adversary = recipe.adversary

    def views(image, frozen, *, key):
        signed = 2.0 * (jnp.clip(image, 0.0, 1.0) if recipe.clip else image) - 1.0
        moved = diffaug(
            signed, draw_augmentation(key), probability=adversary.augment_rate, cutout=adversary.cutout
        )
        shown = (moved, signed) if adversary.consistency else (moved,)
        return tuple(frozen.backbone(view.astype(dtype)) for view in shown)

    return views


def make_adversary_objective(recipe):
    adversary = recipe.adversary

    def objective(real, fake):
        on_real, on_fake = (seen.discriminator(seen.views[0]) for seen in (real, fake))
        loss = DISCRIMINATOR[adversary.discriminator_loss](on_real, on_fake)
        terms = {"logits_real": jnp.mean(on_real), "logits_fake": jnp.mean(on_fake)}
        terms["logits_gap"] = terms["logits_real"] - terms["logits_fake"]
        if adversary.r1:
            numbers, shape = ravel_pytree(real.views[0])
            terms["r1"] = r1_penalty(lambda numbers: real.discriminator(shape(numbers)), numbers)
            loss = loss + adversary.r1 * terms["r1"]
        if adversary.consistency:
            pairs = ((real, on_real), (fake, on_fake))
            changes = [consistency_loss(seen.discriminator(seen.views[1]), moved) for seen, moved in pairs]
            terms["consistency"] = sum(changes)
            loss = loss + adversary.consistency * terms["consistency"]
        return loss, terms

    return objective


def quantize_uint8(image):
    """A decoded image as a file would hold it."""
    return jnp.round(jnp.clip(image, 0.0, 1.0) * 255.0) / 255.0


def make_gan_objectives(recipe, dtype, counts):
    adversary, reading = recipe.adversary, make_reading(recipe, dtype)
    discriminator_start, adversarial_start = recipe.starts(counts)
    return GanObjectives(
        prepare=partial(reading.prepared, fresh=recipe.reads == "features"),
        hidden=make_hidden(dtype),
        image=lambda decoder, hidden: decoder.image(hidden),
        last=lambda decoder: decoder.last.weight,
        reconstruct=make_decoder_objective(recipe),
        views=make_views(recipe, dtype),
        generator_loss=ADVERSARIAL[adversary.adversarial_loss],
        discriminator_loss=make_adversary_objective(recipe),
        quantize=quantize_uint8,
        balance=partial(adaptive_weight, largest=adversary.largest_balance),
        weight=adversary.weight,
        adversarial_start=adversarial_start,
        discriminator_start=discriminator_start,
    )


# 4. Architecture and optimisation: a ViT to patches of pixels; the discriminator has its own optimiser


def make_work(flags, recipe, frozen, dtype):
    decoder = lambda key: build.image_decoder(
        recipe, kernel=flags.attention, remat=computed_again(flags.remat, recipe.network.depth), key=key
    )
    if recipe.adversary.kind == "none":
        return Work(decoder, frozen, make_lone_objective(recipe, dtype), recipe.optimizer)
    return AdversarialWork(
        build=decoder,
        build_discriminator=lambda key: painting.discriminator(recipe, key=key),
        frozen=frozen,
        objectives=partial(make_gan_objectives, recipe, dtype),
        optim=recipe.optimizer,
        discriminator_optim=recipe.adversary.optimizer,
        rate=(recipe.adversary.peak or recipe.schedule.peak) / recipe.schedule.peak,
    )


def make_lone_objective(recipe, dtype):
    """The decoder's objective without an adversary, for the plain step."""
    reading, rebuild = make_reading(recipe, dtype), make_decoder_objective(recipe)

    def objective(decoder, frozen, example, *, step, key):
        k_noise, k_decoder = jax.random.split(key)
        prepared = reading.prepared(frozen, example, key=k_noise, fresh=False)
        image = decoder(prepared.inputs.astype(dtype), key=k_decoder)
        return rebuild(image, None, prepared, frozen, step=step)

    return objective


# 5. Evaluation: held-out images from latents without noise


def make_measure(recipe, dtype):
    reading, pixels = make_reading(recipe, dtype), PIXELS[recipe.pixels]

    def measure(decoder, frozen, example):
        prepared_latents = reading.clean(frozen, example)
        image, original = decoder(prepared_latents.astype(dtype)), reading.target(example)
        perceptual = make_perceptual(recipe, frozen)
        named = {} if perceptual is None else {"perceptual": perceptual}
        measures = decoding_measures(original, image, perceptual=named)
        loss = pixels(image, original)
        if perceptual is not None:
            loss = loss + recipe.perceptual.weight * measures["perceptual"]
        return {**measures, "loss": loss}

    return measure


def main(flags, recipe):
    with user_errors("decoder.py"):
        # 6. Data, devices and run folder
        open_devices(flags)
        tokenizer, title = None, f"Image decoder {recipe.name}"
        if recipe.reads == "latents":
            tokenizer = load_tokenizer(find_tokenizer(flags), codes=True, kernel=flags.attention)
            recipe = for_tokenizer(recipe, tokenizer.recipe, tokenizer.identity)
            title = f"{title} on {tokenizer.recipe.name}"
        run = open_run(flags, painting.identified(recipe), partial(make_frozen, tokenizer=tokenizer))
        recipe, frozen = run.recipe, run.frozen
        reading = make_reading(recipe, run.compute_dtype)
        fid = (
            None
            if flags.inception is None
            else ReconstructionFid(run, reading, painting.inception(flags.inception))
        )
    with run.folder, training_errors("decoder.py"):
        trained = train(
            run,
            make_work(flags, recipe, frozen, run.compute_dtype),
            measure=make_measure(recipe, run.compute_dtype),
            summarise=summarise_decoding,
            title=title,
            shown=("train/recon_loss", "train/logits_gap", "train/adversarial_weight"),
            look=fid,
            metric=f"val/{flags.best_by}",
            highest=flags.best_by in ("psnr", "ssim"),
        )
        report = partial(
            write_decoder_report,
            frozen=frozen,
            reading=reading,
            title=title,
        )
        conclude(run, trained, report, best=False)


if __name__ == "__main__":
    main(*COMMAND)
