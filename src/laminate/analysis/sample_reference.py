"""What samples are held against: training and held-out images, and what the decoder of the samples makes of those."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int, UInt8

from laminate.analysis.generation import FlowConfig
from laminate.analysis.report import Batches
from laminate.analysis.sample_check import (
    Classifier,
    Described,
    Originals,
    SampleCheck,
    check_samples,
    fit_classifier,
)
from laminate.analysis.sampling import parts_of_rows
from laminate.nn import resize
from laminate.parallel.feeding import feed
from laminate.parallel.sharding import place
from laminate.pretrained.features import unit_image
from laminate.pretrained.teachers import VitTeacher
from laminate.tokenizers.base import ImageTokenizer
from laminate.tokenizers.latent_decoders import LatentDecoder
from laminate.train.step import joined, make_map, map_batches
from laminate.types import Image

PARTS = 4  # along each side, in which an image is described
DEVICE_BATCH_SIZE = 50
MOST_IMAGES = 20_000  # of each split, spread over all of them


@dataclasses.dataclass(frozen=True)
class SampleReference:
    """Describes samples and compares them. All hosts call it."""

    training: Originals
    held_out: Originals
    classifier: Classifier | None
    describe: Callable[[UInt8[np.ndarray, "_ _ _ 3"], Int[np.ndarray, " _"]], Described]

    def __call__(
        self, images: UInt8[np.ndarray, "samples height width 3"], labels: Int[np.ndarray, " samples"]
    ) -> SampleCheck:
        """What the check of these samples finds; a label is what was asked for, -1 no class."""
        return check_samples(self.describe(images, labels), self.training, self.held_out, self.classifier)


def sample_reference(
    network: VitTeacher,
    frozen: tuple[ImageTokenizer, LatentDecoder],
    training: Batches,
    held_out: Batches,
    *,
    flow: FlowConfig,
    mesh: Mesh,
) -> SampleReference:
    """Describe both splits by `network` (in host memory), and fit the classifier; no sample has been seen.

    `frozen`, on the mesh, encodes and decodes as for the samples. Images are brought to the size of the samples first,
    and decoded ones are of 256 levels, as a file would hold them. All hosts call it.
    """
    network = place(network, mesh)
    apply = make_map(partial(_described_twice, flow=flow), network, frozen, mesh=mesh)
    known, real = (
        _originals(joined(map_batches(apply, network, frozen, batches()))) for batches in (training, held_out)
    )
    describe = partial(_describe, network, mesh=mesh)
    return SampleReference(known, real, fit_classifier(known.seen, real.seen), describe)


def _described_twice(
    network: VitTeacher,
    frozen: tuple[ImageTokenizer, LatentDecoder],
    example: dict[str, Array],
    *,
    flow: FlowConfig,
) -> dict[str, Array]:
    tokenizer, decoder = frozen
    raw = flow.raw(tokenizer.normalization, flow.latents(tokenizer, example))
    picture = decoder(raw, dtype=flow.dtype)
    picture = jnp.round(jnp.clip(picture, 0.0, 1.0) * 255.0) / 255.0
    height, width = picture.shape[:2]
    original = resize(tokenizer.original(example), (height, width), "bilinear-antialias")
    seen, rebuilt = (described(network, image) for image in (original, picture))
    again = {f"rebuilt_{name}": value for name, value in rebuilt.items()}
    return {**seen, **again, "label": example["label"]}


def described(network: VitTeacher, image: Image) -> dict[str, Array]:
    """Mean and deviation of the features in each of `PARTS` x `PARTS` parts of an image side by side, and the mean over
    all of it; float32.

    Of a network whose patches do not divide so, over all of it alone.
    """
    features = network(image, dtype=jnp.dtype(jnp.float32)).astype(jnp.float32)
    side = math.isqrt(network.tokens)
    parts = PARTS if side % PARTS == 0 else 1
    cut = features.reshape(parts, side // parts, parts, side // parts, network.dim)
    each = jnp.concatenate([jnp.mean(cut, axis=(1, 3)), jnp.std(cut, axis=(1, 3))], axis=-1)
    return {"parts": each.reshape(-1), "whole": jnp.mean(features, axis=0)}


def _describe(
    network: VitTeacher,
    images: UInt8[np.ndarray, "samples height width 3"],
    labels: Int[np.ndarray, " samples"],
    *,
    mesh: Mesh,
) -> Described:
    apply = make_map(
        lambda network, frozen, example: described(network, unit_image(example["image"])),
        network,
        None,
        mesh=mesh,
    )
    batches = (
        {"image": images[rows], "valid": valid}
        for rows, valid in parts_of_rows(len(images), mesh, DEVICE_BATCH_SIZE)
    )
    found = joined(map_batches(apply, network, None, feed(batches, mesh)))
    return Described(found["parts"], found["whole"], labels)


def _originals(found: dict[str, Any]) -> Originals:
    return Originals(
        *(
            Described(found[f"{kind}parts"], found[f"{kind}whole"], found["label"])
            for kind in ("", "rebuilt_")
        )
    )
