"""The command line of a generator's training, and what it changes in a recipe."""

from dataclasses import dataclass, replace

from laminate.recipes.flags import RunFlags
from laminate.recipes.generator.recipe import GeneratorRecipe
from laminate.recipes.training import OptimizerKind


@dataclass(frozen=True)
class GeneratorFlags(RunFlags):
    """Train a generator on the latents of a trained tokenizer."""

    tokenizer: str | None = None
    """Run, saved folder or hub repository of the tokenizer. Default: runs/embedded-vae, trained first if need
    be."""
    decoder: str | None = None
    """What decodes the samples that are shown, as in sample.py: a run of decoder.py, a saved folder or hub repository,
    a published decoder, or none. Default: the run embedded-decoder beside the tokenizer, if it was trained on it."""
    optimizer: OptimizerKind | None = None
    """adamw, muon or schedule-free. Default: the recipe's."""
    unconditional: bool = False
    """Train without the labels of the data."""


def apply_flags(recipe: GeneratorRecipe, flags: GeneratorFlags) -> GeneratorRecipe:
    """`recipe` with the optimiser and the classes that the flags ask for."""
    if flags.optimizer is not None:
        recipe = replace(recipe, optimizer=replace(recipe.optimizer, kind=flags.optimizer))
    if flags.unconditional:
        recipe = replace(recipe, classes=0, class_names=())
    return recipe
