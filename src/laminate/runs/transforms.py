"""What training and validation see of an image, or of the arrays that were made of it."""

from laminate.data.array_schema import ReadArray
from laminate.data.augment import Augment
from laminate.data.records import Records
from laminate.recipes.family import Recipe


def still_view(recipe: Recipe, records: Records) -> Augment:
    """What validation does to an image, in which nothing is random; arrays are read."""
    arrays = records.manifest.arrays
    return recipe.augment.still().transform() if arrays is None else ReadArray(arrays)


def statistics_view(recipe: Recipe, records: Records) -> tuple[Augment, str]:
    """What latents are measured in, and that in words: what a recipe names, else what training sees."""
    arrays = records.manifest.arrays
    if arrays is not None:
        return ReadArray(arrays), f"the {arrays.field} that training reads"
    view = getattr(recipe, "statistics_view", recipe.augment)
    return view.transform(), view.text


def random_view(recipe: Recipe, records: Records) -> Augment:
    """What training does to an image; arrays are read."""
    arrays = records.manifest.arrays
    return recipe.augment.transform() if arrays is None else ReadArray(arrays)
