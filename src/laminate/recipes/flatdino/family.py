"""FlatDINO's two families: the β-VAE and the FSQ tokenizer, of one recipe class."""

from functools import partial

from laminate.recipes.bottleneck import FsqBottleneck, GaussianBottleneck
from laminate.recipes.embedded import FSQ_NAME, TOKENIZER_NAME
from laminate.recipes.family import Family, Modules, Names, Rows
from laminate.recipes.flatdino import fsq_names, vae_names
from laminate.recipes.flatdino.costs import flops
from laminate.recipes.flatdino.describe import describe, fsq_name_rows, vae_name_rows
from laminate.recipes.flatdino.flags import FlatDinoFlags, apply_flags, at_image_size
from laminate.recipes.flatdino.grammar import EPOCHS, SIZE_LETTERS, Grammar, suggestions
from laminate.recipes.flatdino.photos import COSTS
from laminate.recipes.flatdino.presets import DATA, FSQ_PRESETS, VAE_PRESETS, named_fsq, named_vae, vae_like
from laminate.recipes.flatdino.recipe import FlatDinoRecipe, released
from laminate.recipes.latent import LatentSpec
from laminate.recipes.sizes import SIZES


def latent_of(recipe: FlatDinoRecipe) -> LatentSpec:
    """The latents of the tokenizer that `recipe` describes."""
    return LatentSpec(
        tokens=recipe.tokens,
        latent_dim=recipe.bottleneck.width,
        image_size=recipe.augment.image_size,
        codes=recipe.bottleneck.codebooks if isinstance(recipe.bottleneck, FsqBottleneck) else 0,
        posterior=isinstance(recipe.bottleneck, GaussianBottleneck),
        teacher=recipe.teacher,
    )


def _modules() -> Modules:
    from laminate.recipes.flatdino.modules import MODULES

    return MODULES


def _options(grammar: Grammar) -> Rows:
    return tuple((f"-{option.usage}", option.meaning) for option in grammar.options)


_GLOSSARY: dict[str, Rows] = {
    "variant": tuple((variant, f"{epochs} epochs") for variant, epochs in EPOCHS.items()),
    "sizes": tuple(
        (letter, SIZES[letter].label, f"{SIZES[letter].dim} wide, {SIZES[letter].depth} layers")
        for letter in SIZE_LETTERS
    ),
}
_VARIANTS = {"paper": lambda recipe: recipe, "released": released}

VAE = Family(
    name="vae",
    tag="flatdino",
    script="vae.py",
    kind="tokenizer",
    recipe=FlatDinoRecipe,
    holds=lambda recipe: isinstance(recipe.bottleneck, GaussianBottleneck),
    names=Names(
        presets=VAE_PRESETS,
        default=TOKENIZER_NAME,
        usage=vae_names.GRAMMAR.usage,
        options=_options(vae_names.GRAMMAR),
        parse=named_vae,
        meaning=vae_name_rows,
        near=partial(suggestions, grammar=vae_names.GRAMMAR),
        variants=_VARIANTS,
        glossary=_GLOSSARY,
        photographs=COSTS,
        data=DATA,
    ),
    text=describe,
    modules=_modules,
    flags=FlatDinoFlags,
    apply=apply_flags,
    at_image_size=at_image_size,
    flops=flops,
    latent=latent_of,
    like=vae_like,
)

FSQ = Family(
    name="fsq",
    tag="flatdino",
    script="fsq.py",
    kind="tokenizer",
    recipe=FlatDinoRecipe,
    holds=lambda recipe: isinstance(recipe.bottleneck, FsqBottleneck),
    names=Names(
        presets=FSQ_PRESETS,
        default=FSQ_NAME,
        usage=fsq_names.GRAMMAR.usage,
        options=_options(fsq_names.GRAMMAR),
        parse=named_fsq,
        meaning=fsq_name_rows,
        near=partial(suggestions, grammar=fsq_names.GRAMMAR),
        variants=_VARIANTS,
        data=DATA,
    ),
    text=describe,
    modules=_modules,
    flags=FlatDinoFlags,
    apply=apply_flags,
    at_image_size=at_image_size,
    flops=flops,
    latent=latent_of,
)
