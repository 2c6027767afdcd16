"""The command line of DINO-SAE's training, and what it changes in a recipe."""

from dataclasses import dataclass, replace
from typing import Literal

from laminate.recipes.adversarial.flags import LossFlags, with_losses
from laminate.recipes.dino_sae.presets import LAST
from laminate.recipes.dino_sae.recipe import DinoSaeRecipe
from laminate.recipes.network import find_teacher

Stages = Literal["embedded", "v1", "v2"]


@dataclass(frozen=True)
class DinoSaeFlags(LossFlags):
    """Train a stem before a frozen network, and a decoder behind it, in stages."""

    stages: Stages | None = None
    """Train all stages of a schedule, one after the other, into one folder: v2 (two), v1 (four) or embedded, which is
    the default where no --experiment is named. Lengths and --set are those of every stage."""
    alone: bool = False
    """Begin a later stage without the weights of the former one, which is refused otherwise."""
    teacher: str | None = None
    """The frozen network: dinov3-l, another known name, a file or folder. Default: the recipe's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stages is None:
            return
        for flag in ("recipe", "init_from", "restore"):
            if getattr(self, flag) is not None:
                raise ValueError(
                    f"--stages trains all stages of a schedule, each from the former: leave --{flag.replace('_', '-')} "
                    "out, or train one stage by its name."
                )
        if self.experiment not in (None, LAST[self.stages]):
            raise ValueError(
                f"--stages and --experiment {self.experiment} name two trainings: give one of them."
            )
        if self.alone:
            raise ValueError("--alone begins one stage without its former, and --stages trains them all.")
        object.__setattr__(self, "experiment", LAST[self.stages])


def apply_flags(recipe: DinoSaeRecipe, flags: DinoSaeFlags) -> DinoSaeRecipe:
    """`recipe` with the teacher and the losses that the flags name. Raises ValueError and OSError."""
    if flags.teacher is not None:
        recipe = _with_teacher(recipe, flags.teacher)
    asks_for_one = flags.adversary_backbone is not None or flags.adversary not in (None, "none")
    if recipe.adversary.kind == "none" and asks_for_one:
        raise ValueError(f"--adversary: {recipe.name} has none, it begins in a later stage.")
    return with_losses(recipe, flags)


def _with_teacher(recipe: DinoSaeRecipe, name: str) -> DinoSaeRecipe:
    """On another frozen network with patches of the same size: images become those that it sees."""
    teacher = find_teacher(name)
    if teacher.name == "patches":
        raise ValueError("--teacher patches: a stem stands before a network, and pixel patches have none.")
    return replace(recipe, teacher=teacher, augment=replace(recipe.augment, image_size=teacher.image_size))
