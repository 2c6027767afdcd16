"""The other side of a comparison: another interpreter with libraries that are none of ours, timed in turn with us."""

import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

PAUSE_S = 0.05  # in which the threads of the side that worked last stop waiting for more


class Seconds(NamedTuple):
    """Of every piece in every turn: those that passed, and those that all threads worked."""

    passed: dict[str, list[float]]
    worked: dict[str, list[float]]

    @classmethod
    def of_none(cls, names: Iterable[str]) -> "Seconds":
        names = tuple(names)
        return cls({name: [] for name in names}, {name: [] for name in names})

    def add(self, name: str, passed: float, worked: float) -> None:
        self.passed[name].append(passed)
        self.worked[name].append(worked)


class Peer:
    """A process that works when it is asked to, and not otherwise.

    `script` lies beside this file and calls `peer_side.serve`: a line with the JSON of `spec` goes in, one with that of
    `facts` comes out, and then a name of a piece of work for each answer, two numbers of seconds.
    """

    def __init__(self, python: str, script: str, spec: Mapping[str, object], packages: Sequence[str]):
        """Raises ValueError, with what is to be installed, where `python` is no such interpreter."""
        install = " ".join(packages)
        needed = (
            f"--peer-python is the interpreter of an environment with {', '.join(packages)}: 'python -m venv peer', "
            f"'peer/bin/pip install {install}', then --peer-python peer/bin/python."
        )
        if shutil.which(python) is None:
            raise ValueError(f"{needed} {python!r} is no program.")
        command = [python, str(Path(__file__).with_name(script))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        answer = self._ask(json.dumps(spec))
        if not answer:
            raise ValueError(f"{needed} The one given ended with {self._process.wait()}.")
        self.facts: dict[str, Any] = json.loads(answer)
        if "missing" in self.facts:
            self.close()
            raise ValueError(f"{needed} {python!r} lacks {', '.join(self.facts['missing'])}.")

    def seconds(self, name: str) -> tuple[float, float]:
        """Of one piece of work. Raises ValueError if the process ends in it."""
        answer = self._ask(name)
        if not answer:
            raise ValueError(
                f"--peer-python ended with {self._process.wait()} in {name!r}; it says why above."
            )
        passed, worked = json.loads(answer)
        return passed, worked

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its output ends as well
        return self._process.stdout.readline()


def in_turn(
    work: Mapping[str, Callable[[], object]], beside: Mapping[str, Sequence[str]], peer: Peer, turns: int
) -> tuple[Seconds, Seconds]:
    """Of every piece, ours and the peer's that `beside` names, right after each other."""
    ours = Seconds.of_none(work)
    theirs = Seconds.of_none(name for names in beside.values() for name in names)
    for _ in range(turns):
        for name, call in work.items():
            time.sleep(PAUSE_S)
            began = time.perf_counter(), time.process_time()
            jax.block_until_ready(call())
            ours.add(name, time.perf_counter() - began[0], time.process_time() - began[1])
            for other in beside[name]:
                time.sleep(PAUSE_S)
                theirs.add(other, *peer.seconds(other))
    return ours, theirs


def ratio(ours: list[float], theirs: list[float], beside: str) -> dict[str, object]:
    """Median times and median, least and largest ratio."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "beside": beside,
        "ms": round(1e3 * statistics.median(ours), 2),
        "beside_ms": round(1e3 * statistics.median(theirs), 2),
        "ratio": round(statistics.median(ratios), 3),
        "least": round(min(ratios), 3),
        "most": round(max(ratios), 3),
    }
