"""What the first fetch of a name brought, noted beside the cache: every later use is compared with it.

`laminate-pins.json` in the cache folder maps a name to its repository, the commit, and the SHA-256 of every file.
Removing an entry (or the file) lets the next fetch pin the name anew.
"""

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from etils import epath
from huggingface_hub import constants

from laminate.storage.strict_json import Field, JsonError, read_json
from laminate.storage.writing import open_new, writing

PINS_FILE = "laminate-pins.json"
_CHUNK = 1 << 20
_PLAIN = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", re.ASCII)  # a part of a path in the cache


@dataclass(frozen=True)
class Pin:
    """One name as it was fetched first."""

    repository: str
    commit: str
    sha256: dict[str, str]


def cache_folder(cache: Path | None = None) -> Path:
    """The cache of huggingface_hub, as `HF_HUB_CACHE` and `HF_HOME` set it, unless one is given."""
    return Path(constants.HF_HUB_CACHE) if cache is None else cache


def read_pins(cache: Path) -> dict[str, Pin]:
    """The pins of the cache folder, by name. Raises ValueError if the file is damaged."""
    path = cache / PINS_FILE
    if not path.exists():
        return {}
    try:
        return {name: _pin(described) for name, described in read_json(path).fields()}
    except JsonError as error:
        raise ValueError(
            f"{path} is damaged ({error}): remove it, and the names are pinned anew when they are used next."
        ) from error


def _pin(described: Field) -> Pin:
    repository, commit = described["repository"].text(), described["commit"].text()
    if not _PLAIN.fullmatch(repository) or not _PLAIN.fullmatch(commit):
        raise JsonError(f"{described.file}: {described.path} names no repository and commit of the hub")
    return Pin(repository, commit, {file: digest.text() for file, digest in described["sha256"].fields()})


def write_pin(cache: Path, name: str, pin: Pin) -> None:
    """Add or replace the pin of `name`; a reader sees the old file or the new one."""
    pins = {**read_pins(cache), name: pin}
    text = json.dumps({key: asdict(pins[key]) for key in sorted(pins)}, indent=1) + "\n"
    partial = cache / f"{PINS_FILE}.{os.getpid()}.partial"
    with writing(cache / PINS_FILE):
        try:
            with open(open_new(partial), "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(partial, cache / PINS_FILE)
        finally:
            partial.unlink(missing_ok=True)


def sha256_of(path: Path | epath.Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
