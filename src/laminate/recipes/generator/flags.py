"""The command line of a generator's training, and what it changes in a recipe."""

from dataclasses import dataclass, replace

from laminate.recipes.flags import RunFlags
from laminate.recipes.generator.flow import PathName, SpherePath, StraightPath
from laminate.recipes.generator.recipe import GeneratorRecipe
from laminate.recipes.overrides import with_name
from laminate.recipes.training import OptimizerKind


@dataclass(frozen=True)
class GeneratorFlags(RunFlags):
    """Train a generator on the latents of a trained tokenizer."""

    tokenizer: str | None = None
    """Run, saved folder or hub repository of the tokenizer. Default: runs/embedded-vae, trained first if need
    be."""
    decoder: str | None = None
    """What decodes the samples that are shown, as in sample.py: a run of decoder.py, a saved folder or hub repository,
    a published decoder, a run of teacher.py, or none. Default: the run embedded-decoder beside the tokenizer, if it was
    trained on it."""
    optimizer: OptimizerKind | None = None
    """adamw, muon or schedule-free. Default: the recipe's."""
    unconditional: bool = False
    """Train without the labels of the data."""
    path: PathName | None = None
    """straight, or sphere: only the directions of tokens, along arcs of great circles. Default: the recipe's."""


def apply_flags(recipe: GeneratorRecipe, flags: GeneratorFlags) -> GeneratorRecipe:
    """`recipe` with the optimiser, the classes and the path that the flags ask for; another path is in its name."""
    if flags.optimizer is not None:
        recipe = replace(recipe, optimizer=replace(recipe.optimizer, kind=flags.optimizer))
    if flags.unconditional:
        recipe = replace(recipe, classes=0, class_names=())
    if flags.path is not None and flags.path != recipe.path.KIND:
        path = SpherePath() if flags.path == "sphere" else StraightPath()
        recipe = with_name(replace(recipe, path=path, solver=None), {"path": flags.path})
    return recipe
