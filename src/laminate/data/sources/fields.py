"""Which of several columns or features hold the image and the label: the usual names, or those that the user gives."""

from collections.abc import Sequence

from laminate.data.options import SourceOptions
from laminate.data.records import RecordFileError

IMAGE_NAMES = ("image", "img", "jpg", "png", "jpeg", "webp", "picture", "photo")
LABEL_NAMES = ("label", "labels", "cls", "fine_label")


def _usual(candidates: Sequence[str], usual: tuple[str, ...]) -> str | None:
    """The one candidate with a usual name; the first two of these win over the others."""
    named = [name for name in usual if name in candidates]
    return named[0] if len(named) == 1 or (named and named[0] in usual[:2]) else None


def choose_image(
    candidates: Sequence[str], every: Sequence[str], where: str, options: SourceOptions, what: str
) -> str:
    """The image column of `candidates` (those that can hold images) among `every` one.

    Raises:
      RecordFileError: none, several without a usual name, or none of the name that was given.
    """
    listed = f"{sorted(every)}"
    if options.image_key is not None:
        if options.image_key not in every:
            raise RecordFileError(
                f"--image-key {options.image_key}: {where} has no such {what}; it has {listed}"
            )
        if options.image_key not in candidates:
            raise RecordFileError(f"--image-key {options.image_key}: this {what} of {where} holds no images")
        return options.image_key
    found = _usual(candidates, IMAGE_NAMES) or (candidates[0] if len(candidates) == 1 else None)
    if found is not None:
        return found
    if not candidates:
        raise RecordFileError(
            f"{where} has no image {what}: expected one of {', '.join(IMAGE_NAMES)}, found {listed}. So "
            "there is nothing to train on"
        )
    raise RecordFileError(
        f"{where} has several {what}s of images and none with a usual name: {', '.join(candidates)}. Say "
        "which one with --image-key"
    )


def choose_label(
    candidates: Sequence[str], every: Sequence[str], where: str, options: SourceOptions, what: str
) -> str | None:
    """The label column of `candidates` (those that can hold class numbers) among `every` one; None for no labels.

    Raises:
      RecordFileError: several without a usual name, or none of the name that was given.
    """
    if options.unlabelled:
        return None
    if options.label_key is not None:
        if options.label_key not in every:
            raise RecordFileError(
                f"--label-key {options.label_key}: {where} has no such {what}; it has {sorted(every)}"
            )
        if options.label_key not in candidates:
            raise RecordFileError(
                f"--label-key {options.label_key}: this {what} of {where} holds no class numbers; those that do: "
                f"{', '.join(candidates) or 'none'}"
            )
        return options.label_key
    found = _usual(candidates, LABEL_NAMES) or (candidates[0] if len(candidates) == 1 else None)
    if found is None and candidates:
        raise RecordFileError(
            f"{where} has several {what}s of classes and none with a usual name: {', '.join(candidates)}. "
            "Say which one with --label-key, or take no labels with --unlabelled"
        )
    return found
