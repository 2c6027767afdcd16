"""A family of another project, whole: patches of an image through one linear map to a few numbers, and back."""

import re
from dataclasses import dataclass, replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from laminate.analysis.figures import sample_grid
from laminate.analysis.report import Picture
from laminate.cli.command import training_command
from laminate.losses.reconstruction import mse_loss
from laminate.nn import Linear, patchify, unpatchify
from laminate.pretrained.features import unit_image
from laminate.recipes.augment import RandomResizedCropConfig
from laminate.recipes.describe import training_rows
from laminate.recipes.families import join
from laminate.recipes.family import CardText, Family, Modules, Names, Text
from laminate.recipes.latent import LatentSpec
from laminate.recipes.network import PLAIN
from laminate.recipes.training import Optimizer, Schedule
from laminate.runs.evaluations import Measured
from laminate.runs.exit_codes import training_errors, user_errors
from laminate.runs.setup import setup
from laminate.runs.task import Task
from laminate.runs.training import conclude, train
from laminate.tokenizers.base import ImageTokenizer
from laminate.train.step import joined, make_map, map_batches

# 1. What is trained: the recipe, its names, what is said of it

SCHEDULE = Schedule(unit="steps", length=6, warmup=2, decay=2, validate_every=3)
OPTIMIZER, CROP = Optimizer(ema_decay=0.9), RandomResizedCropConfig(image_size=16)


@dataclass(frozen=True)
class PatchRecipe:
    name: str
    patch: int = 4
    dim: int = 6
    schedule: Schedule = SCHEDULE
    optimizer: Optimizer = OPTIMIZER
    augment: RandomResizedCropConfig = CROP
    global_batch_size: int = 8

    def __post_init__(self) -> None:
        if self.augment.image_size % self.patch:
            raise ValueError(f"patch {self.patch} must divide augment.image_size {self.augment.image_size}.")

    @property
    def grid(self) -> int:
        return self.augment.image_size // self.patch

    def in_steps(self, steps: int) -> "PatchRecipe":
        return replace(self, schedule=self.schedule.in_steps(steps))


def parse(name: str) -> PatchRecipe:
    sizes = re.fullmatch(r"patches-(\d+)-(\d+)", name)
    if sizes is None:
        raise ValueError(f"Unknown experiment {name!r}: names are patches-PATCH-DIM, as patches-4-6.")
    return PatchRecipe(name, patch=int(sizes[1]), dim=int(sizes[2]))


def describe(recipe: PatchRecipe) -> Text:
    return Text(
        title=f"Patch autoencoder {recipe.name}",
        header=(("latent", f"{recipe.grid**2} tokens of {recipe.dim}"),),
        rows=training_rows(recipe.schedule, recipe.global_batch_size),
        summary=f"Patches of {recipe.patch} pixels in {recipe.dim} numbers each.",
        card=CardText(task="image-to-image", tags=("image-tokenizer", "toy"), use=("A toy.",)),
    )


class PatchAutoencoder(ImageTokenizer):
    encoder: Linear
    decoder: Linear
    patch: int = eqx.field(static=True)
    grid: int = eqx.field(static=True)

    def encode_raw(self, example, *, dtype, key=None):
        return self.encoder(patchify(unit_image(example["image"]), self.patch).astype(dtype)), None

    def image(self, latents, *, dtype):
        patches = self.decoder(latents.astype(dtype)).astype(jnp.float32)
        return unpatchify(patches, self.patch, (self.grid, self.grid))


def build(recipe, compute=PLAIN, *, key):
    (k_encoder, k_decoder), pixels = jax.random.split(key), 3 * recipe.patch**2
    encoder, decoder = Linear(pixels, recipe.dim, key=k_encoder), Linear(recipe.dim, pixels, key=k_decoder)
    return PatchAutoencoder(encoder, decoder, recipe.patch, recipe.grid)


TOY = Family(
    name="toy",
    tag="toy",
    script="toy_family.py",
    kind="tokenizer",
    recipe=PatchRecipe,
    names=Names(presets={"tiny": lambda: PatchRecipe("tiny")}, default="tiny", parse=parse),
    text=describe,
    modules=lambda: Modules(build=build),
    latent=lambda r: LatentSpec(r.grid**2, r.dim, r.augment.image_size, normalised=False),
)
join(TOY)

# 2. Objective, evaluation, report


def rebuilt(model, frozen, example, *, dtype):
    image = unit_image(example["image"])
    return {"image": image, "rebuilt": model.image(model.encode_raw(example, dtype=dtype)[0], dtype=dtype)}


def objective(model, frozen, example, *, step=None, key=None, dtype):
    return mse_loss(*rebuilt(model, frozen, example, dtype=dtype).values()), {}


def make_task(recipe, frozen, compute):
    loss = partial(objective, dtype=jnp.dtype(compute.dtype))
    return Task(partial(build, recipe, compute), frozen, loss, recipe.optimizer)


def report(run, model):
    apply = make_map(partial(rebuilt, dtype=run.dtype), model, None, mesh=run.mesh, compute_dtype=run.dtype)
    pairs = joined(map_batches(apply, model, None, run.visualised()))
    run.save(run.folder / "tokenizer", model, {})
    drawn = sample_grid(np.clip(np.concatenate([*pairs.values()]), 0.0, 1.0), columns=len(pairs["image"]))
    (run.folder / "pairs.png").write_bytes(drawn)
    return run.page(headlines=(), pictures=(Picture("pairs.png", "Held-out images"),), files=())


def main(flags, recipe):
    with user_errors("toy_family.py"):
        run = setup(flags, recipe)
    with run.folder, training_errors("toy_family.py"):
        measure = lambda *given: {"loss": objective(*given, dtype=run.dtype)[0]}
        mean = lambda sums: {"val/loss": float(sums["loss"] / sums["count"])}
        task, ask = make_task(run.recipe, run.frozen, run.compute), Measured(measure=measure, summarise=mean)
        trained = train(run, task, evaluations=(ask,), progress_metrics=("train/loss",))
        conclude(run, trained, report)


if __name__ == "__main__":
    main(*training_command(__doc__, TOY))
