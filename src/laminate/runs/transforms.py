"""What training and validation see of an image, or of the arrays that were made of it."""

from laminate.data.array_schema import ReadArray
from laminate.data.augment import Augment, Squash
from laminate.data.records import Records
from laminate.recipes.family import Recipe


def still_view(recipe: Recipe, records: Records) -> Augment:
    """What validation does to an image: all of it, as a square of the size that training sees; arrays are read."""
    arrays = records.manifest.arrays
    return Squash(recipe.augment.image_size) if arrays is None else ReadArray(arrays)


def random_view(recipe: Recipe, records: Records) -> Augment:
    """What training does to an image; arrays are read."""
    arrays = records.manifest.arrays
    return recipe.augment.transform() if arrays is None else ReadArray(arrays)
