"""The command line of a masked autoencoder's training, and what it changes in a recipe."""

from dataclasses import dataclass, replace

from laminate.recipes.freezing import FreezeFlags
from laminate.recipes.masked_autoencoder.recipe import MaskedAutoencoderRecipe, SeenThrough
from laminate.recipes.network import left_in


@dataclass(frozen=True)
class MaskedAutoencoderFlags(FreezeFlags):
    """Train a frozen network, or the half of one."""

    tokenizer: tuple[str, ...] = ()
    """Runs, saved folders or hub repositories of tokenizers of the features that --freeze encoder leaves as they are:
    the decoder learns to show what they give back, too."""


def apply_flags(recipe: MaskedAutoencoderRecipe, flags: MaskedAutoencoderFlags) -> MaskedAutoencoderRecipe:
    """`recipe` with the half that the flags freeze, and the tokenizers beside it. Raises ValueError for tokenizers of
    features that would change."""
    if flags.freeze is not None:
        recipe = replace(recipe, freeze=flags.freeze)
    if not flags.tokenizer:
        return recipe
    return replace(
        recipe, tokenizers=tuple(SeenThrough(left_in(one, "tokenizer")) for one in flags.tokenizer)
    )
