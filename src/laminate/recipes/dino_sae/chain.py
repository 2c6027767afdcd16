"""All stages of a schedule, one after the other: which command each of them is."""

from dataclasses import replace

from laminate.recipes.dino_sae.flags import DinoSaeFlags
from laminate.recipes.dino_sae.presets import LAST, PRESETS, stages

EMBEDDED = "embedded"


def is_chain(flags: DinoSaeFlags) -> bool:
    """Whether all stages are asked for: by name, or because nothing else is."""
    if flags.stages is not None:
        return True
    named = (flags.experiment, flags.recipe, flags.init_from, flags.restore)
    return not flags.alone and all(one is None for one in named)


def chain_name(recipe_name: str) -> str:
    """What the stages up to `recipe_name` are called together: its name without the number of the stage."""
    plain, changed, settings = recipe_name.partition("+")
    return plain.rpartition("-")[0] + changed + settings


def stage_folder(folder: str, number: int) -> str:
    """The run folder of a stage, counted from 1."""
    return f"{folder}/stage-{number}"


def stage_flags(flags: DinoSaeFlags, folder: str) -> tuple[DinoSaeFlags, ...]:
    """The flags of each stage: its run folder within `folder`, and the former one to begin with.

    A flag of the adversary belongs to the stages that have one.
    """
    made: list[DinoSaeFlags] = []
    for number, name in enumerate(stages(LAST[flags.stages or EMBEDDED]), start=1):
        one = replace(
            flags,
            stages=None,
            experiment=name,
            run_dir=stage_folder(folder, number),
            init_from=stage_folder(folder, number - 1) if number > 1 else None,
        )
        if PRESETS[name]().adversary.kind == "none":
            one = replace(one, adversary=None, adversary_backbone=None)
        made.append(one)
    return tuple(made)
