"""A tiny job: 24 small pictures, a recipe of seconds, and the experiments as a user starts them."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import equinox as eqx
import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
from PIL import Image

from laminate.cli.command import training_command
from laminate.recipes.adversarial.recipe import Adversary, Perceptual
from laminate.recipes.augment import RandomResizedCropConfig
from laminate.recipes.bottleneck import FsqBottleneck, GaussianBottleneck
from laminate.recipes.dino_sae.family import DINO_SAE
from laminate.recipes.dino_sae.recipe import ConvDecoderConfig, DinoSaeRecipe, LatentNoise
from laminate.recipes.families import to_json
from laminate.recipes.family import Recipe
from laminate.recipes.flatdino.family import FSQ, VAE
from laminate.recipes.flatdino.modules import flatdino
from laminate.recipes.flatdino.recipe import FlatDinoRecipe
from laminate.recipes.generator.family import GENERATOR
from laminate.recipes.generator.modules import generator
from laminate.recipes.generator.recipe import GeneratorRecipe, Guidance
from laminate.recipes.image_decoder.family import IMAGE_DECODER
from laminate.recipes.image_decoder.recipe import DecoderRecipe
from laminate.recipes.latent import for_latents
from laminate.recipes.masked_autoencoder.family import MASKED_AUTOENCODER
from laminate.recipes.masked_autoencoder.modules import masked_autoencoder
from laminate.recipes.masked_autoencoder.recipe import MaskedAutoencoderRecipe, as_teacher
from laminate.recipes.network import VitConfig, find_teacher, patch_teacher
from laminate.recipes.training import Optimizer, Schedule
from laminate.recipes.vitok.family import VITOK
from laminate.recipes.vitok.recipe import Losses, NaFlexConfig, VitokRecipe
from laminate.recipes.vitok.view import TokenBudgetConfig
from laminate.runs.experiment import load_experiment
from laminate.runs.load_tokenizer import load_tokenizer
from laminate.runs.pretrained import save_pretrained
from laminate.types import join_buffers, split_buffers

ROOT = Path(__file__).parents[2]
FAMILIES = {family.name: family for family in (VAE, FSQ, GENERATOR, IMAGE_DECODER, VITOK)} | {
    "teacher": MASKED_AUTOENCODER,
    "dino_sae": DINO_SAE,
}
VIT = VitConfig(dim=16, depth=1, heads=2, hidden=24, positions="learned")
TINY = FlatDinoRecipe(
    name="tiny",
    teacher=patch_teacher(16, 4),
    tokens=3,
    encoder=VIT,
    decoder=VIT,
    bottleneck=GaussianBottleneck(latent_dim=6),
    schedule=Schedule(
        unit="steps", length=6, warmup=2, decay=2, validate_every=3, start=1e-5, peak=1e-3, final=1e-6
    ),
    optimizer=Optimizer(clip_norm=1.0, ema_decay=0.9),
    augment=RandomResizedCropConfig(image_size=16),
    global_batch_size=8,
)
TINY_FSQ = dataclasses.replace(
    TINY, name="tiny-fsq", bottleneck=FsqBottleneck((5, 5, 4), nested_dropout=True)
)
TINY_PRODUCT_FSQ = dataclasses.replace(
    TINY, name="tiny-product-fsq", bottleneck=FsqBottleneck((5, 4), codebooks=2)
)
TINY_DIT = GeneratorRecipe(
    name="tiny-dit",
    network=dataclasses.replace(VIT, norm="rms", qk_norm=False, positions="sincos"),
    schedule=TINY.schedule,
    class_dropout=0.2,
    time_shift=2.0,
    prediction="data",
    normalize=True,
    steps=4,
    guidance=Guidance(1.5, (0.1, 0.9)),
    optimizer=TINY.optimizer,
    global_batch_size=8,
)
TINY_DECODER = DecoderRecipe(
    name="tiny-decoder",
    network=VIT,
    patch_size=4,
    schedule=TINY.schedule,
    perceptual=Perceptual("pyramid"),
    adversary=Adversary(
        kind="patchgan",
        layers=1,
        channels=4,
        discriminator_start=0,
        adversarial_start=0,
        peak=2e-3,
        optimizer=Optimizer(betas=(0.5, 0.9), weight_decay=0.0, ema_decay=0.8),
    ),
    augment=TINY.augment,
    optimizer=TINY.optimizer,
    global_batch_size=8,
)
TINY_TEACHER = MaskedAutoencoderRecipe(
    name="tiny-teacher",
    encoder=dataclasses.replace(VIT, mlp="gelu"),
    decoder=dataclasses.replace(VIT, dim=12, hidden=10),
    schedule=TINY.schedule,
    patch_size=4,
    overlap=1,
    feature_noise=0.4,
    optimizer=TINY.optimizer,
    augment=TINY.augment,
    global_batch_size=8,
)
TINY_VITOK = VitokRecipe(
    name="tiny-vitok",
    encoder=NaFlexConfig(dim=16, depth=1, heads=2, layer_scale=0.3),
    decoder=NaFlexConfig(dim=24, depth=2, heads=3, layer_scale=0.3),
    channels=5,
    schedule=TINY.schedule,
    teacher=find_teacher("embedded"),
    losses=Losses(tile=16, tiles=2),
    augment=TokenBudgetConfig(image_size=16, patch=4, budgets=(7, 16)),
    optimizer=TINY.optimizer,
    global_batch_size=8,
)
TINY_SAE = DinoSaeRecipe(
    name="tiny-sae",
    former="",
    teacher=as_teacher(TINY_TEACHER, "frozen"),
    schedule=TINY.schedule,
    stem=(6,),
    decoder=ConvDecoderConfig((4, 8, 16), (1, 1, 1), ("residual", "residual", "attention"), head_dim=4),
    alignment=0.5,
    perceptual=Perceptual("pyramid"),
    augment=TINY.augment,
    optimizer=TINY.optimizer,
    global_batch_size=8,
)
TINY_SAE_2 = dataclasses.replace(
    TINY_SAE,
    name="tiny-sae-2",
    former="tiny-sae",
    trains="decoder",
    alignment=0.0,
    adversary=dataclasses.replace(TINY_DECODER.adversary, balanced=False),
    noise=LatentNoise(0.5, 1.5, 4),
)
RECIPES = {
    "vae": TINY,
    "fsq": TINY_FSQ,
    "generator": TINY_DIT,
    "decoder": TINY_DECODER,
    "teacher": TINY_TEACHER,
    "vitok": TINY_VITOK,
    "dino_sae": TINY_SAE,
}


@dataclasses.dataclass(frozen=True)
class Job:
    """One experiment on the tiny data, in this process or in one of its own; all it writes lies in `folder`."""

    folder: Path
    photos: Path
    family: str = "vae"
    tokenizer: Path | None = None

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def arguments(self, *more: str, recipe: Recipe | None = None, run: Path | None = None) -> list[str]:
        recipe = recipe or RECIPES[self.family]
        file = self.folder / f"{recipe.name}.json"
        file.write_text(to_json(recipe))
        return [
            *("--recipe", str(file), "--data", str(self.photos), "--run-dir", str(run or self.run)),
            *("--mesh", "1", "--log-every", "1", "--data-workers", "1"),
            *(() if self.tokenizer is None else ("--tokenizer", str(self.tokenizer))),
            *more,
        ]

    def command(self, *more: str, recipe: Recipe | None = None, run: Path | None = None):
        """Flags and recipe, as the command line makes them."""
        arguments = self.arguments(*more, recipe=recipe, run=run)
        return training_command(None, FAMILIES[self.family], arguments=arguments)

    def main(self, *more: str, recipe: Recipe | None = None, run: Path | None = None) -> None:
        """The whole experiment, in this process."""
        experiment(self.family).main(*self.command(*more, recipe=recipe, run=run))

    def process(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "experiments" / f"{self.family}.py"), *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "JAX_PLATFORMS": "cpu",
                "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
                **compiled_beside(self.photos),
            },
        )

    def losses(self, run: Path | None = None, name: str = "loss") -> dict[int, float]:
        key = f"train/{name}"
        return {line["step"]: line[key] for line in metrics(run or self.run) if key in line}


def compiled_beside(photos: Path) -> dict[str, str]:
    """The environment of a process that shares compiled programs, those that take no second too."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(photos.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def experiment(family: str):
    """The module experiments/`family`.py."""
    return load_experiment(str(ROOT / "experiments" / f"{family}.py"), beside=__file__)


@contextlib.contextmanager
def compilations() -> Iterator[Counter[str]]:
    """How often each jitted function is compiled meanwhile, by its name, found again on the disk or not."""
    found: Counter[str] = Counter()

    def heard(event: str, seconds: float, **more: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            found[str(more["fun_name"])] += 1

    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(heard)


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def fingerprints(run: Path, step: int) -> dict[str, int]:
    """Of every array of a checkpoint, bit for bit."""
    manifest = json.loads((run / "checkpoints" / str(step) / "manifest.json").read_text())
    return {name: leaf["fingerprint"] for name, leaf in manifest["leaves"].items()} | manifest["position"]


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below `folder` with its size and time of change."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def one_line(text: str) -> str:
    """`text`, seen to be one line."""
    assert text.count("\n") == 1 and text.endswith("\n"), text
    return text.strip()


def wait_for(path: Path, process: subprocess.Popen[str], *, seconds: float = 120.0) -> None:
    """Until `path` exists."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


def write_photos(folder: Path, *, classes: tuple[str, ...], each: int) -> Path:
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            coarse = rng.integers(0, 256, (3, 4, 3), np.uint8)
            suffix = ("png", "jpg")[number % 2]
            Image.fromarray(coarse).resize((40, 30)).save(folder / name / f"{number:02}.{suffix}")
    return folder


def write_tokenizer(
    folder: Path, *, recipe: FlatDinoRecipe = TINY, statistics: bool = True, seed: int = 0
) -> Path:
    """An untrained tokenizer of `recipe` whose images differ, as a finished run shares it."""
    model = _noisy(jax.jit(lambda key: flatdino(recipe, key=key))(jax.random.key(seed)))
    if statistics:
        shape = (recipe.tokens, recipe.bottleneck.width)
        measured = model.normalization.measured(jnp.full(shape, 0.1), jnp.full(shape, 0.04))
        model = eqx.tree_at(lambda m: m.normalization, model, measured)
    save_pretrained(model, folder, recipe=recipe)
    return folder


def write_teacher(folder: Path, *, recipe: MaskedAutoencoderRecipe = TINY_TEACHER) -> Path:
    """An untrained frozen network, saved as a finished run shares it."""
    made = _noisy(jax.jit(lambda key: masked_autoencoder(recipe, key=key))(jax.random.key(0)))
    save_pretrained(made, folder, recipe=recipe)
    return folder


def write_generator(
    folder: Path, tokenizer: Path, *, recipe: GeneratorRecipe = TINY_DIT, classes: int = 2
) -> Path:
    """An untrained generator, whose output is not zero, on the latents of `tokenizer`."""
    loaded = load_tokenizer(tokenizer)
    spoken = dataclasses.replace(for_latents(recipe, loaded.latent, loaded.identity), classes=classes)
    if classes:
        spoken = dataclasses.replace(spoken, class_names=("cats", "dogs", "birds")[:classes])
    made = jax.jit(lambda key: generator(spoken, key=key))(jax.random.key(0))
    save_pretrained(_noisy(made), folder, recipe=spoken)
    return folder


def _noisy(model):
    """`model` with noise on every weight, so that nothing begins at zero."""
    rng = np.random.default_rng(1)
    params, buffers = split_buffers(model)
    noisy = jax.tree.map(
        lambda leaf: leaf + jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype), params
    )
    return join_buffers(noisy, buffers)
