"""The command line of a ViTok training, and what it changes in a recipe."""

from dataclasses import dataclass, replace

from laminate.recipes.freezing import FreezeFlags
from laminate.recipes.network import StoredDtype, find_teacher
from laminate.recipes.vitok.presets import known_weights, named_vitok
from laminate.recipes.vitok.recipe import VitokRecipe
from laminate.recipes.vitok_names import PUBLISHED

NO_TEACHER = "none"


@dataclass(frozen=True)
class VitokFlags(FreezeFlags):
    """Train an autoencoder of images of any size and shape."""

    teacher: str | None = None
    """Frozen network of the perceptual loss: embedded (in the package), a known name (dinov3-s, dinov2-b), a folder, a
    .safetensors file, ORGANISATION/NAME of the hub, NAME=WHERE; or none. Default: the recipe's."""
    teacher_dtype: StoredDtype = "float32"
    """Number format in which its weights are held."""


def apply_flags(recipe: VitokRecipe, flags: VitokFlags) -> VitokRecipe:
    """`recipe` with the frozen parts and the perceptual network that the flags name.

    Published weights bring their own sizes, unless an experiment or a recipe is named beside them. Raises ValueError
    and OSError.
    """
    if flags.init_from in PUBLISHED and flags.experiment is None and flags.recipe is None:
        recipe = named_vitok(flags.init_from)
    if flags.teacher == NO_TEACHER:
        recipe = replace(recipe, teacher=None, losses=replace(recipe.losses, perceptual=0.0))
    elif flags.teacher is not None:
        teacher = find_teacher(flags.teacher, dtype=flags.teacher_dtype)
        weight = recipe.losses.perceptual or type(recipe.losses)().perceptual
        recipe = replace(recipe, teacher=teacher, losses=replace(recipe.losses, perceptual=weight))
    if flags.freeze is not None:
        recipe = replace(recipe, freeze=flags.freeze)
    return recipe


def with_known_weights(flags: VitokFlags) -> VitokFlags:
    """`flags` with the name under which `pretrained.hub` knows the published weights that they begin with."""
    if flags.init_from not in PUBLISHED:
        return flags
    return replace(flags, init_from=known_weights(flags.init_from))
