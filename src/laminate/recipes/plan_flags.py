"""The command line of a plan: what is trained, on which slice, and where the answer goes."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from laminate.recipes.checks import at_least
from laminate.recipes.decoder_flags import DecoderFlags
from laminate.recipes.explain import find_family, is_decoder, is_generator
from laminate.recipes.families import script
from laminate.recipes.flags import AttentionKernel, GeneratorFlags, Remat, TrainFlags, read_recipe
from laminate.recipes.flatdino import Variant
from laminate.recipes.network import StoredDtype


@dataclass(frozen=True)
class PlanFlags:
    """Compile the training step of an experiment for a TPU slice that is not there, and say what it will cost."""

    experiment: str | None = None
    """Name of the experiment, as in training. Default: the small recipe of the embedded photographs."""
    recipe: Path | None = None
    """Plan this recipe.json (or the run folder that holds it) instead of a name."""
    script: str | None = None
    """Which experiment trains it, such as fsq.py. Default: the one that the name belongs to."""
    variant: Variant = "paper"
    """Follow the paper, or its released code where the two differ."""
    teacher: str | None = None
    """Frozen network, as in training; a known name is planned without its weights."""
    teacher_dtype: StoredDtype = "float32"
    """Number format in which the teacher's weights are held, as in training."""
    global_batch_size: int | None = None
    """Images per optimiser step over all devices. Default: the recipe's."""
    device_batch_size: int | None = None
    """Images per device at a time, as in training. Default: all at once."""
    remat: Remat = "none"
    """What the backward pass computes again, as in training."""
    attention: AttentionKernel = "xla"
    """Attention kernel, as in training."""

    draw: bool = False
    """Plan the drawing of images by a generator, instead of its training."""

    topology: str = "v5e:4x8"
    """The slice: v4:2x2x2, v5e:4x8, v5p:4x4x4, v6e:4x8, TPU7x:2x2x2; 2*v5e:4x8 is two of them."""
    slices: int | None = None
    """How many such slices, joined by the data-centre network."""
    mesh: str = "auto"
    """As in training: 4x8 (data x fsdp), 2x4x8 (slices x data x fsdp); auto is data parallel over all devices."""
    suggest: bool = False
    """If it does not fit, search for the nearest remat, part of the batch, mesh or batch that does."""
    out: Path | None = None
    """Folder for plan.json, plan.md and plan.png. Default: plans/NAME-TOPOLOGY-MESH."""

    def __post_init__(self) -> None:
        for flag in ("global_batch_size", "device_batch_size", "slices"):
            value = getattr(self, flag)
            if value is not None:
                at_least(f"--{flag.replace('_', '-')}", value, 1)
        if self.experiment is not None and self.recipe is not None:
            raise ValueError("Give --experiment or --recipe, not both: each of them is the whole recipe.")

    @property
    def training(self) -> TrainFlags | GeneratorFlags | DecoderFlags:
        """The flags of the training that is planned."""
        if script_of(self) == "generator.py":
            if self.teacher is not None:
                raise ValueError(
                    "--teacher is the tokenizer's: a generator is planned beside the paper's tokenizer."
                )
            return GeneratorFlags(
                experiment=self.experiment,
                recipe=self.recipe,
                global_batch_size=self.global_batch_size,
                device_batch_size=self.device_batch_size,
                remat=self.remat,
                attention=self.attention,
                precision="bfloat16",
            )
        if script_of(self) == "decoder.py":
            return self._decoder
        if self.draw:
            raise ValueError(
                "--draw is for generators, such as --experiment ditxl: a tokenizer draws nothing."
            )
        return TrainFlags(
            experiment=self.experiment,
            recipe=self.recipe,
            variant=self.variant,
            teacher=self.teacher,
            teacher_dtype=self.teacher_dtype,
            global_batch_size=self.global_batch_size,
            device_batch_size=self.device_batch_size,
            remat=self.remat,
            attention=self.attention,
            precision="bfloat16",
        )

    @property
    def _decoder(self) -> DecoderFlags:
        if self.draw:
            raise ValueError("--draw is for generators, such as --experiment ditxl: a decoder draws nothing.")
        return DecoderFlags(
            experiment=self.experiment,
            recipe=self.recipe,
            teacher=self.teacher,
            global_batch_size=self.global_batch_size,
            device_batch_size=self.device_batch_size,
            remat=self.remat,
            attention=self.attention,
            precision="bfloat16",
        )


def plan_command(description: str | None, arguments: list[str] | None = None) -> PlanFlags:
    """The flags of this process. Prints help and exits, or exits with code 2 and one line on what is wrong."""
    program = Path(sys.argv[0]).name
    try:
        return tyro.cli(PlanFlags, prog=program, description=description, args=arguments)
    except ValueError as error:
        sys.stderr.write(f"{program}: {error}\n")
        raise SystemExit(2) from error


def script_of(flags: PlanFlags) -> str:
    """The file in `experiments` that trains what is planned."""
    if flags.script is not None:
        return flags.script
    if flags.recipe is not None:
        return script(read_recipe(flags.recipe))
    if flags.experiment is not None and is_generator(flags.experiment):
        return "generator.py"
    if flags.experiment is not None and is_decoder(flags.experiment):
        return "decoder.py"
    return "vae.py" if flags.experiment is None else f"{find_family(flags.experiment)}.py"
