"""DINO-SAE: a convolutional stem before a frozen DINOv3, a convolutional decoder behind it (arXiv:2601.22904).

    python experiments/dino_sae.py                                    a laptop: both stages, on what is in the package
    python experiments/dino_sae.py --stages v2 --data ~/photos --lpips lpips.safetensors --mesh 4x8
                                                                      both published stages, DINOv3-L, 32 devices
    python experiments/dino_sae.py --experiment dino-sae-v2-2 --init-from runs/dino-sae-v2-1 --lpips lpips.safetensors
                                                                      one stage alone

Ends with report.html in the run folder; `experiments/generator.py --tokenizer` draws its tokens. Run it again to go on,
or with --fresh to start over.
"""

from laminate.cli.command import training_command
from laminate.recipes.dino_sae.family import DINO_SAE

if __name__ == "__main__":  # before the imports below, which --help and a misspelt name need not wait for
    COMMAND = training_command(__doc__, DINO_SAE)

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from laminate.analysis.curves import Panel
from laminate.analysis.decoding import decoding_measures, summarise_decoding
from laminate.analysis.picture_report import ORIGINAL, PANELS, quality_headlines, write_picture_report
from laminate.bottlenecks.noisy import Noisy
from laminate.losses.alignment import cosine_alignment_loss
from laminate.losses.reconstruction import l1_loss
from laminate.models.dino_sae import as_pixels, encoded
from laminate.pretrained.features import unit_image
from laminate.pretrained.patches import IMAGENET_MEAN, IMAGENET_STD
from laminate.recipes.adversarial.modules import (
    adversarial_objectives,
    discriminator,
    perceptual_distance,
)
from laminate.recipes.dino_sae.chain import (
    chain_name,
    is_chain,
    stage_flags,
    stage_folder,
)
from laminate.recipes.dino_sae.modules import stem_and_decoder, trained_parts
from laminate.recipes.dino_sae.recipe import require_former
from laminate.recipes.resolve import resolve_recipe
from laminate.runs.asked_subjects import asked_pictures
from laminate.runs.data_place import data_of
from laminate.runs.evaluations import Measured
from laminate.runs.exit_codes import training_errors, user_errors
from laminate.runs.fitting import fitted
from laminate.runs.pretrained import recipe_at
from laminate.runs.setup import setup
from laminate.runs.stages import chain_folder, share_last
from laminate.runs.task import GanTask, Task
from laminate.runs.training import Best, conclude, train
from laminate.tokenizers.dino_sae import around
from laminate.train.export import TOKENIZER
from laminate.train.gan_objectives import DecoderExample

# 1. What is read: the image as the frozen network sees it, noise for its tokens, and the tokens that they should be


class Inputs(NamedTuple):
    seen: Array
    noise: Array | None
    wanted: Array | None


class Hidden(NamedTuple):
    last: Array
    tokens: Array


def latent_noise(recipe, ramp, shape, *, step, key):
    """`tau u noise`, where tau grows for `ramp` steps, and u belongs to the image or to the whole step."""
    noise = recipe.noise
    u, drawn = Noisy(shape[-1], strength=1.0).draw(shape, key=key)
    if noise.per == "batch":
        u = jax.random.uniform(jax.random.fold_in(jax.random.key(0), step), (), jnp.float32)
    grown = jnp.clip(step.astype(jnp.float32) / max(ramp, 1), 0.0, 1.0) if ramp else 1.0
    return (noise.start + (noise.end - noise.start) * grown) * u * drawn


def prepare(recipe, ramp, dtype, frozen, example, *, step, key):
    image = unit_image(example["image"])
    seen = frozen.teacher.seen(image, dtype=dtype)
    wanted = frozen.teacher(image, dtype=dtype) if recipe.alignment else None
    shape = (frozen.teacher.tokens, frozen.teacher.dim)
    noise = latent_noise(recipe, ramp, shape, step=step, key=key) if recipe.noise.acts else None
    inputs = Inputs(seen, noise, wanted)
    return DecoderExample(inputs, inputs if recipe.judged == "noisy" else Inputs(seen, None, None), image)


# 2. The autoencoder: stem, frozen blocks and decoder


def hidden(recipe, model, frozen, inputs, *, key=None):
    network = around(model, frozen.teacher, recipe.decoder.output)
    tokens, _, grid = encoded(network.encoder, inputs.seen)
    latents = tokens
    if inputs.noise is not None:
        latents = (tokens.astype(jnp.float32) + inputs.noise).astype(tokens.dtype)
    return Hidden(network.decoder.hidden(latents.reshape(*grid, -1)), tokens)


def image_of(recipe, model, hidden):
    return as_pixels(model.decoder.image(hidden.last), recipe.decoder.output, IMAGENET_MEAN, IMAGENET_STD)


# 3. The objective: alignment (cosine) + L1 + LPIPS, and in later stages an adversary of constant weight


def perceptual_of(recipe, frozen):
    return perceptual_distance(recipe.perceptual, frozen.perceptual, clip=True)


def reconstruct(recipe, image, hidden, example, frozen, *, step):
    terms = {"recon_loss": l1_loss(image, example.target)}
    loss, perceptual = recipe.pixels * terms["recon_loss"], perceptual_of(recipe, frozen)
    if perceptual is not None:
        terms["perceptual_loss"] = perceptual(image, example.target)
        loss = loss + recipe.perceptual.weight * terms["perceptual_loss"]
    if recipe.alignment:
        terms["alignment_loss"] = cosine_alignment_loss(hidden.tokens, example.inputs.wanted)
        loss = loss + recipe.alignment * terms["alignment_loss"]
    return loss, terms


def reconstruct_alone(recipe, ramp, dtype, model, frozen, example, *, step, key):
    """The same for the plain step, where there is no adversary."""
    prepared = jax.lax.stop_gradient(prepare(recipe, ramp, dtype, frozen, example, step=step, key=key))
    found = hidden(recipe, model, frozen, prepared.inputs)
    return reconstruct(recipe, image_of(recipe, model, found), found, prepared, frozen, step=step)


def make_objectives(recipe, dtype, counts):
    return adversarial_objectives(
        recipe.adversary,
        recipe.schedule,
        counts,
        prepare=partial(prepare, recipe, recipe.tau_steps(counts.per_epoch), dtype),
        hidden=partial(hidden, recipe),
        image=partial(image_of, recipe),
        last=lambda model: model.decoder.last.weight,
        reconstruct=partial(reconstruct, recipe),
        dtype=dtype,
        clip=True,
    )


# 4. Optimisation: of stem and decoder, or of the decoder alone; all else stays as it is


def make_task(recipe, frozen, compute, per_epoch=1):
    dtype, build = jnp.dtype(compute.dtype), partial(stem_and_decoder, recipe, compute)
    if recipe.adversary.kind == "none":
        alone = partial(reconstruct_alone, recipe, recipe.tau_steps(per_epoch), dtype)
        return Task(build, frozen, alone, recipe.optimizer, trained_parts(recipe))
    return GanTask(
        build=build,
        build_discriminator=partial(discriminator, recipe.adversary),
        frozen=frozen,
        objectives=partial(make_objectives, recipe, dtype),
        optim=recipe.optimizer,
        discriminator_optim=recipe.adversary.optimizer,
        rate=recipe.adversary.rate(recipe.schedule),
        trained=trained_parts(recipe),
    )


# 5. Evaluation: held-out images from tokens without noise, and how far these are from the frozen network's own


def rebuilt(recipe, dtype, model, frozen, example):
    image = unit_image(example["image"])
    found = hidden(recipe, model, frozen, Inputs(frozen.teacher.seen(image, dtype=dtype), None, None))
    return image, jnp.clip(image_of(recipe, model, found), 0.0, 1.0), found.tokens


def picture(recipe, dtype, model, frozen, example):
    original, image, _ = rebuilt(recipe, dtype, model, frozen, example)
    return image, original


def measure(recipe, dtype, model, frozen, example):
    original, image, tokens = rebuilt(recipe, dtype, model, frozen, example)
    perceptual = perceptual_of(recipe, frozen)
    named = {} if perceptual is None else {"perceptual": perceptual}
    measures = decoding_measures(original, image, perceptual=named)
    measures["alignment"] = cosine_alignment_loss(tokens, frozen.teacher(original, dtype=dtype))
    loss = recipe.pixels * measures["l1"] + recipe.alignment * measures["alignment"]
    if perceptual is not None:
        loss = loss + recipe.perceptual.weight * measures["perceptual"]
    return {**measures, "loss": loss}


def pictures(recipe, dtype, model, frozen, example):
    original, image, _ = rebuilt(recipe, dtype, model, frozen, example)
    return {ORIGINAL: original, "rebuilt": image}


def headlines(measured, figures):
    rows = quality_headlines(measured)
    if "val/alignment" in measured:
        rows.append((f"{1 - measured['val/alignment']:.3f}", "mean cosine of tokens to the frozen network's"))
    return tuple(rows)


ALIGNMENT = Panel(
    "1 - cos to the frozen network", (("train/alignment_loss", "training"), ("val/alignment", "validation"))
)


def write_report(recipe, dtype, frozen, report, model):
    return write_picture_report(
        report,
        model,
        frozen,
        partial(pictures, recipe, dtype),
        saved=TOKENIZER,
        rows=(ORIGINAL, "rebuilt"),
        caption="From above: the image, and what the decoder makes of its tokens.",
        headlines=headlines,
        patch=recipe.teacher.patch_size,
        panels=(*PANELS, ALIGNMENT),
    )


def train_stage(flags, recipe):
    """Whether the stage came to its end."""
    with user_errors("dino_sae.py"):
        # 6. The former stage, data, devices and run folder
        former = None if flags.init_from is None else recipe_at(flags.init_from)
        require_former(recipe, former, begins=flags.init_from or flags.restore, alone=flags.alone)
        run = setup(flags, recipe)
        run = fitted(run, lambda *given: make_task(*given, run.counts.per_epoch))
        asked = asked_pictures(run, partial(picture, run.recipe, run.dtype), run.frozen)
    with run.folder, training_errors("dino_sae.py"):
        judged = run.recipe.adversary.kind != "none"
        trained = train(
            run,
            make_task(run.recipe, run.frozen, run.compute, run.counts.per_epoch),
            evaluations=(
                Measured(measure=partial(measure, run.recipe, run.dtype), summarise=summarise_decoding),
                *asked,
            ),
            progress_metrics=("train/recon_loss", "train/logits_gap" if judged else "train/alignment_loss"),
            best=Best("val/loss"),
        )
        report = partial(write_report, run.recipe, run.dtype, run.frozen)
        conclude(run, trained, report, best=not judged)
    return trained.finished


def main(flags, recipe):
    if not is_chain(flags):
        train_stage(flags, recipe)
        return
    # 7. All stages, each from the former one
    with user_errors("dino_sae.py"):
        folder = chain_folder(flags, chain_name(recipe.name))
        flags, _ = data_of(flags, stage_folder(folder, 1))
        each = stage_flags(flags, folder)
        planned = [(one, resolve_recipe(one, DINO_SAE)) for one in each]
    for one, stage in planned:
        if not train_stage(one, stage):
            return
    with user_errors("dino_sae.py"):
        share_last(each[-1].run_dir, folder)


if __name__ == "__main__":
    main(*COMMAND)
