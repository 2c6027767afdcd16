"""The command line of a plan: what is trained, on which slice, and where the answer goes."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from laminate.cli.command import flags_command, refusals
from laminate.recipes.checks import at_least
from laminate.recipes.families import FAMILIES, family_of, family_of_script, find_family
from laminate.recipes.family import Family
from laminate.recipes.flags import AutoRemat, RunFlags
from laminate.recipes.network import AttentionKernel, StoredDtype
from laminate.recipes.overrides import HELP, without_help
from laminate.recipes.resolve import read_recipe, resolve_recipe
from laminate.recipes.tables import show_fields


@dataclass(frozen=True)
class PlanFlags:
    """Compile the training step of an experiment for a TPU slice that is not there, and say what it will cost."""

    experiment: str | None = None
    """Name of the experiment, as in training. Default: the small recipe of the emoji in the package."""
    recipe: Path | None = None
    """Plan this recipe.json (or the run folder that holds it) instead of a name."""
    script: str | None = None
    """Which experiment trains it, such as fsq.py, or the path of your own. Default: the one that the name belongs
    to."""
    variant: Literal["paper", "released"] = "paper"
    """Follow the paper, or its released code where the two differ."""
    teacher: str | None = None
    """Frozen network, as in training; a known name is planned without its weights."""
    teacher_dtype: StoredDtype = "float32"
    """Number format in which the teacher's weights are held, as in training."""
    global_batch_size: Annotated[int | None, tyro.conf.arg(aliases=["--batch-size"])] = None
    """Images per optimiser step over all devices. Default: the recipe's."""
    lr: float | None = None
    """Largest learning rate, as in training."""
    image_size: int | None = None
    """Side of the images, as in training."""
    tokens: int | None = None
    """Latent tokens per image, as in training."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="PATH=VALUE")] = ()
    """Any other field of the recipe, as in training; `--set help` lists all of them."""
    device_batch_size: int | None = None
    """Images per device at a time, as in training. Default: all at once."""
    remat: AutoRemat = "auto"
    """What the backward pass computes again, as in training; auto is the first of dots and block, then of the same
    in parts of the batch, that leaves a twentieth of the memory free."""
    top: int = 0
    """List so many of the instructions that take most of the schedule, with the place that they come from."""
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
    plans: Path | None = None
    """Instead of one plan, make all columns of this document (tpu/PLANS.md) from the commit that is checked out; what
    is finished lies in plans/columns, and the same command goes on."""
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
    def script_name(self) -> str:
        """The file that trains what is planned: an experiment, or a path."""
        return self.family.script if self.script is None else self.script

    @property
    def family(self) -> Family[Any]:
        """The family of what is planned. Raises ValueError and OSError as its recipe would."""
        named = None if self.script is None else family_of_script(Path(self.script).name)
        if named is not None:
            return named
        if self.recipe is not None:
            return family_of(read_recipe(self.recipe))
        return FAMILIES[0] if self.experiment is None else find_family(self.experiment)

    @property
    def training(self) -> RunFlags:
        """The flags of the training that is planned. Raises ValueError for one that its experiment does not know."""
        family = self.family
        if self.draw and family.kind != "generator":
            raise ValueError(
                f"--draw is for generators, such as --experiment ditxl: what {family.script} trains draws nothing."
            )
        asked = {field.name: getattr(self, field.name) for field in fields(self)}
        known = {field.name for field in fields(family.flags)}
        defaults = {field.name: field.default for field in fields(self)}
        why = f"not of what {family.script} trains"
        if family.kind == "generator":
            why = "the tokenizer's: a generator is planned beside the paper's tokenizer"
        for name in ("variant", "teacher", "teacher_dtype"):
            if name not in known and asked[name] != defaults[name]:
                raise ValueError(f"--{name.replace('_', '-')} is {why}.")
        shared = {name: value for name, value in asked.items() if name in known}
        return family.flags(**shared, precision="bfloat16")


def plan_command(description: str | None, arguments: list[str] | None = None) -> PlanFlags:
    """The flags of this process. Prints help and exits, or exits with code 2 and one line on what is wrong."""
    flags = flags_command(description, PlanFlags, arguments=arguments)
    if HELP in flags.set:
        with refusals():
            training = replace(flags.training, set=without_help(flags.set))
            show_fields(resolve_recipe(training, flags.family))
        raise SystemExit(0)
    return flags
