"""A folder for what a command makes, in which nothing is overwritten."""

from itertools import count
from pathlib import Path

from etils import epath

from laminate.storage.writing import make_folder


def new_folder(asked: Path | None, default: str) -> epath.Path:
    """The folder `asked` for, made if need be; without one, the first free of DEFAULT, DEFAULT-2, DEFAULT-3, ...

    Raises ValueError if the folder asked for holds something, UnwritableError if it cannot be made.
    """
    names = (epath.Path(default if number == 1 else f"{default}-{number}") for number in count(1))
    folder = (
        next(name for name in names if not name.exists()) if asked is None else epath.Path(asked).expanduser()
    )
    held = next(iter(sorted(folder.iterdir())), None) if folder.is_dir() else None
    if held is not None:
        raise ValueError(
            f"--out {folder} holds {held.name} already, and nothing is overwritten: give a folder that is new or empty."
        )
    make_folder(folder)
    return folder
