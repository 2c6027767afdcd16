"""The image files that a person names: files, folders and globs, each file once, in the order of their naming."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from laminate.data.left_out import LeftOut, LeftOutCount, shown
from laminate.data.sources.survey import survey


@dataclass(frozen=True)
class ImageFile:
    """An image file: the path to read, and a name for it that can be printed."""

    path: Path
    name: str


@dataclass(frozen=True)
class ImageFiles:
    """The files, and what folders and globs hold beside them."""

    files: tuple[ImageFile, ...]
    left_out: tuple[LeftOut, ...] = ()


def find_images(named: Sequence[str]) -> ImageFiles:
    """The files in `named`; of a folder the images in it and below, by their endings.

    A file that is named itself is taken whatever it is called.

    Raises:
      FileNotFoundError: something that is named is not there, or there is no image in all of it.
    """
    found: dict[str, ImageFile] = {}
    left_out = LeftOutCount()

    def take(path: Path, name: str) -> None:
        found.setdefault(os.path.realpath(path), ImageFile(path, shown(name)))

    for text in named:
        for place in _places(text):
            if not place.is_dir():
                take(place, place.name)
                continue
            seen = survey(place)
            for file in seen.images:
                take(place / file.path, file.path)
            for containers in seen.containers.values():
                left_out.add("archive or records, which are no image", containers[0], len(containers))
            for folder in seen.locked:
                left_out.add("folder that may not be read", folder)
            left_out.add_all(seen.left_out.entries())
    if not found:
        raise FileNotFoundError(
            f"no image in {', '.join(named)}: give image files, or folders that hold some"
        )
    return ImageFiles(tuple(found.values()), left_out.entries())


def _places(text: str) -> list[Path]:
    place = Path(text).expanduser()
    if place.exists():
        return [place]
    matched = [Path(one) for one in sorted(glob.glob(str(place), recursive=True))]
    if not matched:
        raise FileNotFoundError(f"there is no image or folder {text}, and no file matches it")
    return matched
