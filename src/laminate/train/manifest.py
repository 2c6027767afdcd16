"""What a checkpoint says about itself: one JSON file, written last, that makes a folder a checkpoint.

``checkpoints/<step>/manifest.json`` holds the step, the metric, the position in the data, the recipe, and
per array its name, shape, dtype and fingerprint; per file its size, and the checksum of the small ones (the
metadata of the array format; the large ones hold arrays, which the fingerprints cover). It carries a
checksum of itself.
"""

import json
import logging
import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from etils import epath

from laminate.storage.strict_json import Field, JsonError, read_json
from laminate.storage.writing import is_local, write_atomically
from laminate.train.durable import remove_tree

MANIFEST = "manifest.json"
_VERSION = 1
_TEMPORARY = re.compile(r"\d+\.orbax-checkpoint-tmp.*")
_OWN_NAMES = {
    "state",
    "_CHECKPOINT_METADATA",
    "commit_success.txt",
    "orbax.checkpoint",
    f"{MANIFEST}.partial",
}
_log = logging.getLogger(__name__)
Differences = Callable[[dict[str, Any], dict[str, Any]], list[str]]
_SMALL = 1 << 20  # bytes; files up to this size are checked by their checksum as well


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read, with the folder, the cause and the fix in one message."""


class DamagedCheckpoint(CheckpointError):
    """A checkpoint whose files are not what was written."""


class MismatchedCheckpoint(CheckpointError):
    """A sound checkpoint of something else: another recipe, other arrays, shapes or dtypes."""


@dataclass(frozen=True)
class Leaf:
    """One array of the state: its shape, the name of its dtype, its fingerprint."""

    shape: tuple[int, ...]
    dtype: str
    fingerprint: int


@dataclass(frozen=True)
class CheckpointManifest:
    """The contents of one ``manifest.json``; `metric` is None for a checkpoint that was not evaluated."""

    step: int
    metric: float | None
    position: dict[str, Any]
    recipe: dict[str, Any] | None
    leaves: dict[str, Leaf]
    files: dict[str, dict[str, int]]


def damaged(folder: epath.Path, what: str) -> DamagedCheckpoint:
    return DamagedCheckpoint(
        f"checkpoint {folder} is damaged: {what}; resume from an earlier one (--resume newest-good) or "
        "restore the folder from a copy"
    )


def _checksum(body: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())


def write_manifest(folder: epath.Path, manifest: CheckpointManifest) -> None:
    """Makes `folder` a checkpoint, in one atomic step. Everything else in it has to be on the disk before."""
    body = json.loads(json.dumps({"format": "laminate checkpoint", "version": _VERSION, **asdict(manifest)}))
    write_atomically(folder / MANIFEST, json.dumps({**body, "checksum": _checksum(body)}, indent=1) + "\n")


def read_manifest(folder: epath.Path) -> CheckpointManifest:
    """The manifest of `folder`. Raises `DamagedCheckpoint` if it is not as it was written."""
    path = folder / MANIFEST
    try:
        read = read_json(path)
        body = dict(read.members())
        if body.pop("checksum", None) != _checksum(body):
            raise damaged(folder, f"{path} was changed after it was written (wrong checksum)")
        if read["version"].value != _VERSION:
            raise MismatchedCheckpoint(
                f"checkpoint {folder} has format version {read['version'].value}, this program reads {_VERSION}; "
                "use the version of laminate that wrote it"
            )
        return _manifest(read)
    except JsonError as error:
        raise damaged(folder, f"{path} cannot be read ({error.within(path)})") from error
    except OSError as error:
        raise damaged(folder, f"{path} cannot be read ({error})") from error


def _manifest(read: Field) -> CheckpointManifest:
    """The manifest in a file whose checksum is right, which somebody may have computed anew."""
    leaves = {
        name: Leaf(
            tuple(side.integer(least=0) for side in leaf["shape"].items()),
            leaf["dtype"].text(),
            leaf["fingerprint"].integer(least=0),
        )
        for name, leaf in read["leaves"].fields()
    }
    files: dict[str, dict[str, int]] = {}
    for name, entry in read["files"].fields():
        if name.startswith("/") or ".." in name.split("/"):
            raise JsonError(f"{read.file}: files.{name} lies outside the checkpoint")
        files[name] = {what: size.integer(least=0) for what, size in entry.fields()}
        entry["size"].integer(least=0)
    metric, recipe = read["metric"], read["recipe"]
    return CheckpointManifest(
        read["step"].integer(least=0),
        None if metric.value is None else metric.number(),
        read["position"].members(),
        None if recipe.value is None else recipe.members(),
        leaves,
        files,
    )


def seal_files(folder: epath.Path) -> dict[str, dict[str, int]]:
    """The table of the files below `folder`; on a disk, each of them is on it for good when this returns."""
    table: dict[str, dict[str, int]] = {}
    for path in _files_below(folder):
        if not path.name.startswith(MANIFEST):
            table[path.relative_to(folder).as_posix()] = _seal_file(path)
    return table


def _files_below(folder: epath.Path) -> Iterator[epath.Path]:
    """All the files under `folder`; recursive patterns do not work in object stores."""
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            yield from _files_below(entry)
        else:
            yield entry


def _seal_file(path: epath.Path) -> dict[str, int]:
    if is_local(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    size = path.stat().length
    return {"size": size, "crc32": zlib.crc32(path.read_bytes())} if size <= _SMALL else {"size": size}


def is_complete(folder: epath.Path) -> bool:
    """Whether `folder` has a manifest and every file that it names.

    A folder with an unreadable manifest counts: reading it then gives the error, where leaving it out of
    the list would start the training over without a word.
    """
    if not (folder / MANIFEST).exists():
        return False
    try:
        files = read_manifest(folder).files
    except CheckpointError:
        return True
    return all((folder / name).exists() for name in files)


def check_files(folder: epath.Path, manifest: CheckpointManifest) -> None:
    """Raises `DamagedCheckpoint`, with the file's name, unless all files have their sizes and checksums."""
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.exists():
            raise damaged(folder, f"{path} is missing")
        size = path.stat().length
        if size != entry["size"]:
            raise damaged(folder, f"{path} has {size} bytes instead of {entry['size']}")
        if "crc32" in entry and zlib.crc32(path.read_bytes()) != entry["crc32"]:
            raise damaged(folder, f"{path} was changed after it was written (wrong checksum)")


def check_recipe(
    folder: epath.Path,
    saved: dict[str, Any] | None,
    current: dict[str, Any] | None,
    differences: Differences,
) -> None:
    """Raises `MismatchedCheckpoint`, with what differs, unless the recipes are the same; None fits any."""
    lines = [] if saved is None or current is None else differences(saved, current)
    if lines:
        raise MismatchedCheckpoint(
            f"checkpoint {folder} is of another recipe: {'; '.join(lines)}; give the recipe that wrote it, or start "
            "over in another run folder"
        )


def check_leaves(
    folder: epath.Path, saved: dict[str, Leaf], wanted: dict[str, tuple[tuple[int, ...], str]]
) -> None:
    """Raises `MismatchedCheckpoint` unless the names, shapes and dtypes of `wanted` are those of `saved`."""
    problems = [f"{name} is not in the checkpoint" for name in wanted.keys() - saved.keys()]
    problems += [f"{name} is in the checkpoint only" for name in saved.keys() - wanted.keys()]
    for name in saved.keys() & wanted.keys():
        shape, dtype = wanted[name]
        if (shape, dtype) != (saved[name].shape, saved[name].dtype):
            old = f"{saved[name].dtype}{list(saved[name].shape)}"
            problems.append(f"{name} is {old} in the checkpoint but {dtype}{list(shape)} here")
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise MismatchedCheckpoint(
            f"checkpoint {folder} holds other arrays: {'; '.join(sorted(problems)[:5])}{more}; build the "
            "state with the recipe that wrote the checkpoint"
        )


def check_fingerprints(folder: epath.Path, saved: dict[str, Leaf], found: dict[str, int]) -> None:
    """Raises `DamagedCheckpoint`, with the arrays' names, unless all fingerprints are those of `saved`."""
    changed = [name for name, value in found.items() if saved[name].fingerprint != value]
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise damaged(folder, f"the values of {', '.join(changed[:3])}{more} are not those that were saved")


def step_of(name: str) -> int | None:
    """The step whose folder has this name; None if it is none of ours, as `007` or `7.bak`."""
    return int(name) if re.fullmatch(r"0|[1-9][0-9]{0,17}", name, re.ASCII) else None


def make_room(place: epath.Path) -> None:
    """Removes an earlier checkpoint of a step. Raises OSError if something else stands in its place."""
    if place.is_dir() and not (is_local(place) and os.path.islink(place)):
        remove_checkpoint(place)
    elif place.exists() or (is_local(place) and os.path.lexists(place)):
        raise FileExistsError(f"{place} is a file or a link, and no checkpoint of ours: move it away")


def remove_checkpoint(place: epath.Path) -> None:
    """Deletes a step: first the manifest, so that a half-deleted folder is no checkpoint."""
    (place / MANIFEST).unlink(missing_ok=True)
    remove_tree(place)


def remove_leftovers(folder: epath.Path) -> None:
    """Removes from the folder of all checkpoints what killed saves and deletions left; foreign files stay."""
    for entry in list(folder.iterdir()):
        if _TEMPORARY.fullmatch(entry.name):
            remove_tree(entry)
        elif step_of(entry.name) is not None and not is_complete(entry):
            if entry.is_dir() and {child.name for child in entry.iterdir()} <= _OWN_NAMES:
                remove_tree(entry)
            else:
                _log.warning(
                    "%s is no complete checkpoint and is ignored; remove it if nobody needs it", entry
                )
