"""Published discriminators, and the frozen network that heads over DINO look at images with."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.models.dino_discriminator import DinoDiscriminator, TokenNorm
from laminate.models.discriminator import Backbone
from laminate.models.patchgan import PatchGan, PatchNorm
from laminate.nn import Resampling, iterated
from laminate.pretrained.keymaps.base import KeyMapError, load
from laminate.pretrained.keymaps.discriminator import (
    FLATDINO_IGNORED,
    PATCHGAN_IGNORED,
    RAE_IGNORED,
    flatdino_head_slots,
    patchgan_slots,
    rae_head_slots,
)
from laminate.pretrained.layouts import looks_like
from laminate.pretrained.teachers import VitTeacher, load_teacher
from laminate.types import RandomKey

M = TypeVar("M")

DEPTHS = (2, 5, 8, 11)
"""The blocks of a network of twelve that the published discriminators look at, counted from 0."""

_HEADS = "discriminator of heads over DINO"
_RAE_HEAD = r"^heads\.(\d+)\.2\.weight_orig$"
_FLATDINO_HEAD = r"^norms/(\d+)/layer_instance/kernel$"


class VitBackbone(Backbone):
    """The patch tokens that leave the last block of a frozen network, before its final norm, and each of `depths`.

    The cls token and the registers are left out. An image in [-1, 1] of any size is resized to what the network sees.
    The tokens are in the dtype of the image. With the last block among `depths` two of the maps are equal, as in the
    published discriminators, and have a head each.

    Raises ValueError for a block that the network does not have.
    """

    network: VitTeacher
    depths: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, network: VitTeacher, depths: tuple[int, ...] = DEPTHS):
        blocks = network.vit.stack.depth
        wrong = [depth for depth in depths if not 0 <= depth < blocks]
        if wrong:
            raise ValueError(
                f"This network has the blocks 0 to {blocks - 1}, and depths {wrong} were asked for: choose others."
            )
        self.network = network
        self.depths = depths

    @property
    def taps(self) -> int:
        """The number of token maps."""
        return 1 + len(self.depths)

    def __call__(
        self, image: Float[Array, "height width 3"], *, key: RandomKey | None = None
    ) -> tuple[Float[Array, "tokens dim"], ...]:
        shown = (image.astype(jnp.float32) + 1) / 2
        return tuple(self.network.taps(shown, (-1, *self.depths), dtype=image.dtype)[1])


def load_backbone(
    source: str | os.PathLike[str] = "dino-s8",
    *,
    depths: tuple[int, ...] = DEPTHS,
    image_size: int = 224,
    resampling: Resampling = "bilinear",
    hidden_act: str | None = None,
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
    on_host: bool = False,
    cache: Path | None = None,
) -> VitBackbone:
    """The frozen network of `source` (see `teachers.load_teacher`) as a backbone.

    RAE resizes with `"bilinear"` and runs the network with `hidden_act="gelu_pytorch_tanh"`, FlatDINO resizes with
    `"bilinear-antialias"` and leaves the activation as it was trained (None). Raises what `load_teacher` raises.
    """
    network = load_teacher(
        source,
        image_size=image_size,
        resampling=resampling,
        hidden_act=hidden_act,
        dtype=dtype,
        on_host=on_host,
        cache=cache,
    )
    return VitBackbone(network, depths)


def load_heads(weights: Mapping[str, np.ndarray], *, norm: TokenNorm = "bn") -> DinoDiscriminator:
    """The heads of a published discriminator; the names tell RAE's layout from FlatDINO's, the shapes tell the sizes.

    `norm` is the kind of normalisation, which leaves no mark in a file. FlatDINO makes a step of the power iteration
    before every call, in evaluation too, and the vectors of its file are those before it: the result has made it.

    Raises KeyMapError for weights of something else.
    """
    published = "flatdino" if any(re.match(_FLATDINO_HEAD, name) for name in weights) else "rae"
    head, kernel = (_FLATDINO_HEAD, "heads/0/layers/1/fn/conv/layer_instance/kernel")
    if published == "rae":
        head, kernel = (_RAE_HEAD, "heads.0.1.fn.0.weight_orig")
    taps = sum(bool(re.match(head, name)) for name in weights)
    if kernel not in weights or weights[kernel].ndim != 3:
        raise KeyMapError(
            f"{looks_like(weights, 'dino-discriminator', _HEADS)} There is no {kernel} of three axes."
        )
    shape = weights[kernel].shape
    size = shape[2] if published == "rae" else shape[0]

    def make(key: RandomKey) -> DinoDiscriminator:
        return DinoDiscriminator(
            shape[1], taps, kernel=size, norm=norm, eps_under_root=published == "flatdino", key=key
        )

    made = _hollow(make)
    try:
        if published == "rae":
            return load(made, rae_head_slots(made), weights, ignored=RAE_IGNORED)
        return iterated(load(made, flatdino_head_slots(made), weights, ignored=FLATDINO_IGNORED))
    except KeyMapError as error:
        raise KeyMapError(f"{looks_like(weights, 'dino-discriminator', _HEADS)} {error}") from error


def load_patchgan(weights: Mapping[str, np.ndarray]) -> PatchGan:
    """A published PatchGAN (`main.N.*`), whose sizes and kind of norm the names and shapes tell.

    Raises KeyMapError for weights of something else.
    """
    start = "main.0.weight_orig" if "main.0.weight_orig" in weights else "main.0.weight"
    convolutions = [
        a for name, a in weights.items() if re.match(r"^main\.\d+\.weight(_orig)?$", name) and a.ndim == 4
    ]
    if start not in weights or weights[start].ndim != 4 or len(convolutions) < 3:
        raise KeyMapError(
            f"{looks_like(weights, 'patchgan', 'PatchGAN')} {start} and at least two more convolutions are missing."
        )
    width, channels = weights[start].shape[:2]

    def make(key: RandomKey) -> PatchGan:
        return PatchGan(
            layers=len(convolutions) - 2, width=width, norm=_norm_of(weights), channels=channels, key=key
        )

    made = _hollow(make)
    try:
        return load(made, patchgan_slots(made), weights, ignored=PATCHGAN_IGNORED)
    except KeyMapError as error:
        raise KeyMapError(f"{looks_like(weights, 'patchgan', 'PatchGAN')} {error}") from error


def _norm_of(weights: Mapping[str, np.ndarray]) -> PatchNorm:
    if "main.0.weight_orig" in weights:
        return "spectral"
    if "main.3.running_mean" in weights:
        return "batch"
    if "main.3.loc" in weights:
        return "act"
    return "group" if "main.3.weight" in weights else "none"


def _hollow(make: Callable[[RandomKey], M]) -> M:
    """What `make` would make, of zeros: nothing is drawn for what a file fills."""
    shapes = eqx.filter_eval_shape(make, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
