"""Images found from what a frozen network, or the tokenizer, says of them: what of an image these know."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.analysis.inversion import InversionConfig, invert
from laminate.analysis.panels import Lines, image_page
from laminate.data.host_slice import HostShare
from laminate.models.image_prior import prior_for
from laminate.parallel.feeding import feed, parts_of_host
from laminate.pretrained.features import features_of
from laminate.pretrained.teachers import VitTeacher
from laminate.runs.analyses.subject import Finding, Seen, Subject, decibels
from laminate.train.step import joined, make_map, map_batches

LOOKS = 10
FEW = InversionConfig(iterations=80, looks=LOOKS, noise=(0.3, 0.1, 0.03))
"""For small images: a minute's worth."""
SHOWN_LOOKS = (0, 1, 3, 9)


def inversion(subject: Subject, seen: Seen, seed: int, *, images: int, iterations: int | None) -> Finding:
    """Figure 18: images that a deep image prior finds whose tokens are those of an image, whose features are, and
    whose one global token is (CLS and registers where the teacher has some, else the mean of its patches)."""
    chosen = np.unique(np.linspace(0, seen.count - 1, min(images, seen.count)).round().astype(int))
    originals = seen.images[chosen]
    config = FEW
    if iterations is not None:
        config = InversionConfig(iterations=math.ceil(iterations / LOOKS) * LOOKS, looks=LOOKS)
    kinds = _kinds(subject)
    found = _inverted(subject, originals, kinds, config, seed)
    side = originals.shape[1]
    pictures = found["images"].reshape(len(chosen), len(kinds), LOOKS, side, side, 3)
    losses = found["losses"].reshape(len(chosen), len(kinds), config.iterations).astype(np.float64)
    psnr = np.stack([decibels(pictures[:, kind, -1], originals) for kind in range(len(kinds))])
    numbers = {
        "images": chosen,
        "targets": kinds,
        "iterations": config.iterations,
        "noise": config.noise,
        "loss_last": losses[:, :, -config.iterations // LOOKS :].mean(axis=(0, 2)),
        "loss": losses.mean(axis=0)[:, :: max(1, config.iterations // 300)],
        "psnr": psnr,
        "seed": seed,
    }
    each = ", ".join(f"{kind} {value:.1f} dB" for kind, value in zip(kinds, psnr.mean(axis=1), strict=True))
    summary = f"images found after {config.iterations} iterations, PSNR to the original: {each}"
    ends = (np.arange(LOOKS) + 1) * (config.iterations // LOOKS)
    shown = [look for look in SHOWN_LOOKS if look < LOOKS]
    rows = [
        (kind, np.concatenate([originals[[place]], pictures[place, number, shown]]))
        for place in range(len(chosen))
        for number, kind in enumerate(kinds)
    ]
    heads = ["original", *(f"after {ends[look]}" for look in shown)]
    curves = [
        (kind, ends, losses[:, number].reshape(len(chosen), LOOKS, -1).mean(axis=(0, 2)), None)
        for number, kind in enumerate(kinds)
    ]
    says = (
        f"Images found from nothing but what their row names, {config.iterations} iterations. {subject.name}."
    )
    panel = Lines(
        "What is left to match", "iteration", "squared error, of the target's square", curves, log_y=True
    )
    page = lambda path: image_page(
        rows, path, title="Inversion", says=says, heads=heads, panels=(panel,), tile=96
    )
    return Finding(numbers, summary, page)


def _kinds(subject: Subject) -> list[str]:
    """What images are found from, by name."""
    seeing = subject.networks["teacher"]
    kinds = [f"all {subject.loaded.latent.tokens} tokens"]
    if seeing is None:
        return kinds
    kinds.append(f"all {seeing.tokens} features")
    if isinstance(seeing, VitTeacher) and seeing.vit.prefix:
        kinds += ["CLS"] if seeing.vit.cls is not None else []
        registers = seeing.vit.prefix - (seeing.vit.cls is not None)
        return kinds + ([f"{registers} registers"] if registers else [])
    return [*kinds, "mean of features"]


def _looks(networks: dict[str, Any], image: Array, dtype: jnp.dtype) -> list[Array]:
    """What each of `_kinds` is of an image in [0, 1], float32."""
    tokenizer, seeing = networks["tokenizer"], networks["teacher"]
    example = {"image": image}
    if seeing is None:
        return [tokenizer.encode(example, dtype=dtype)]
    if isinstance(seeing, VitTeacher):
        tokens = seeing.vit(seeing.seen(image, dtype=dtype)).astype(jnp.float32)
        prefix, features = tokens[: seeing.vit.prefix], tokens[seeing.vit.prefix :]
    else:
        prefix, features = None, features_of(seeing, example, dtype=dtype).final.astype(jnp.float32)
    found = [tokenizer.encode(example, dtype=dtype), features]
    if prefix is None or not len(prefix):
        return [*found, jnp.mean(features, axis=0)]
    has_cls = int(isinstance(seeing, VitTeacher) and seeing.vit.cls is not None)
    return [
        *found,
        *([prefix[:1]] if has_cls else []),
        *([prefix[has_cls:]] if len(prefix) > has_cls else []),
    ]


def _inverted(
    subject: Subject,
    originals: Float[np.ndarray, "images height width 3"],
    kinds: list[str],
    config: InversionConfig,
    seed: int,
) -> dict[str, np.ndarray]:
    """`images` and `losses` of every image and kind; a device works on one at a time, since a network is trained."""
    size, dtype = originals.shape[1], subject.dtype
    prior = prior_for(size)

    def one(model: Any, frozen: Any, example: dict[str, Array]) -> dict[str, Array]:
        targets = _looks(frozen, example["image"], dtype)

        def loss(image: Array) -> Array:
            errors = [
                jnp.mean(jnp.square(mine - target)) / jnp.mean(jnp.square(target))
                for mine, target in zip(_looks(frozen, image, dtype), targets, strict=True)
            ]
            return jnp.sum(jnp.where(jnp.arange(len(kinds)) == example["kind"], jnp.stack(errors), 0.0))

        key = jax.random.fold_in(jax.random.key(seed), example["index"])
        return invert(loss, size, prior, config, key=key)._asdict()

    apply = make_map(one, (), subject.networks, mesh=subject.mesh, compute_dtype=dtype)
    every = np.stack(
        np.meshgrid(np.arange(len(originals)), np.arange(len(kinds)), indexing="ij"), -1
    ).reshape(-1, 2)
    batches = list(_problems(subject, originals, every))
    fed = feed(subject.track(batches, "images found", len(batches)), subject.mesh, ahead=1)
    return joined(map_batches(apply, (), subject.networks, fed))


def _problems(subject: Subject, originals: np.ndarray, every: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    share = HostShare(*parts_of_host(subject.mesh))
    for start in range(0, len(every), subject.mesh.devices.size):
        rows = start + share.places(subject.mesh.devices.size)
        image, kind = every[np.minimum(rows, len(every) - 1)].T
        yield {
            "image": originals[image].astype(np.float32),
            "kind": kind.astype(np.int32),
            "index": image.astype(np.uint32),
            "valid": rows < len(every),
        }
