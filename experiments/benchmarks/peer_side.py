"""What `peer.Peer` talks to, run by the interpreter of `--peer-python`: imports nothing but the standard library."""

import json
import sys
import time
from importlib.util import find_spec


def require(packages):
    """Ends with the names of missing `packages` as the answer, if any are; they are `{to import: to install}`."""
    missing = [name for module, name in packages.items() if find_spec(module) is None]
    if missing:
        answer({"missing": missing})
        sys.exit()


def serve(pieces):
    """`pieces(spec)` gives pieces of work by their names, facts, and what keeps the result of one of a name.

    A piece is timed whenever its name is read: seconds that passed, and of all threads of this process. Keeping is no
    part of them.
    """
    work, facts, keep = pieces(json.loads(sys.stdin.readline()))
    answer(facts)
    for line in sys.stdin:
        name = line.strip()
        began = time.perf_counter(), time.process_time()
        made = work[name]()
        seconds = time.perf_counter() - began[0], time.process_time() - began[1]
        keep(name, made)
        answer(seconds)


def answer(value):
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
