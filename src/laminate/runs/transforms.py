"""What training and validation see of an image, or of the arrays that were made of it."""

from laminate.data.array_schema import ReadArray
from laminate.data.augment import Augment, Squash, TrainCrop
from laminate.data.records import Records
from laminate.recipes.family import Recipe


def still_view(recipe: Recipe, records: Records) -> Augment:
    """What validation does to an image: all of it, resized to the square that training crops to; arrays are read."""
    arrays = records.manifest.arrays
    return Squash(recipe.augment.image_size) if arrays is None else ReadArray(arrays)


def random_view(recipe: Recipe, records: Records) -> Augment:
    """What training does to an image; arrays are read."""
    augment, arrays = recipe.augment, records.manifest.arrays
    if arrays is not None:
        return ReadArray(arrays)
    if augment.view == "squash":
        return Squash(augment.image_size)
    return TrainCrop(
        augment.image_size, area=augment.crop_area, ratio=augment.crop_ratio, flip=augment.flip_rate > 0.0
    )
