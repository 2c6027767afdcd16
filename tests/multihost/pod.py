"""Several processes of one training on this machine: started together, watched, and ended whatever happens."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "multihost" / "program.py"
STEPS = ROOT / "tests" / "multihost" / "steps.py"
FEATURES = ROOT / "tests" / "multihost" / "features.py"

LIMIT = 480.0  # seconds for anything that should come to its end
ENDING = 30.0  # seconds in which every process has to end after a fault of one


class Ended(NamedTuple):
    """How one host ended: its exit code, what it wrote to standard error, and when."""

    code: int
    said: str
    at: float

    @property
    def last(self) -> str:
        return [line for line in self.said.splitlines() if line.strip()][-1]


class Pod:
    """The processes of one program, one for each list of arguments; used as a context manager."""

    def __init__(
        self,
        folder: Path,
        program: Path,
        arguments: Sequence[Sequence[str]],
        *,
        faults: dict[int, str] | None = None,
        environment: dict[int, dict[str, str]] | None = None,
    ):
        with socket.create_server(("", 0)) as probe:
            port = probe.getsockname()[1]
        self._files: list[Path] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        count = len(arguments)
        for host, mine in enumerate(arguments):
            file = folder / f"host-{host}-{time.monotonic_ns()}.log"
            self._files.append(file)
            place = {
                "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
                "JAX_NUM_PROCESSES": str(count),
                "JAX_PROCESS_ID": str(host),
            }
            with file.open("wb") as log:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, str(program), *mine],
                        cwd=folder,
                        stdout=log,
                        stderr=log,
                        env={
                            **os.environ,
                            "PYTHONPATH": str(ROOT),
                            "JAX_PLATFORMS": "cpu",
                            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
                            "FAULT": (faults or {}).get(host, ""),
                            **place,
                            **(environment or {}).get(host, {}),
                        },
                    )
                )

    def __enter__(self) -> "Pod":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def said(self, host: int) -> str:
        return self._files[host].read_text(errors="replace")

    def until(self, happened: Callable[[], bool], *, seconds: float = LIMIT) -> None:
        """Wait until something happened while all processes run."""
        end = time.monotonic() + seconds
        while not happened():
            dead = [host for host, process in enumerate(self.processes) if process.poll() is not None]
            assert not dead, f"host {dead[0]} ended early:\n{self.said(dead[0])}"
            assert time.monotonic() < end, "\n".join(map(self.said, range(len(self.processes))))
            time.sleep(0.02)

    def until_said(self, text: str, *, host: int = 0) -> None:
        self.until(lambda: text in self.said(host))

    def wait(self, *, seconds: float = LIMIT, but: Sequence[int] = ()) -> list[Ended]:
        """How every host ended, but for those of `but`, which stay out of it."""
        end, ended = time.monotonic() + seconds, dict[int, float]()
        awaited = set(range(len(self.processes))) - set(but)
        while awaited - ended.keys():
            for host in awaited - ended.keys():
                if self.processes[host].poll() is not None:
                    ended[host] = time.monotonic()
            late = awaited - ended.keys() if time.monotonic() > end else set()
            assert not late, f"host {min(late)} did not end in {seconds:.0f} s:\n{self.said(min(late))}"
            time.sleep(0.02)
        return [
            Ended(process.returncode if host in ended else 0, self.said(host), ended.get(host, end))
            for host, process in enumerate(self.processes)
        ]
