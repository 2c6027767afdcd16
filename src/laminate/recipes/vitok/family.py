"""The family of ViTok autoencoders."""

from laminate.data.sources.embedded import ANY_SIZE
from laminate.recipes.family import Family, Modules, Names
from laminate.recipes.vitok.describe import describe, step_flops
from laminate.recipes.vitok.flags import VitokFlags, apply_flags
from laminate.recipes.vitok.presets import (
    EMBEDDED_NAME,
    GLOSSARY,
    PRESETS,
    USAGE,
    name_rows,
    named_vitok,
    nearest,
)
from laminate.recipes.vitok.recipe import VitokRecipe, at_image_size


def _modules() -> Modules:
    from laminate.recipes.vitok.modules import MODULES

    return MODULES


VITOK = Family(
    name="vitok",
    tag="vitok",
    script="vitok.py",
    kind="tokenizer",
    recipe=VitokRecipe,
    names=Names(
        presets=PRESETS,
        default=EMBEDDED_NAME,
        usage=USAGE,
        parse=named_vitok,
        meaning=name_rows,
        near=nearest,
        glossary=GLOSSARY,
        usual=ANY_SIZE,
    ),
    text=describe,
    modules=_modules,
    flags=VitokFlags,
    apply=apply_flags,
    at_image_size=at_image_size,
    flops=step_flops,
    latent=lambda recipe: recipe.latent,
)
