"""The command line of a training: where it runs and what it keeps. What is trained is said by the recipe.

The few flags that change the recipe (`teacher`, `steps`, `global_batch_size`) end up in the resolved recipe,
which every run writes as `recipe.json` and can be started from again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from laminate.data.prepared import array_facts
from laminate.recipes.checks import above, at_least
from laminate.recipes.families import Recipe, require_script, script
from laminate.recipes.flatdino import FlatDinoRecipe, Variant, as_variant
from laminate.recipes.generator import GeneratorRecipe
from laminate.recipes.json_text import from_json, teacher_of
from laminate.recipes.network import StoredDtype, Teacher, find_teacher
from laminate.recipes.training import OptimizerKind

Precision = Literal["auto", "float32", "bfloat16"]
AttentionKernel = Literal["xla", "cudnn"]
Remat = Literal["none", "dots", "block", "attention"]
AutoRemat = Literal["auto", Remat]
Resume = Literal["auto", "newest-good", "required"]

RECIPE_FILE = "recipe.json"


@dataclass(frozen=True)
class RunFlags:
    """What every training can be told."""

    experiment: str | None = None
    """Name of the experiment, such as long-32-bl-128 or ditxl; `python -m laminate.recipes explain NAME` says what
    it means. Without it: the small recipe of the embedded photographs."""
    recipe: Path | None = None
    """Start from this recipe.json (or the run folder that holds it) instead of a name."""
    steps: int | None = None
    """Length of the training in optimiser steps; warm-up and decay keep their share.
    Default: the recipe's."""
    global_batch_size: int | None = None
    """Images per optimiser step over all devices. Default: the recipe's."""
    seed: int = 0
    """Decides initial weights, order of the images, augmentation and sampling noise."""
    overfit: bool = False
    """Train on the first batch over and over: what cannot learn even that has a fault."""

    data: str = "embedded"
    """embedded, a prepared folder, a folder of images, tar files, tfds:NAME[@DIR] or
    parquet files; or features that experiments/encode.py wrote."""
    data_workers: int | None = None
    """Threads that decode images. Default: one per core."""
    max_bad_images: int = 16
    """Images that cannot be decoded and are skipped before the training stops."""
    data_timeout: float = 600.0
    """Seconds that a batch may take to be read before the training stops."""

    mesh: str = "auto"
    """Devices: auto, 8 (data), 4x8 (data x fsdp) or 2x4x8 (slices x data x fsdp). Simulated on a CPU."""
    coordinator: str | None = None
    """ADDRESS:PORT of host 0, when several processes train together and neither a TPU slice nor Slurm says so.
    On several machines all need the same secret in LAMINATE_JOB_TOKEN; tpu/launch.sh sees to it."""
    hosts: int | None = None
    """How many processes train together; 1 trains alone on one host of many. Default: what the TPU slice or the
    Slurm job says; else one."""
    host: int | None = None
    """The number of this process, from 0."""
    distributed: bool = False
    """Refuse to train alone: there must be a TPU slice, a Slurm job or --coordinator."""
    watchdog: float | None = None
    """Seconds without a step after which a process writes where it is stuck and ends.
    Default: 900 with several hosts, never with one."""
    device_batch_size: int | None = None
    """Images per device at a time; gradients are accumulated up to the global batch. Default: all at once."""
    precision: Precision = "auto"
    """Number format of the computation; auto is float32 on a CPU and bfloat16 elsewhere. Parameters stay
    float32."""
    attention: AttentionKernel = "xla"
    """Attention kernel: XLA's own, or cuDNN flash attention (NVIDIA GPUs, bfloat16)."""
    remat: AutoRemat = "auto"
    """What the backward pass computes again to save memory: nothing, all but matrix products, whole layers,
    or attention. auto is whole layers on a CPU, where keeping their parts costs more time than computing them again,
    and nothing elsewhere."""

    run_dir: str | None = None
    """Folder of the run, gs://BUCKET/PATH too. Default: runs/NAME."""
    fresh: bool = False
    """Start over; an earlier run in the folder is moved to <run folder>.previous."""
    resume: Resume = "auto"
    """auto continues if there is a checkpoint; newest-good also steps back over damaged ones; required
    refuses to start anew."""
    restore: str | None = None
    """Begin with the newest checkpoint of this other run folder, or with the one at RUN/checkpoints/STEP. The
    schedule may be another, such as a longer one."""
    init_from: str | None = None
    """Begin with the weights of a run, a saved folder or a hub repository: for fine-tuning, with another number of
    tokens too. What does not fit is newly drawn; the optimiser, the schedule and the data begin anew."""
    stop_after: int | None = None
    """Save after this step and leave, as Ctrl-C does; the same command without it goes on."""
    checkpoint: bool = True
    """Save checkpoints."""
    checkpoint_every: int | None = None
    """Steps between checkpoints. Default: as often as it validates."""
    keep: int = 2
    """Newest checkpoints that are kept, beside the best one and the one before the decay."""

    validate_every: int | None = None
    """Steps between validations. Default: the recipe's."""
    log_every: int = 20
    """Steps between lines of metrics."""
    wandb: bool = False
    """Log to Weights & Biases as well (extra `wandb`)."""
    wandb_project: str = "laminate"
    """Weights & Biases project."""
    wandb_name: str | None = None
    """Weights & Biases run name. Default: the name of the experiment."""
    tensorboard: bool = False
    """Log to TensorBoard as well (extra `tensorboard`)."""
    profile: tuple[int, int] | None = None
    """Record a profile from the first of these steps to the second."""

    def __post_init__(self) -> None:
        for flag in ("steps", "global_batch_size", "data_workers", "device_batch_size", "checkpoint_every"):
            _positive(flag, getattr(self, flag))
        for flag in ("keep", "validate_every", "log_every", "stop_after"):
            _positive(flag, getattr(self, flag))
        at_least("--max-bad-images", self.max_bad_images, 0)
        above("--data-timeout", self.data_timeout, 0)
        if self.watchdog is not None:
            above("--watchdog", self.watchdog, 0)
        at_least("--seed", self.seed, 0)
        if self.profile is not None:
            first, last = self.profile
            at_least("--profile START", first, 0)
            above("--profile STOP", last, first)
        if self.fresh and (self.restore is not None or self.resume == "required"):
            raise ValueError("--fresh starts over, so it cannot stand beside --restore or --resume required.")
        if self.init_from is not None and self.restore is not None:
            raise ValueError(
                "--restore goes on with another run, --init-from begins a new one with its weights: give one of them."
            )
        if self.experiment is not None and self.recipe is not None:
            raise ValueError("Give --experiment or --recipe, not both: each of them is the whole recipe.")

    @property
    def suffix(self) -> str:
        """What is added to the name of the recipe for that of its run folder."""
        return "-overfit" if self.overfit else ""


@dataclass(frozen=True)
class TrainFlags(RunFlags):
    """Train a tokenizer of patch features."""

    variant: Variant = "paper"
    """Follow the paper, or its released code where the two differ."""
    teacher: str | None = None
    """Frozen network: patches, patches-IMAGE-PATCH, a known name (dinov2-b; `python -m laminate.pretrained list`), a
    folder, a .safetensors file, ORGANISATION/NAME of the hub, or NAME=WHERE. Default: the recipe's."""
    teacher_image_size: int | None = None
    """Side of the images that the teacher sees, in pixels. Default: the usual one of that network."""
    teacher_dtype: StoredDtype = "float32"
    """Number format in which the teacher's weights are held; bfloat16 halves their memory."""
    pixel_decoder: str | None = None
    """Decoder of a published autoencoder on this teacher, a file or folder: the report shows reconstructions through
    it. Without one, and for teachers whose features are no pixels, it shows the features in false colours."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive("teacher_image_size", self.teacher_image_size)

    @property
    def suffix(self) -> str:
        return ("" if self.variant == "paper" else f"-{self.variant}") + super().suffix


@dataclass(frozen=True)
class GeneratorFlags(RunFlags):
    """Train a generator on the latents of a trained tokenizer."""

    tokenizer: str | None = None
    """Run, saved folder or hub repository of the tokenizer. Default: runs/embedded-16-128, trained first if need
    be."""
    decoder: str | None = None
    """What paints the samples that are shown, as in sample.py: a run of decoder.py, a saved folder or hub repository, a
    published decoder, or none. Default: the run embedded-decoder beside the tokenizer, if it was trained on it."""
    optimizer: OptimizerKind | None = None
    """adamw, muon or schedule-free. Default: the recipe's."""
    unconditional: bool = False
    """Train without the labels of the data."""


def _positive(flag: str, value: int | None) -> None:
    if value is not None:
        at_least(f"--{flag.replace('_', '-')}", value, 1)


def resolve_recipe(
    flags: TrainFlags, from_name: Callable[[str], FlatDinoRecipe], *, default: str
) -> FlatDinoRecipe:
    """The tokenizer recipe that the flags ask for: a JSON file, a name or `default`, with the overrides applied.

    `from_name` is the family's function, `experiments.flatdino_vae` or `flatdino_fsq`. Raises `ValueError` or
    `FileNotFoundError` with what is wrong and how to mend it.
    """
    recipe = named_recipe(flags, from_name, default)
    assert isinstance(recipe, FlatDinoRecipe)
    recipe = _with_teacher_of(flags, as_variant(recipe, flags.variant))
    return replace(recipe, **_lengths(flags, recipe))


def _with_teacher_of(flags: TrainFlags, recipe: FlatDinoRecipe) -> FlatDinoRecipe:
    """`recipe` with the teacher that the flags name, or whose features the data are."""
    encoded = array_facts(flags.data)
    size, dtype = flags.teacher_image_size, flags.teacher_dtype
    if flags.teacher is None and encoded is not None:
        if size is not None or dtype != "float32":
            raise ValueError(
                f"{flags.data} holds features that are computed already: leave --teacher-image-size and "
                "--teacher-dtype out, or encode the images again with them."
            )
        teacher = teacher_of(encoded.made_by["teacher"])
    elif flags.teacher is None and size is None and dtype == "float32":
        return recipe
    else:
        teacher = find_teacher(flags.teacher or recipe.teacher.name, image_size=size, dtype=dtype)
    same = replace(teacher, weights="") == replace(recipe.teacher, weights="")
    # The recipe of an earlier run keeps its views, and the hash that the weights are compared with.
    return recipe if same and recipe.teacher.weights else with_teacher(recipe, teacher)


def resolve_generator(
    flags: GeneratorFlags, from_name: Callable[[str], GeneratorRecipe], *, default: str
) -> GeneratorRecipe:
    """The generator recipe that the flags ask for, as `resolve_recipe`."""
    recipe = named_recipe(flags, from_name, default)
    assert isinstance(recipe, GeneratorRecipe)
    if flags.optimizer is not None:
        recipe = replace(recipe, optimizer=replace(recipe.optimizer, kind=flags.optimizer))
    if flags.unconditional:
        recipe = replace(recipe, classes=0, class_names=())
    return replace(recipe, **_lengths(flags, recipe))


def named_recipe(flags: RunFlags, from_name: Callable[[str], Recipe], default: str) -> Recipe:
    """The recipe of the file or the name; of a file, seen to be of this experiment."""
    if flags.recipe is None:
        return from_name(flags.experiment or default)
    recipe = read_recipe(flags.recipe)
    require_script(recipe, script(from_name(default)))
    return recipe


def _lengths(flags: RunFlags, recipe: Recipe) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    if flags.steps is not None:
        changed["schedule"] = recipe.schedule.in_steps(flags.steps)
    if flags.global_batch_size is not None:
        changed["global_batch_size"] = flags.global_batch_size
    return changed


def with_teacher(recipe: FlatDinoRecipe, teacher: Teacher) -> FlatDinoRecipe:
    """`recipe` on the features of another teacher, with crops of the size that this teacher wants.

    Pixel patches say nothing of their place, so the encoder then gets learned positions, which the paper's has not.
    """
    augment = replace(recipe.augment, image_size=teacher.crop_size)
    encoder = replace(recipe.encoder, positions="learned") if teacher.name == "patches" else recipe.encoder
    return replace(recipe, teacher=teacher, encoder=encoder, augment=augment)


def read_recipe(path: Path) -> Recipe:
    """The recipe in the JSON file `path`, or in `recipe.json` of the folder `path`."""
    file = path / RECIPE_FILE if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"There is no recipe at {file}: give a run folder or its {RECIPE_FILE}.")
    try:
        return from_json(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def run_folder(flags: RunFlags, recipe: Recipe) -> str:
    """Where the run is written: `--run-dir`, else `runs/NAME` (`runs/NAME-released` for that variant)."""
    return flags.run_dir or f"runs/{recipe.name}{flags.suffix}"
