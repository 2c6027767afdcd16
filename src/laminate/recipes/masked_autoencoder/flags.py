"""What the command line of a masked autoencoder's training changes in a recipe."""

from dataclasses import replace

from laminate.recipes.freezing import FreezeFlags
from laminate.recipes.masked_autoencoder.recipe import MaskedAutoencoderRecipe


def apply_flags(recipe: MaskedAutoencoderRecipe, flags: FreezeFlags) -> MaskedAutoencoderRecipe:
    """`recipe` with the half that the flags freeze."""
    return recipe if flags.freeze is None else replace(recipe, freeze=flags.freeze)
