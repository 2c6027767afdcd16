"""``python -m laminate.pretrained``: known weights, and what a file of weights holds."""

import math
import sys
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console

USER_ERROR, INTERRUPTED = 2, 130


@dataclass(frozen=True)
class List:
    """List the known weights: where they are from, their licence, and by what their bytes are pinned."""


@dataclass(frozen=True)
class Fetch:
    """Fetch known weights, or those of a hub repository, into the cache; pin their hashes and check them."""

    name: tyro.conf.Positional[str]
    """A known name, such as dinov2-b, or ORGANISATION/NAME[@REVISION]."""
    again: bool = False
    """Remove the files of a known name from the cache first, for a copy that was damaged."""


@dataclass(frozen=True)
class Show:
    """Show what a file of weights holds: names, shapes, dtypes, and whose layout it looks like."""

    file: tyro.conf.Positional[str]
    """A .safetensors file, a folder that holds one, a known name, or ORGANISATION/NAME[@REVISION]."""
    names: bool = True
    """List every tensor."""


Command = Annotated[List | Fetch | Show, tyro.conf.OmitArgPrefixes]


def _list(console: Console) -> None:
    from laminate.pretrained.pins import cache_folder, read_pins  # --help must not wait for them
    from laminate.pretrained.registry import KNOWN

    pins = read_pins(cache_folder())
    for known in KNOWN.values():
        pin = pins.get(known.name)
        pinned = "pinned by its owner" if known.sha256 else f"pinned here, at {pin.commit[:8]}" if pin else ""
        state = "a pickle, to be converted" if known.pickled else pinned or "pinned on the first fetch"
        size = "" if known.megabytes is None else f"  {known.megabytes} MB"
        _say(console, f"{known.name}  {known.repository}{size}")
        _say(console, f"    {known.source}; licence: {known.licence}; {state}")


def _fetch(command: Fetch, console: Console) -> None:
    from laminate.pretrained import hub, repository
    from laminate.pretrained.registry import KNOWN

    if command.again:
        if command.name not in KNOWN:
            raise ValueError(f"--again is for known names, and {command.name!r} is none.")
        repository.forget(KNOWN[command.name])
    for path in hub.locate(command.name).weights:
        _say(console, str(path))


def _show(command: Show, console: Console) -> None:
    from laminate.pretrained import hub
    from laminate.pretrained.layouts import guess
    from laminate.pretrained.tensors import read_header

    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    for path in hub.locate(command.file).weights:
        header = read_header(path)
        for name, entry in header.entries.items():
            shapes[name], dtypes[name] = entry.shape, entry.stored
        for key, text in header.metadata.items():
            _say(console, f"{key}: {text}")
    if command.names:
        for name, shape in shapes.items():
            sides = "x".join(map(str, shape)) or "scalar"
            _say(console, f"{name}  {sides}  {dtypes[name]}")
    numbers = sum(math.prod(shape) for shape in shapes.values())
    kinds = ", ".join(sorted(set(dtypes.values())))
    layout = guess(shapes)
    looks = layout or "nothing known"
    _say(console, f"{len(shapes)} tensors, {numbers:,} numbers ({kinds}), looks like {looks}")


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True, markup=False)


def main(args: list[str] | None = None) -> int:
    """Run one command; what a user can mend becomes one line on stderr and exit code 2."""
    command = tyro.cli(Command, args=args, prog="python -m laminate.pretrained", description=__doc__)
    console = Console()
    try:
        if isinstance(command, List):
            _list(console)
        elif isinstance(command, Fetch):
            _fetch(command, console)
        else:
            _show(command, console)
    except (ValueError, OSError) as error:
        sys.stderr.write("error: " + " ".join(str(error).split()) + "\n")
        return USER_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing half-fetched is kept, run the same command again\n")
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
