"""Pickled checkpoints: never read, since reading one runs whatever code is in it; the way around is named."""

import json
import shlex
from pathlib import PurePath
from typing import NoReturn

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


# Averages first: a checkpoint that has them is meant to be used with them. A tensor that is not contiguous, or shares
# its memory with another, is no safetensors entry, hence the copies. One line, since an error message is one.
_CODE = (
    "import torch, safetensors.torch as s; "
    'K = "state_dict_ema model_ema ema_state_dict ema_model ema teacher state_dict model_state_dict model module "'
    '"network net student shadow_params".split(); '
    "T = lambda w: {k: v for k, v in w.items() if torch.is_tensor(v)}; "
    "F = lambda w, d=5: next((i for k in K if (i := F(w.get(k), d - 1))), T(w)) if d and isinstance(w, dict) else {}; "
    "C = lambda w, p: {k[len(p):]: v for k, v in w.items()} if w and all(k.startswith(p) for k in w) else w; "
    'w = F(torch.load(%s, map_location="cpu", weights_only=True)); '
    'w = C(C(C(w, "module."), "_orig_mod."), "module."); '
    'w or exit("no tensors were found: nothing is written"); '
    "s.save_file({k: v.clone().contiguous() for k, v in w.items()}, %s)"
)


class PickleRefused(ValueError):
    """A file that runs code when it is read; the message holds the command that converts it."""


def is_pickle(start: bytes) -> bool:
    """Whether a file that begins with these bytes is a pickle, or a zip of them as PyTorch writes."""
    return start[:4] == b"PK\x03\x04" or (
        start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    )


def conversion(path: str) -> str:
    """The shell command that turns the pickle at `path` into a safetensors file beside it.

    It needs torch, so it is for another environment. Of a training's checkpoint it takes the averaged weights if
    there are any, however deep they lie, without what DistributedDataParallel and torch.compile put in front of every
    name; it writes nothing where it finds no tensors. `weights_only=True` lets no code run.
    """
    out = (
        str(PurePath(path).with_suffix(".safetensors"))
        if PurePath(path).suffix in PICKLES
        else f"{path}.converted"
    )
    code = _CODE % (json.dumps(path), json.dumps(out))
    return f"python -c {shlex.quote(code)}"


def refuse_pickle(path: str) -> NoReturn:
    """Raises PickleRefused for the file at `path`."""
    raise PickleRefused(
        f"{path} is a pickle, which runs code when it is read, so it is not. Convert it once, in an environment with "
        f"torch and safetensors, and give the new file: {conversion(path)}"
    )
