"""The family of masked autoencoders, which are the teachers of tokenizers."""

from laminate.recipes.costs import training_flops
from laminate.recipes.family import Family, Modules, Names
from laminate.recipes.masked_autoencoder.describe import describe, forward_flops
from laminate.recipes.masked_autoencoder.flags import MaskedAutoencoderFlags, apply_flags
from laminate.recipes.masked_autoencoder.recipe import PRESETS, MaskedAutoencoderRecipe, as_teacher
from laminate.recipes.network import MASKED_AUTOENCODER as FAMILY


def _modules() -> Modules:
    from laminate.recipes.masked_autoencoder.modules import MODULES

    return MODULES


MASKED_AUTOENCODER = Family(
    name=FAMILY,
    tag=FAMILY,
    script="teacher.py",
    kind="teacher",
    recipe=MaskedAutoencoderRecipe,
    names=Names(presets=PRESETS, default="embedded-teacher"),
    text=describe,
    modules=_modules,
    flags=MaskedAutoencoderFlags,
    apply=apply_flags,
    flops=lambda recipe: training_flops(forward_flops(recipe)),
    teacher=as_teacher,
)
