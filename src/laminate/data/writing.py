"""What a place that cannot be written makes of a preparation or an encoding: one sentence, and nothing is lost."""

import errno
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PLACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.EROFS})


class CannotWriteError(OSError):
    """A folder cannot be written; what was finished is kept, and the same command goes on from there."""


def _sentence(folder: Path, reason: str) -> str:
    return (
        f"cannot write {folder} ({reason}): is the disk full? Finished files are kept; the same command goes on "
        "from there"
    )


@contextmanager
def written(folder: Path, *foreign: type[Exception]) -> Generator[None]:
    """Turns what comes of a full or closed place into `CannotWriteError`.

    `foreign` are errors of writers that have types of their own: array_record and safetensors.
    """
    try:
        yield
    except CannotWriteError:
        raise
    except OSError as error:
        if error.errno not in _PLACE:
            raise
        raise CannotWriteError(_sentence(folder, error.strerror or str(error))) from error
    except foreign as error:
        raise CannotWriteError(
            _sentence(folder, (str(error).splitlines() or [type(error).__name__])[0][:200])
        ) from error


def close(writer: Any) -> None:
    """Close an array-record writer after a failure, which it may answer with another one."""
    try:
        writer.close()
    except RuntimeError:
        pass
