"""Pickled checkpoints: never read, since reading one runs whatever code is in it; the way around is named."""

import json
import shlex
from pathlib import PurePath
from typing import NoReturn

_WEIGHTS_OF = (
    *("ema", "model_ema", "ema_model", "ema_state_dict", "state_dict_ema"),
    *("teacher", "state_dict", "model", "module"),
)
"""Where the checkpoints of trainings keep the weights that are used afterwards, averaged ones before others."""

ZIP = b"PK\x03\x04"
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


class PickleRefused(ValueError):
    """A file that runs code when it is read; the message holds the command that converts it."""


def is_pickle(start: bytes) -> bool:
    """Whether a file that begins with these bytes is a pickle, or a zip of them as PyTorch writes, and not of arrays as
    NumPy does."""
    if start.startswith(ZIP):
        return not _first_of_zip(start).endswith(b".npy")
    return start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


def _first_of_zip(start: bytes) -> bytes:
    """The name of the first file in a zip that begins with these bytes, as far as they reach."""
    return start[30 : 30 + int.from_bytes(start[26:28], "little")]


def conversion(path: str) -> str:
    """The shell command that turns the pickle at `path` into a safetensors file beside it.

    It needs torch, so it is for another environment. Of a training's checkpoint it takes the averaged weights if
    there are any, at any depth, and of one that names them otherwise the dictionary with the most tensors, without
    what DistributedDataParallel and torch.compile put in front of every name. Where it finds none it says so and
    writes nothing; `weights_only=True` lets no code run.
    """
    out = (
        str(PurePath(path).with_suffix(".safetensors"))
        if PurePath(path).suffix in PICKLES
        else f"{path}.converted"
    )
    source, target = json.dumps(path), json.dumps(out)
    code = (
        "import sys, torch, safetensors.torch as s; "
        "own = lambda w: {k: v for k, v in w.items() if isinstance(k, str) and torch.is_tensor(v)}; "
        "inside = lambda w, names: [t for k in names if isinstance(w.get(k), dict) and (t := find(w[k]))]; "
        f"find = lambda w: next(iter(inside(w, {_WEIGHTS_OF})), None) or own(w) "
        "or max(inside(w, w), key=len, default={}); "
        f'w = torch.load({source}, map_location="cpu", weights_only=True); '
        "cut = lambda t, p: {k[len(p):]: v for k, v in t.items()} if all(k.startswith(p) for k in t) else t; "
        "t = find(w) if isinstance(w, dict) else {}; "
        't = cut(cut(cut(t, "module."), "_orig_mod."), "module."); '
        f't or sys.exit({source} + ": no tensors in it, so nothing is written"); '
        f"s.save_file({{k: v.clone().contiguous() for k, v in t.items()}}, {target})"
    )
    return f"python -c {shlex.quote(code)}"


def refuse_pickle(path: str) -> NoReturn:
    """Raises PickleRefused for the file at `path`."""
    raise PickleRefused(
        f"{path} is a pickle, which runs code when it is read, so it is not. Convert it once, in an environment with "
        f"torch and safetensors, and give the new file: {conversion(path)}"
    )
