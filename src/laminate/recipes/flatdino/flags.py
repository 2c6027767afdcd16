"""The command line of a FlatDINO tokenizer's training, and what it changes in a recipe."""

from dataclasses import dataclass, replace

from laminate.data.prepared import array_facts
from laminate.recipes.embedded import PIXELS
from laminate.recipes.flags import RunFlags, positive
from laminate.recipes.flatdino.recipe import FlatDinoRecipe, Variant, as_variant
from laminate.recipes.network import (
    MASKED_AUTOENCODER,
    StoredDtype,
    TeacherConfig,
    find_teacher,
    patch_teacher,
)
from laminate.recipes.stored import stored_teacher


@dataclass(frozen=True)
class FlatDinoFlags(RunFlags):
    """Train a tokenizer of patch features."""

    variant: Variant = "paper"
    """Follow the paper, or its released code where the two differ."""
    teacher: str | None = None
    """Frozen network: embedded (in the package), patches, patches-IMAGE-PATCH, a known name (dinov2-b;
    `python -m laminate.pretrained list`), a folder, a .safetensors file, ORGANISATION/NAME of the hub, or NAME=WHERE.
    Default: the recipe's."""
    teacher_image_size: int | None = None
    """Side of the images that the teacher sees, in pixels. Default: the usual one of that network."""
    teacher_dtype: StoredDtype = "float32"
    """Number format in which the teacher's weights are held; bfloat16 halves their memory."""
    pixel_decoder: str | None = None
    """Decoder of a published autoencoder on this teacher, a file or folder: the report shows reconstructions through
    it. Without one, and for teachers whose features are no pixels, it shows the features in false colours."""

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("teacher_image_size", self.teacher_image_size)

    @property
    def suffix(self) -> str:
        return ("" if self.variant == "paper" else f"-{self.variant}") + super().suffix


def apply_flags(recipe: FlatDinoRecipe, flags: FlatDinoFlags) -> FlatDinoRecipe:
    """`recipe` in the variant and on the teacher that the flags name. Raises ValueError and OSError."""
    return _with_teacher_of(flags, as_variant(recipe, flags.variant))


def _with_teacher_of(flags: FlatDinoFlags, recipe: FlatDinoRecipe) -> FlatDinoRecipe:
    """`recipe` with the teacher that the flags name, or whose features the data are."""
    encoded = None if flags.data is None else array_facts(flags.data)
    size, dtype = flags.teacher_image_size, flags.teacher_dtype
    if flags.teacher is None and encoded is not None:
        if size is not None or dtype != "float32":
            raise ValueError(
                f"{flags.data} holds features that are computed already: leave --teacher-image-size and "
                "--teacher-dtype out, or encode the images again with them."
            )
        teacher = stored_teacher(encoded)
    elif flags.teacher is None and size is None and dtype == "float32":
        return recipe
    else:
        teacher = find_teacher(flags.teacher or recipe.teacher.name, image_size=size, dtype=dtype)
    same = replace(teacher, weights="") == replace(recipe.teacher, weights="")
    # The recipe of an earlier run keeps its views, and the hash that the weights are compared with.
    return recipe if same and recipe.teacher.weights else with_teacher(recipe, teacher)


def with_teacher(recipe: FlatDinoRecipe, teacher: TeacherConfig) -> FlatDinoRecipe:
    """`recipe` on the features of another teacher, with crops of the size that this teacher wants.

    Pixel patches say nothing of their place, so the encoder then gets learned positions, which the paper's has not.
    """
    augment = replace(recipe.augment, image_size=teacher.crop_size)
    encoder = replace(recipe.encoder, positions="learned") if teacher.name == "patches" else recipe.encoder
    return replace(recipe, teacher=teacher, encoder=encoder, augment=augment)


def at_image_size(recipe: FlatDinoRecipe, side: int) -> FlatDinoRecipe:
    """`recipe` for crops of another side. A teacher of patches sees them whole, published ones resize them; one that
    was trained here knows but its own size, and pixels take its place (patches of 16)."""
    teacher = recipe.teacher
    if teacher.name == "patches":
        return with_teacher(recipe, patch_teacher(side, teacher.patch_size))
    if teacher.family == MASKED_AUTOENCODER and side != teacher.image_size:
        return with_teacher(recipe, patch_teacher(side, PIXELS.patch_size))
    return replace(recipe, augment=replace(recipe.augment, image_size=side))
