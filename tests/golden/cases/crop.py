"""Pixel-exact centre crops and resizes, and floats to bytes."""

import re

import numpy as np

from laminate.analysis.sample_files import Rounding, to_bytes
from laminate.data.transforms import ResizeKernel, adm_center_crop, resize

from ..options import Options
from ..reader import CannotRun, Golden

_RESIZED = re.compile("pil_([a-z]+)_([0-9]+)x([0-9]+)")
_KERNELS: dict[str, ResizeKernel] = {
    "nearest": "nearest",
    "box": "box",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "lanczos": "lanczos",
}


def produce(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    target = int(options.take("target"))
    options.ignore("dtype", "note", "pil_to", "pillow", "sizes", "tolerance")
    options.none_left()
    produced = {
        name.replace("image", "adm_crop"): adm_center_crop(image, target)
        for name, image in golden.inputs.items()
        if name.startswith("image")
    }
    for name in golden.outputs:
        if match := _RESIZED.fullmatch(name):
            kernel, height, width = match.groups()
            if kernel not in _KERNELS:
                raise CannotRun(f"{golden.path}: outputs/{name} asks for an unknown resize kernel {kernel!r}")
            produced[name] = resize(golden.input("image0"), int(height), int(width), _KERNELS[kernel])
    if "float_01" in golden.inputs:
        produced["uint8_01_clamp_255_truncate"] = _bytes(golden.inputs["float_01"], "down")
    if "float_pm1" in golden.inputs:
        produced["uint8_pm1_127.5x_plus_128_truncate"] = _bytes(
            (golden.inputs["float_pm1"] + 1) / 2, "nearest"
        )
    return produced


def _bytes(values: np.ndarray, rounding: Rounding) -> np.ndarray:
    """A list of values by the rule for images, one gray pixel each."""
    return to_bytes(np.broadcast_to(values[:, None, None, None], (len(values), 1, 1, 3)), rounding)[
        :, 0, 0, 0
    ]
