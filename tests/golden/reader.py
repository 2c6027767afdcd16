"""Golden files: what they hold, and how close an output has to come."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from .drawn import draw, wrongly_drawn

_ABSOLUTE = 1e-12


class CannotRun(ValueError):
    """A file that the runner cannot judge: unreadable, of an unknown case, or with an unknown option."""


@dataclass(frozen=True)
class Golden:
    """One file: `weights` (stored or drawn), `inputs` and `outputs` by their names without the prefix."""

    path: Path
    case: str
    config: dict[str, Any]
    weights: dict[str, np.ndarray]
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]

    def input(self, name: str) -> np.ndarray:
        if name not in self.inputs:
            raise CannotRun(
                f"{self.path}: case {self.case} needs inputs/{name}, the file has {sorted(self.inputs)}"
            )
        return self.inputs[name]

    def tolerance(self, name: str) -> float:
        """The tolerance of an output: that of the first pattern which matches its name."""
        for pattern, tolerance in self.config["tolerance"]:
            if fnmatchcase(name, pattern):
                return float(tolerance)
        raise CannotRun(f"{self.path}: no tolerance for outputs/{name} in {self.config['tolerance']}")


@dataclass(frozen=True)
class Comparison:
    """One output against its reference. `error` and `tolerance` are relative to the reference's peak."""

    name: str
    error: float
    tolerance: float
    passed: bool
    remark: str = ""


def read(path: Path) -> Golden:
    """Read a golden file. Raises CannotRun when it is none."""
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise CannotRun(f"{path}: not readable as safetensors: {error}") from error
    if "case" not in header or "config" not in header:
        raise CannotRun(f"{path}: the header has no case and config, only {sorted(header)}")
    config = json.loads(header["config"])
    if "tolerance" not in config:
        raise CannotRun(f"{path}: the header's config has no tolerance")
    parts = {part: _under(part, tensors) for part in ("weights", "inputs", "outputs")}
    if "table" in config:
        parts["weights"] |= draw(config["seed"], config["table"])
        if wrong := wrongly_drawn(parts["weights"], _under("weights_check", tensors)):
            raise CannotRun(
                f"{path}: the recipe of the weights does not give the stored first values of {wrong}"
            )
    return Golden(path, header["case"], config, **parts)


def compare(golden: Golden, produced: Mapping[str, np.ndarray]) -> list[Comparison]:
    """Every output of the file against what was produced; an output that was not produced has not passed."""
    return [
        _compare(name, golden.tolerance(name), golden.outputs[name], produced.get(name))
        for name in golden.outputs
    ]


def _compare(name: str, tolerance: float, reference: np.ndarray, ours: np.ndarray | None) -> Comparison:
    if ours is None:
        return Comparison(name, np.inf, tolerance, False, "not produced")
    ours = np.asarray(ours)
    if ours.shape != reference.shape:
        return Comparison(name, np.inf, tolerance, False, f"shape {ours.shape}, expected {reference.shape}")
    if tolerance == 0:
        wrong = int(np.sum(ours != reference))
        return Comparison(name, float(wrong), 0.0, not wrong, f"{wrong} differ" if wrong else "exact")
    wide, ours = reference.astype(np.float64), ours.astype(np.float64)
    if not np.isfinite(ours).all():
        return Comparison(name, np.inf, tolerance, False, "not finite")
    peak = float(np.max(np.abs(wide), initial=0.0))
    error = float(np.max(np.abs(ours - wide), initial=0.0))
    passed = error <= tolerance * peak + _ABSOLUTE
    return Comparison(
        name, error / peak if peak else error, tolerance, passed, "" if peak else "reference is zero"
    )


def _under(part: str, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(f"{part}/"): a for name, a in tensors.items() if name.startswith(f"{part}/")}
