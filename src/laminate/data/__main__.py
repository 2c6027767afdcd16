"""``python -m laminate.data``: prepare a data set, check it, look at it."""

import dataclasses
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from laminate.data.left_out import LeftOut, shown
from laminate.data.options import AS_IT_SAYS, MAX_BAD_IMAGES, SourceOptions
from laminate.storage.object_store import require_clients
from laminate.storage.writing import UnwritableError, writing

USER_ERROR, FAULTY, UNWRITABLE, INTERRUPTED = 2, 1, 1, 130
_SHOWN_FAULTS = 20
_SHOWN_CLASSES = 20


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Convert images to ArrayRecord: in parallel, and from where it stopped if it is started again."""

    source: tyro.conf.Positional[str]
    """A folder of images, a .tar or .parquet file or (quoted) glob, tfds:NAME[@DIR], 'embedded', shards of the hub
    ('hf://ORGANISATION/NAME/path-{0000..0099}.tar'), or several of these with commas between."""
    out: tyro.conf.Positional[Path]
    """The folder to write."""
    shards: int | None = None
    """Record files for each split; one per 2048 images if not given."""
    workers: int = os.cpu_count() or 1
    """Threads. The output does not depend on them."""
    val_fraction: float = 0.1
    """How much to hold out where the source has no validation split (by the hash of the key); 0 for none."""
    max_bad: Annotated[int, tyro.conf.arg(aliases=["--max-bad-images"])] = MAX_BAD_IMAGES
    """How many unreadable images to leave out before stopping, as in training."""
    verify: Literal["decode", "header"] = "decode"
    """Decode every image once, or only look at its header."""
    resize: int | None = None
    """Images with a longer shorter side are stored with one of so many pixels, and encoded again: a training reads
    less. The end says what that cost."""
    resize_format: Literal["jpeg", "webp"] = "jpeg"
    """The format of those: WebP is smaller and takes longer to decode."""
    name: str | None = None
    """The data set's name; from the source if not given."""
    licence: str = ""
    """The licence of the images, for the manifest."""
    reading: Annotated[SourceOptions, tyro.conf.arg(name="")] = AS_IT_SAYS
    """How the source is read."""


@dataclasses.dataclass(frozen=True)
class Check:
    """Read all of a prepared folder: checksums, counts, images, labels, keys, metadata. Exit code 1 for
    faults.
    """

    out: tyro.conf.Positional[Path]
    """A prepared folder."""
    workers: int = os.cpu_count() or 1
    """Threads."""


@dataclasses.dataclass(frozen=True)
class Show:
    """Write a contact sheet of images with their class names."""

    source: tyro.conf.Positional[str]
    """A prepared folder, or any source."""
    out: Path = Path("contact_sheet.png")
    """The picture to write."""
    count: int = 100
    """How many images."""
    split: Literal["train", "validation"] = "train"
    """Which split."""
    reading: Annotated[SourceOptions, tyro.conf.arg(name="")] = AS_IT_SAYS
    """How the source is read."""


Command = Annotated[Prepare | Check | Show, tyro.conf.OmitArgPrefixes]


@contextmanager
def _progress(console: Console, what: str) -> Generator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """(call with the total, call with what has been done) for a progress bar."""
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda total: bar.update(task, total=total), lambda done: bar.advance(task, done)


def _prepare(command: Prepare, console: Console) -> int:
    from laminate.data.prepare import Options, prepare
    from laminate.data.prepare_hub import prepare_hub
    from laminate.data.shrink import Shrink
    from laminate.data.sources.hub_shards import HUB  # --help must not wait for these

    shrink = None if command.resize is None else Shrink(command.resize, command.resize_format)
    options = Options(
        shards=command.shards,
        workers=command.workers,
        held_out=command.val_fraction,
        max_bad=command.max_bad,
        source=command.reading,
        decode=command.verify == "decode",
        name=command.name,
        licence=command.licence,
        shrink=shrink,
    )
    with _progress(console, "preparing") as (on_start, on_records):
        if command.source.startswith(HUB):
            said = lambda text: console.print(f"shard {text}", highlight=False, markup=False)
            prepared = prepare_hub(command.source, command.out, options, on_start, on_records, said)
        else:
            prepared = prepare(command.source, command.out, options, on_start, on_records)
    for skipped in prepared.skipped:
        console.print(
            f"left out {escape(skipped.key)}: {escape(skipped.reason)}", highlight=False, soft_wrap=True
        )
    for line in accounts(sum(s.count for s in prepared.shards), prepared.cut_short, prepared.all_left_out):
        console.print(escape(line), highlight=False, soft_wrap=True)
    if shrink is not None:
        said = shrink.said(prepared.shrunk, sum(s.count for s in prepared.shards))
        console.print(escape(said), highlight=False, soft_wrap=True)
    for folder in prepared.locked:
        console.print(
            f"not counted: what lies in '{escape(folder)}', a folder that may not be read",
            highlight=False,
            soft_wrap=True,
        )
    for split, source in prepared.sources.items():
        shards = prepared.shards_of(split)
        console.print(
            f"{split}: {sum(s.count for s in shards)} images, {len(prepared.classes)} classes, "
            f"{len(shards)} files, {sum(s.size for s in shards) / 1e6:.1f} MB, from {escape(source)}",
            highlight=False,
            soft_wrap=True,
        )
    if prepared.classes:
        console.print(escape(_class_line(prepared.classes)), highlight=False, soft_wrap=True)
    console.print(f"written to {escape(str(command.out))}", highlight=False, soft_wrap=True)
    return 0


def accounts(taken: int, cut_short: int, left_out: Sequence[LeftOut]) -> list[str]:
    """A table of all files of a source: those that were taken, and the others by reason; the last line is their sum."""
    rows = [("taken", taken, "")]
    rows += [(f"left out: {entry.reason}", entry.count, _placed(entry.first)) for entry in left_out]
    rows += [("all", taken + sum(entry.count for entry in left_out), "")]
    width, digits = max(len(row[0]) for row in rows), max(len(str(row[1])) for row in rows)
    lines = [f"{name:<{width}}  {count:>{digits}}  {example}".rstrip() for name, count, example in rows]
    if cut_short:
        lines.append(f"{cut_short} of those taken lack their last few bytes and are read without them")
    return lines


def _placed(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"as {name} in '{folder}'" if folder else f"as {name}"


def _class_line(classes: Sequence[str]) -> str:
    named = ", ".join(f"'{shown(name)}'" for name in classes[:_SHOWN_CLASSES])
    return f"classes: {named}" + (
        f" and {len(classes) - _SHOWN_CLASSES} more" if len(classes) > _SHOWN_CLASSES else ""
    )


def _check(command: Check, console: Console) -> int:
    from laminate.data.check import check  # --help must not wait for it

    with _progress(console, "checking") as (on_start, on_records):
        findings = check(command.out, command.workers, on_start, on_records)
    for fault in findings.faults[:_SHOWN_FAULTS]:
        console.print(escape(fault), highlight=False, soft_wrap=True)
    if findings.left_out or findings.cut_short:
        for line in accounts(findings.records, findings.cut_short, findings.left_out):
            console.print(escape(line), highlight=False, soft_wrap=True)
    verdict = f"{len(findings.faults)} faults" if findings.faults else "sound"
    console.print(
        f"{escape(str(command.out))}: {findings.records} records, {verdict}", highlight=False, soft_wrap=True
    )
    return FAULTY if findings.faults else 0


def _show(command: Show, console: Console) -> int:
    from laminate.data.contact_sheet import contact_sheet  # --help must not wait for it
    from laminate.data.sources import open_records

    if command.count < 1:
        raise ValueError(f"--count must be at least 1, got {command.count}")
    sheet = contact_sheet(open_records(command.source, command.split, options=command.reading), command.count)
    with writing(command.out):
        sheet.save(command.out)
    console.print(f"written to {escape(str(command.out))}", highlight=False, soft_wrap=True)
    return 0


def main(args: list[str] | None = None) -> int:
    """Run one command; what a user can mend becomes one line on stderr and exit code 2, a full disk 1."""
    command = tyro.cli(Command, args=args, prog="python -m laminate.data", description=__doc__)
    console = Console()
    try:
        places = dataclasses.asdict(command)
        require_clients((name.upper(), places.get(name)) for name in ("source", "out"))
        if isinstance(command, Prepare):
            return _prepare(command, console)
        return _check(command, console) if isinstance(command, Check) else _show(command, console)
    except (ValueError, OSError) as error:
        sys.stderr.write("error: " + " ".join(str(error).split()) + "\n")
        return UNWRITABLE if isinstance(error, UnwritableError) else USER_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: finished shards are kept, run the same command again to go on\n")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
