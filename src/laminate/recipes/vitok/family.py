"""The family of ViTok autoencoders."""

from laminate.data.sources.embedded import ANY_SIZE, DEFAULT
from laminate.recipes.embedded import VITOK_GENERATOR, VITOK_NAME
from laminate.recipes.family import Family, Modules, Names
from laminate.recipes.vitok.describe import describe, step_flops
from laminate.recipes.vitok.flags import VitokFlags, apply_flags
from laminate.recipes.vitok.presets import (
    GLOSSARY,
    PRESETS,
    USAGE,
    name_rows,
    named_vitok,
    nearest,
    published_vitok,
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
        default=VITOK_NAME,
        usage=USAGE,
        parse=named_vitok,
        meaning=name_rows,
        near=nearest,
        glossary=GLOSSARY,
        usual=f"{ANY_SIZE},{DEFAULT}",
    ),
    text=describe,
    modules=_modules,
    flags=VitokFlags,
    apply=apply_flags,
    at_image_size=at_image_size,
    flops=step_flops,
    latent=lambda recipe: recipe.latent,
    published=published_vitok,
    generator=VITOK_GENERATOR,
)
