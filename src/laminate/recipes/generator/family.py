"""The family of generators."""

from laminate.recipes.costs import training_flops
from laminate.recipes.embedded import GENERATOR_NAME
from laminate.recipes.family import Family, Modules, Names
from laminate.recipes.generator import names
from laminate.recipes.generator.costs import generator_flops
from laminate.recipes.generator.describe import describe
from laminate.recipes.generator.flags import GeneratorFlags, apply_flags
from laminate.recipes.generator.presets import DATA, PRESETS, named_generator
from laminate.recipes.generator.recipe import GeneratorRecipe


def _modules() -> Modules:
    from laminate.recipes.generator.modules import MODULES

    return MODULES


GENERATOR = Family(
    name="generator",
    tag="generator",
    script="generator.py",
    kind="generator",
    recipe=GeneratorRecipe,
    names=Names(
        presets=PRESETS,
        default=GENERATOR_NAME,
        usage=names.USAGE,
        options=tuple((f"-{option}", meaning) for option, meaning in names.MEANINGS.items()),
        parse=named_generator,
        meaning=names.rows,
        near=names.nearest,
        data=DATA,
    ),
    text=describe,
    modules=_modules,
    flags=GeneratorFlags,
    apply=apply_flags,
    flops=lambda recipe: training_flops(generator_flops(recipe)),
)
