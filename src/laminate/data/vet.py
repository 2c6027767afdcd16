"""Looks at foreign record files in a child process with little memory.

A file of 128 KiB can hold a record of 1 GiB, and the reader does not raise an exception where it cannot have
that memory: it ends the process. So the child reads first, and its death is an error message here.
"""

import faulthandler
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from laminate.data.records import RecordFile, RecordFileError, open_record_file

MEMORY_LIMIT = 2**31
_SAMPLED_FILES = 64
_STACK_BYTES = 2**30  # the reader starts 64 threads of 8 MiB, with some room
_STALL_SECONDS = 60.0


def vet_record_files(files: Sequence[RecordFile], *, sample: bool, memory_limit: int = MEMORY_LIMIT) -> None:
    """Read records of `files` in a child process: all of them, or with `sample` a first and a last one of
    some files.

    Raises:
      RecordFileError: a file is damaged, holds another number of records than stated, or needs more than
        `memory_limit` bytes.
    """
    chosen = files[:: max(1, len(files) // _SAMPLED_FILES)] if sample else files
    task = [memory_limit, *([str(file.path), file.count, sample] for file in chosen)]
    child = subprocess.run(
        [sys.executable, "-c", "from laminate.data.vet import child; raise SystemExit(child())"],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        check=False,
        # Threads reserve address space, which is what the limit counts.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
    )
    if child.returncode == 0:
        return
    lines = child.stdout.splitlines()
    if lines and lines[-1].startswith("error: "):
        raise RecordFileError(lines[-1].removeprefix("error: "))
    file = lines[-1] if lines else str(files[0].path)
    raise RecordFileError(
        f"{file} was refused: reading it needs more than {memory_limit >> 20} MiB of memory or ends "
        f"the reader (exit status {child.returncode}); it is damaged or a decompression bomb"
    )


def _read(path: str, count: int, sample: bool) -> None:
    faulthandler.dump_traceback_later(_STALL_SECONDS, exit=True)
    reader = open_record_file(Path(path), count)
    # A reader whose threads find no memory may wait for them for ever.
    for index in sorted({0, count - 1} if sample else range(count)):
        faulthandler.dump_traceback_later(_STALL_SECONDS, exit=True)
        try:
            if count:
                reader.read([index])
        except RuntimeError as error:
            if sample:
                raise RecordFileError(f"record {index} of {path} is damaged ({str(error)[:200]})") from error
    reader.close()
    faulthandler.cancel_dump_traceback_later()


def child() -> int:
    """The child's part: names each file on stdout, then a line with ``error: `` where one is refused."""
    limit, *files = json.loads(sys.stdin.read())
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    total = pages * resource.getpagesize() + _STACK_BYTES + limit
    resource.setrlimit(resource.RLIMIT_AS, (total, total))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for path, count, sample in files:
        sys.stdout.write(path + "\n")
        sys.stdout.flush()
        try:
            _read(path, count, sample)
        except RecordFileError as error:
            sys.stdout.write(f"error: {error}\n")
            return 1
        except MemoryError:
            sys.stdout.write(f"error: {path} was refused: a record in it needs too much memory (a bomb)\n")
            return 1
    return 0
