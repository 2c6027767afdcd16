"""What happens when a place cannot be written: one error, in one sentence, whoever writes.

Disks say it with an `OSError`, the safetensors library with an error of its own, the record writer with a
`RuntimeError`. Temporary files and locks are opened so that a link in their place leads nowhere: a folder of somebody
else must not make this process write elsewhere.
"""

import contextlib
import errno
import os
from collections.abc import Generator

from etils import epath
from safetensors import SafetensorError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class UnwritableError(OSError):
    """A place cannot be written: a full disk, a folder without permission, a network that is gone."""


@contextlib.contextmanager
def writing(place: object) -> Generator[None]:
    """Whatever keeps the body from writing `place` becomes an `UnwritableError` that says why and what helps."""
    try:
        yield
    except UnwritableError:
        raise
    except (OSError, SafetensorError) as error:
        raise UnwritableError(f"{place} cannot be written: {cause(error)}") from error


def is_local(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is on a disk, and not in an object store."""
    return "://" not in os.fspath(path)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file that others only look at. Raises UnwritableError."""
    with writing(path):
        epath.Path(path).write_bytes(data)


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make the folder and those above it, unless they are there. Raises UnwritableError."""
    with writing(path):
        epath.Path(path).mkdir(parents=True, exist_ok=True)


def cause(error: BaseException) -> str:
    """Why writing failed, in half a sentence, with what helps where that is known."""
    if isinstance(error, UnwritableError):
        return f"{error}" if error.__cause__ is None else cause(error.__cause__)
    number = error.errno if isinstance(error, OSError) else None
    text = (error.strerror if isinstance(error, OSError) else None) or f"{error}" or type(error).__name__
    full = next(
        (os.strerror(known) for known in _FULL if number == known or os.strerror(known) in text), None
    )
    text = full or " ".join(text.split())[:200]
    if full:
        return f"{text}: is the disk full, or a quota? Make room, and the same command goes on"
    if number == errno.ELOOP:
        return "a link is in its place, and nothing is written outside: remove the link"
    if number in _FORBIDDEN:
        return f"{text}: make the folder writable, or choose another"
    return text


def open_new(path: str | os.PathLike[str]) -> int:
    """The descriptor of a new, empty file at `path`, for writing; what was there, a link too, is removed first."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)


def open_own(path: str | os.PathLike[str], *, append: bool = False) -> int:
    """The descriptor of the file at `path`, made if it is not there. Raises OSError (ELOOP) if `path` is a link."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | (os.O_APPEND if append else 0)
    return os.open(path, flags, 0o644)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Makes the names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Replaces `path` by `text`; whoever reads, at any moment, sees the old file or the new one.

    An object store has no rename, but a put becomes visible only when it is complete, so there it is a
    plain write. Raises `UnwritableError` if the place cannot be written.
    """
    with writing(path):
        if not is_local(path):
            epath.Path(path).write_text(text)
            return
        partial = f"{os.fspath(path)}.partial"
        try:
            with open(open_new(partial), "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            epath.Path(partial).unlink(missing_ok=True)
        sync_folder(epath.Path(path).parent)
