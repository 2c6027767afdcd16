"""The family of DINO-SAE's stages."""

from laminate.recipes.dino_sae.costs import training_flops
from laminate.recipes.dino_sae.describe import describe
from laminate.recipes.dino_sae.flags import DinoSaeFlags, apply_flags
from laminate.recipes.dino_sae.presets import EMBEDDED_2, PRESETS
from laminate.recipes.dino_sae.recipe import DinoSaeRecipe, at_image_size, latent_of, require_weights
from laminate.recipes.family import Family, Modules, Names


def _modules() -> Modules:
    from laminate.recipes.dino_sae.modules import MODULES

    return MODULES


DINO_SAE = Family(
    name="dino-sae",
    tag="dino-sae",
    script="dino_sae.py",
    kind="tokenizer",
    recipe=DinoSaeRecipe,
    names=Names(
        presets=PRESETS,
        default=EMBEDDED_2,
        usage="dino-sae-{v1-1|v1-2|v1-3|v1-4|v2-1|v2-2}, each begun with --init-from the former",
    ),
    text=describe,
    modules=_modules,
    flags=DinoSaeFlags,
    apply=apply_flags,
    at_image_size=at_image_size,
    require_trainable=require_weights,
    flops=training_flops,
    latent=latent_of,
)
