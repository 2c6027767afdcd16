"""The family of image decoders: FlatDINO's and RAE's."""

from laminate.recipes.costs import training_flops
from laminate.recipes.embedded import DECODER_NAME
from laminate.recipes.family import Family, Modules, Names
from laminate.recipes.image_decoder.costs import decoder_flops
from laminate.recipes.image_decoder.describe import describe
from laminate.recipes.image_decoder.flags import DecoderFlags, apply_flags
from laminate.recipes.image_decoder.presets import DATA, PRESETS, USAGE, named_decoder, nearest
from laminate.recipes.image_decoder.recipe import DecoderRecipe, at_image_size, begins_with, require_weights


def _modules() -> Modules:
    from laminate.recipes.image_decoder.modules import MODULES

    return MODULES


IMAGE_DECODER = Family(
    name="decoder",
    tag="decoder",
    script="decoder.py",
    kind="image-decoder",
    recipe=DecoderRecipe,
    names=Names(
        presets=PRESETS,
        default=DECODER_NAME,
        usage=USAGE,
        options=(
            ("vit", "FlatDINO's, from latents of a tokenizer"),
            ("rae", "RAE's, from features of a teacher"),
        ),
        parse=named_decoder,
        near=nearest,
        data=DATA,
    ),
    text=describe,
    modules=_modules,
    flags=DecoderFlags,
    apply=apply_flags,
    flops=lambda recipe: training_flops(decoder_flops(recipe)),
    at_image_size=at_image_size,
    begins=begins_with,
    require_trainable=require_weights,
)
