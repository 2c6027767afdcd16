"""What loading weights costs, beside reading the bytes of the same file: milliseconds, medians of alternating turns.

The file is in the page cache, so that the disk does not hide the work. `read` takes the bytes into fresh memory;
`load` is `laminate.pretrained.hub.load`, which maps the file and looks at every number; `with hash` also compares the
SHA-256; `reference` is the safetensors library, which copies and checks nothing.
"""

import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from laminate.pretrained.hub import load

SIDE = 1024  # of the square matrices in the file


def measure(*, megabytes: int, turns: int) -> dict[str, object]:
    rng = np.random.default_rng(0)
    count = max(1, round(megabytes * 1e6 / (4 * SIDE**2)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_file({f"layers.{i}": rng.standard_normal((SIDE, SIDE), np.float32) for i in range(count)}, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        methods: dict[str, Callable[[], object]] = {
            "read": path.read_bytes,
            "load": lambda: load(path),
            "with_hash": lambda: load(path, sha256=digest),
            "reference": lambda: load_file(path),
        }
        times = {name: [] for name in methods}
        for _ in range(turns):
            for name, method in methods.items():
                began = time.perf_counter()
                kept = method()
                times[name].append(time.perf_counter() - began)
                del kept
        medians = {name: statistics.median(values) for name, values in times.items()}
        return {
            "megabytes": round(path.stat().st_size / 1e6),
            **{f"{name}_ms": round(1e3 * value, 1) for name, value in medians.items()},
            "load_over_read": round(medians["load"] / medians["read"], 2),
            "load_with_hash_over_read": round(medians["with_hash"] / medians["read"], 2),
        }
