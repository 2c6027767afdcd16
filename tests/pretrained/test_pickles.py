"""The command that converts a pickle takes the weights, wherever they lie, and never writes nothing.

PyTorch is not here; a stand-in for it loads what the test puts there and notes what is saved.
"""

import shlex
import sys
import types

import numpy as np
import pytest

from laminate.pretrained.pickles import conversion


class Tensor:
    def __init__(self, value):
        self.value = value

    def clone(self):
        return Tensor(self.value)

    def contiguous(self):
        return self


def converted(monkeypatch, checkpoint, path="weights.pth"):
    """What the command saves of `checkpoint`, and where."""
    torch, library, inside, saved = types.ModuleType("torch"), types.ModuleType("safetensors"), None, []
    torch.load = lambda path, map_location, weights_only: checkpoint if weights_only else None
    torch.is_tensor = lambda value: isinstance(value, Tensor)
    inside = types.ModuleType("safetensors.torch")
    inside.save_file = lambda tensors, out: saved.append(({k: v.value for k, v in tensors.items()}, out))
    library.torch = inside
    for name, module in {"torch": torch, "safetensors": library, "safetensors.torch": inside}.items():
        monkeypatch.setitem(sys.modules, name, module)
    command = shlex.split(conversion(path))
    assert command[:2] == ["python", "-c"] and "\n" not in conversion(path)
    exec(compile(command[2], "command", "exec"), {})
    ((tensors, out),) = saved
    return tensors, out


def named(value, prefix=""):
    return {f"{prefix}{name}": Tensor(value) for name in ("a.weight", "b.bias")}


@pytest.mark.parametrize(
    "checkpoint",
    [
        named(1),
        {"teacher": named(1), "student": named(2)},
        {"state_dict": named(1)},
        {"model": named(1), "optimizer": {"state": {}}, "epoch": 7},
        {"state_dict": named(2), "state_dict_ema": named(1)},
        {"model": named(2), "model_ema": {"module": named(1)}},
        {"state_dict": {"model": named(1)}},
        {"model": {"state_dict": {"module": named(1)}}, "step": Tensor(3)},
        {"network": named(1, "module.")},
        named(1, "_orig_mod."),
        {"ema": named(1, "module._orig_mod.")},
        {"ema": named(1, "_orig_mod.module.")},
        {"ema": {"decay": 0.999}, "state_dict": named(1)},
        {"net": {"weights": named(1)}, "config": {"width": 8}},
        {"optimizer": {"state": {0: {1: Tensor(2)}}}, "generator": named(1)},
    ],
)
def test_the_weights_are_found_wherever_they_lie(monkeypatch, checkpoint):
    tensors, out = converted(monkeypatch, checkpoint)
    plain = {name.replace("module.", "").replace("_orig_mod.", ""): value for name, value in tensors.items()}
    assert plain == {"a.weight": 1, "b.bias": 1} and out == "weights.safetensors"


@pytest.mark.parametrize(
    "checkpoint", [{}, {"state_dict": {}}, {"a": 1, "model": {"b": {"c": {}}}}, [1, 2], None]
)
def test_a_file_without_tensors_is_refused_and_nothing_is_written(monkeypatch, checkpoint):
    with pytest.raises(SystemExit, match="nothing is written"):
        converted(monkeypatch, checkpoint)


@pytest.mark.parametrize("path", ['it\'s "mine".pt', "a b/PATH.bin", "OUT.ckpt", "no_suffix"])
def test_any_name_of_a_file_is_quoted(monkeypatch, path):
    _, out = converted(monkeypatch, named(np.float32(1)), path)
    assert out.rpartition(".")[0] in (path.rpartition(".")[0], path)
