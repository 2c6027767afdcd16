"""The networks that `evaluate.py` measures sets by: the one in the package, or those of files and known names."""

import os
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np

from laminate.evals.feature_networks import Output, PooledInception, PooledTeacher
from laminate.evals.protocols import EMBEDDED
from laminate.pretrained import hub
from laminate.pretrained.identify import identify, split_name
from laminate.pretrained.inception import load_inception
from laminate.pretrained.lpips import load_lpips
from laminate.pretrained.teachers import VitTeacher
from laminate.recipes.modules import teacher
from laminate.recipes.network import find_teacher
from laminate.train.export import content_hash

INCEPTION = "inception"


@dataclass(frozen=True)
class FeatureNetwork:
    """A module that gives `pool` of an image, and perhaps `logits` and `spatial`; its weights are NumPy arrays.

    `name` is what measures end in, `said` which network and output it is, `resize` how it brings images to its size.
    """

    name: str
    said: str
    module: eqx.Module
    resize: str
    sha256: str


def open_feature_networks(inception: str | None, dino: str | None) -> list[FeatureNetwork]:
    """The networks that the flags name, else the one in the package.

    Raises ValueError for weights that are damaged or of another network, OSError if they are not there.
    """
    found: list[FeatureNetwork] = []
    if inception is not None:
        network = PooledInception(load_inception(hub.load(inception).weights))
        said = "FID Inception-v3, 2048 of the last pooling"
        resize = "bilinear to 299, corners aligned as in TensorFlow 1"
        found.append(_on_host(INCEPTION, said, network, resize))
    if dino is not None:
        found.append(_vision(dino))
    return found or [_embedded()]


def open_lpips(source: str | None) -> Any:
    """LPIPS (its network and heads in one file), its weights in NumPy arrays; None if no file is named."""
    return None if source is None else jax.tree.map(np.asarray, load_lpips(hub.load(source).weights))


def _embedded() -> FeatureNetwork:
    found = teacher(find_teacher(EMBEDDED))
    assert isinstance(found, VitTeacher)
    return _pooled(EMBEDDED, "the masked autoencoder in the package", found, "patches")


def _vision(source: str) -> FeatureNetwork:
    """A published vision transformer: its CLS token behind the final norm, as FD-DINOv2 and FDD are defined."""
    asked, where = split_name(source)
    config, weights = hub.load(where)
    one = identify(config, weights, where, asked=asked)
    vit = one.load(weights, affine=True, on_host=True)
    seeing = VitTeacher(
        vit, one.image_size, mean=one.family.mean, std=one.family.std, resampling="bicubic-antialias"
    )
    name = asked or os.path.basename(os.path.normpath(where)).partition(".")[0]
    return _pooled(name, f"{name} ({one.family.name})", seeing, "patches" if vit.cls is None else "cls")


def _pooled(name: str, said: str, seeing: VitTeacher, output: Output) -> FeatureNetwork:
    of = "CLS" if output == "cls" else f"mean of {seeing.tokens} patches"
    size = seeing.image_size
    return _on_host(name, f"{said}, {of}", PooledTeacher(seeing, output), f"{seeing.resampling} to {size}")


def _on_host(name: str, said: str, module: eqx.Module, resize: str) -> FeatureNetwork:
    held = jax.tree.map(np.asarray, module)
    return FeatureNetwork(name, said, held, resize, content_hash(held))
