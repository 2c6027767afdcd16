"""The journal of a preparation: which shards are finished, and who is writing at the moment."""

import dataclasses
import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from laminate.data.prepared import JOURNAL, RecordShard, Skipped, read_shard, read_skipped, write_json
from laminate.data.shrink import NOTHING, Shrunk, read_shrunk
from laminate.storage.strict_json import JsonError, read_json
from laminate.storage.writing import open_own, writing


@dataclasses.dataclass(frozen=True)
class Done:
    """A written shard and what was left out of it, as the journal keeps them."""

    shard: RecordShard
    skipped: tuple[Skipped, ...]
    cut_short: int = 0
    shrunk: Shrunk = NOTHING


def sync_file(path: Path) -> None:
    """Make the file survive a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_done(entry: Path, file: Path) -> Done | None:
    """What the `entry` of a journal says about a shard, if it can be read and the `file` is still there."""
    try:
        read = read_json(entry)
        skipped = tuple(read_skipped(skip) for skip in read["skipped"].items())
        done = Done(
            shard=read_shard(read["shard"]),
            skipped=skipped,
            cut_short=read.get("cut_short", 0).integer(least=0),
            shrunk=read_shrunk(read.get("shrunk", dataclasses.asdict(NOTHING))),
        )
        return done if file.stat().st_size == done.shard.size else None
    except (OSError, JsonError):
        return None


@contextmanager
def held(out: Path, lock: str, doing: str) -> Generator[None]:
    """Holds the lock of that name in the journal of `out` while the body is `doing` something there.

    Raises:
      FileExistsError: another process holds it.
      UnwritableError: it cannot be made.
    """
    with writing(out):
        descriptor = open_own(out / JOURNAL / lock)
    with os.fdopen(descriptor, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileExistsError(f"another process is {doing} {out} at this moment: wait for it") from error
        yield


@contextmanager
def open_journal(out: Path, plan: str) -> Generator[None]:
    """Holds `out` for one preparation of one plan.

    Raises:
      FileExistsError: the folder holds other things, or another preparation, or one is running there now.
    """
    journal = out / JOURNAL
    if out.exists() and not journal.is_dir() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty and holds no prepared data: choose a new folder")
    with writing(out):
        journal.mkdir(parents=True, exist_ok=True)
    with held(out, "lock", "preparing"):
        stated = journal / "plan.json"
        if not stated.exists():
            write_json(stated, {"plan": plan})
        if read_json(stated).value != {"plan": plan}:
            raise FileExistsError(
                f"{out} holds an unfinished preparation of another source or with other options: "
                "choose a new folder, or remove that one"
            )
        yield
