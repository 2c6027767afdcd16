"""The networks that `evaluate.py` measures sets by: the one in the package, or those of files and known names."""

import os
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

from laminate.evals.feature_networks import Output, PooledClip, PooledInception, PooledTeacher
from laminate.evals.protocols import EMBEDDED, Protocol
from laminate.models.inception import SIZE, Rule
from laminate.nn.resize import Resampling, resize_matrix
from laminate.pretrained import hub
from laminate.pretrained.clip import load_clip
from laminate.pretrained.identify import identify, split_name
from laminate.pretrained.inception import load_inception
from laminate.pretrained.lpips import load_lpips
from laminate.pretrained.teachers import VitTeacher
from laminate.recipes.modules import teacher
from laminate.recipes.network import find_teacher
from laminate.train.export import content_hash

INCEPTION, CLIP = "inception", "clip"
_FDD_SIZE = 512


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
    size: int
    resampling: Resampling

    def protocol(self, view: str, rounding: str, order: str = "") -> Protocol:
        """How its features of a set of images are made."""
        return Protocol(
            "",
            self.said,
            order=order,
            view=view,
            resize=self.resize,
            rounding=rounding,
            network_sha256=self.sha256,
        )

    def sized(self, image: Float[np.ndarray, "height width 3"]) -> Float[np.ndarray, "size size 3"]:
        """An image as the network resizes it, on the host: for sets whose images have many sizes."""
        rows, columns = (resize_matrix(old, self.size, self.resampling) for old in image.shape[:2])
        tall = np.tensordot(rows.astype(np.float32), image, axes=(1, 0))
        return np.einsum("wx,hxc->hwc", columns.astype(np.float32), tall, optimize=True)


def open_feature_networks(
    inception: str | None,
    dino: str | None,
    clip: str | None = None,
    *,
    any_size: bool = False,
    embedded: bool = False,
) -> list[FeatureNetwork]:
    """The networks that the flags name, else the one in the package, which `embedded` adds to them.

    Sets of images of `any_size` are seen as ViTok's evaluation sees them: Inception in both ranges of its input, and a
    DINO at 512.

    Raises ValueError for weights that are damaged or of another network, OSError if they are not there.
    """
    found: list[FeatureNetwork] = []
    if inception is not None:
        found += _inceptions(inception, any_size=any_size)
    if dino is not None:
        found.append(_vision(dino, _FDD_SIZE if any_size else None))
    if clip is not None:
        found.append(_clip(clip))
    return [*found, *([] if found and not embedded else [_embedded()])]


def _inceptions(source: str, *, any_size: bool) -> list[FeatureNetwork]:
    network = load_inception(hub.load(source).weights)
    said = "FID Inception-v3, 2048 of the last pooling"
    if not any_size:
        words = "bilinear to 299, corners aligned as in TensorFlow 1"
        return [_on_host(INCEPTION, said, PooledInception(network), words, SIZE, "bilinear-corner")]
    rules: dict[str, tuple[Rule, str]] = {
        "vitok01": ("antialias-01", "[0, 1] as it is"),
        "standard": ("antialias", "[-1, 1]"),
    }
    return [
        _on_host(
            f"{INCEPTION}-{name}",
            said,
            PooledInception(network, rule),
            f"bicubic to {SIZE}, antialiased, {values}",
            SIZE,
            "bicubic-antialias",
        )
        for name, (rule, values) in rules.items()
    ]


def _clip(source: str) -> FeatureNetwork:
    """The embedding of an image by CLIP, as CMMD is defined."""
    config, weights = hub.load(source, family=CLIP)
    network = load_clip(config, weights, on_host=True)
    assert network.vit.patch is not None
    width, side = network.vit.out_dim, network.image_size
    letter = {768: "B", 1024: "L", 1280: "H"}.get(width, f"{width} wide")
    said = f"CLIP ViT-{letter}/{network.vit.patch.patch} at {side}, image embedding"
    words = f"bicubic to {side}, antialiased"
    return _on_host(CLIP, said, PooledClip(network), words, side, "bicubic-antialias")


def open_lpips(source: str | None) -> Any:
    """LPIPS (its network and heads in one file), its weights in NumPy arrays; None if no file is named."""
    return None if source is None else jax.tree.map(np.asarray, load_lpips(hub.load(source).weights))


def _embedded() -> FeatureNetwork:
    found = teacher(find_teacher(EMBEDDED))
    assert isinstance(found, VitTeacher)
    # Without its decoder, on which no figure depends: the hash is that of what measures.
    looking = VitTeacher(
        found.vit, found.image_size, mean=found.mean, std=found.std, resampling=found.resampling
    )
    return _pooled(EMBEDDED, "the masked autoencoder in the package", looking, "patches")


def _vision(source: str, size: int | None = None) -> FeatureNetwork:
    """A published vision transformer: its CLS token behind the final norm, as FD-DINOv2 and FDD are defined.

    It sees images of `size`, or of its usual one, in whole patches.
    """
    asked, where = split_name(source)
    config, weights = hub.load(where)
    one = identify(config, weights, where, asked=asked)
    vit = one.load(weights, affine=True, on_host=True)
    assert vit.patch is not None
    side = one.image_size if size is None else size // vit.patch.patch * vit.patch.patch
    seeing = VitTeacher(vit, side, mean=one.family.mean, std=one.family.std, resampling="bicubic-antialias")
    name = asked or os.path.basename(os.path.normpath(where)).partition(".")[0]
    said = f"{name} ({one.family.name})"
    if size is None:
        return _pooled(name, said, seeing, "patches" if vit.cls is None else "cls")
    letters = {"dinov3-b": "DINOv3 ViT-B/16"}
    words = f"bicubic to {side}, antialiased"
    return _pooled(name, letters.get(name, said), seeing, "patches" if vit.cls is None else "cls", words)


def _pooled(name: str, said: str, seeing: VitTeacher, output: Output, words: str = "") -> FeatureNetwork:
    of = "CLS" if output == "cls" else f"mean of {seeing.tokens} patches"
    size, resampling = seeing.image_size, seeing.resampling
    words = words or f"{resampling} to {size}"
    return _on_host(name, f"{said}, {of}", PooledTeacher(seeing, output), words, size, resampling)


def _on_host(
    name: str, said: str, module: eqx.Module, resize: str, size: int, resampling: Resampling
) -> FeatureNetwork:
    held = jax.tree.map(np.asarray, module)
    return FeatureNetwork(name, said, held, resize, content_hash(held), size, resampling)
