"""The command line of a masked autoencoder's training, and what it changes in a recipe."""

from dataclasses import dataclass, replace

from laminate.recipes.freezing import FreezeFlags
from laminate.recipes.masked_autoencoder.recipe import MaskedAutoencoderRecipe


@dataclass(frozen=True)
class MaskedAutoencoderFlags(FreezeFlags):
    """Train a frozen network of one's own."""


def apply_flags(recipe: MaskedAutoencoderRecipe, flags: MaskedAutoencoderFlags) -> MaskedAutoencoderRecipe:
    """`recipe` with the half that the flags freeze."""
    return recipe if flags.freeze is None else replace(recipe, freeze=flags.freeze)
