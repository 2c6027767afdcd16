"""Several tokenizers on the same held-out images: every image is read once, every network that measures opened once."""

import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array
from rich.table import Table

from laminate.data.evaluation import evaluation_batches
from laminate.data.host_slice import HostShare
from laminate.data.records import Records
from laminate.evals.results import number
from laminate.evals.set_measures import Measured
from laminate.nn import resize
from laminate.parallel.feeding import feed, parts_of_host, whole
from laminate.parallel.sharding import place
from laminate.planning.flops import count_flops
from laminate.planning.hlo import parse_hlo
from laminate.pretrained.features import unit_image
from laminate.recipes.augment import CenterCropConfig, ViewConfig
from laminate.recipes.latent import LoadedTokenizer
from laminate.recipes.modules import image_tokenizer
from laminate.recipes.network import HeldDtype
from laminate.runs.feature_networks import FeatureNetwork
from laminate.runs.feature_sets import features_by_network
from laminate.runs.load_decoder import DecoderChoice, find_decoder, require_images
from laminate.runs.load_tokenizer import load_tokenizer
from laminate.runs.measured_reconstructions import THERE_AND_BACK, Gathering, Rebuilt, as_bytes, judged
from laminate.runs.waiting import counted_batches
from laminate.train.step import make_map

USUAL_SIZE = 256
"""Side of the images where all tokenizers read any size, and usually see several."""
FIGURES = ("psnr", "ssim", "lpips", "fid")
"""What the table shows of the measures, beside the distance by each network."""
BITS = 16
"""Of a real number of a latent, as a generator has it; a whole one has the logarithm of its codebook."""


@dataclass(frozen=True)
class Entrant:
    """A tokenizer that is compared, what it is called there, and what makes images of its latents."""

    label: str
    loaded: LoadedTokenizer
    decoder: DecoderChoice


@dataclass(frozen=True)
class Cost:
    """What a tokenizer takes: for an image there and back, and of one pixel."""

    parameters: int
    """Numbers in all networks that it consists of, frozen ones included."""
    gigaflops: float
    """Operations of matrix products and convolutions for an image, a multiply-add being two, in 10^9."""
    latent_numbers: int
    """Numbers of the latents of an image."""
    numbers_per_pixel: float
    bits_per_pixel: float
    """With `BITS` for a real number."""
    images_per_second: float
    """There and back on these devices, without reading and measuring."""


@dataclass(frozen=True)
class Compared:
    """What became of the images by one tokenizer, and what that took."""

    entrant: Entrant
    rebuilt: Rebuilt
    cost: Cost


def open_entrants(
    places: Sequence[str],
    image_size: int | None,
    decoder: str | None = None,
    *,
    stored: HeldDtype = "float32",
) -> tuple[list[Entrant], ViewConfig]:
    """The tokenizers at `places` for squares of one size, and the view in which all of them see the images. Their
    weights are held in `stored`.

    The size is `image_size`, else that of those that read squares of one size alone, else the one that all of them
    usually see, else `USUAL_SIZE`; the view is that of the validation of the first of these, else ADM's centre crop.

    Raises ValueError for tokenizers of several sizes, and as `load_tokenizer` and `find_decoder`.
    """
    found = [load_tokenizer(one, codes=True, stored=stored) for one in dict.fromkeys(places)]
    fixed = {one.source: one.latent.image_size for one in found if one.latent.patch is None}
    sizes = {*fixed.values(), *(() if image_size is None else (image_size,))}
    if len(sizes) > 1:
        said = ", ".join(f"{source} of {side} x {side}" for source, side in fixed.items())
        asked = "" if image_size is None else f", and --image-size {image_size} was asked for"
        raise ValueError(
            f"What is measured together has the same pixels, and these tokenizers read images {said}{asked}: take "
            "those of one size, or leave --image-size out."
        )
    usual = {one.latent.image_size for one in found}
    side = sizes.pop() if sizes else usual.pop() if len(usual) == 1 else USUAL_SIZE
    first = next((one.recipe.augment.still() for one in found if one.latent.patch is None), None)
    found = [
        one
        if one.latent.image_size == side
        else load_tokenizer(one.source, codes=True, stored=stored, image_size=side)
        for one in found
    ]
    labels = _labels(found)
    entrants = [
        Entrant(label, one, find_decoder(decoder, one)) for label, one in zip(labels, found, strict=True)
    ]
    return entrants, CenterCropConfig(side) if first is None else first


def _labels(found: Sequence[LoadedTokenizer]) -> list[str]:
    """The names of their trainings, or where they lie if two have one name."""
    names = [one.identity.name for one in found]
    return [
        name if names.count(name) == 1 else os.path.normpath(one.source)
        for name, one in zip(names, found, strict=True)
    ]


def compare_tokenizers(
    entrants: Sequence[Entrant],
    records: Records,
    networks: list[FeatureNetwork],
    *,
    view: ViewConfig,
    lpips: Any,
    rounding: str,
    mesh: Mesh,
    dtype: jnp.dtype,
    global_batch_size: int,
    max_bad_images: int,
) -> list[Compared]:
    """Every record through every tokenizer, without sampling. Raises as `measured_reconstructions.rebuild`."""
    judges = place({"lpips": lpips, "networks": {one.name: one.module for one in networks}}, mesh)
    see = make_map(lambda _, held, example: _seen(held, example), (), judges, mesh=mesh)
    judge = make_map(lambda _, held, example: _judged(held, example, rounding), (), judges, mesh=mesh)
    runners = [_Runner(one, mesh, dtype) for one in entrants]
    gatherings = [Gathering(networks) for _ in runners]
    batches = evaluation_batches(
        records,
        global_batch_size=global_batch_size,
        augment=view.transform(),
        share=HostShare(*parts_of_host(mesh)),
        max_bad_images=max_bad_images,
    )
    counted = counted_batches(batches, THERE_AND_BACK, len(records), global_batch_size=global_batch_size)
    for batch in feed(counted, mesh):
        valid = whole(batch["valid"])
        originals = _rows(see((), judges, batch), valid)
        for runner, gathering in zip(runners, gatherings, strict=True):
            picture = runner(batch, int(valid.sum()))
            gathering.add(originals | _rows(judge((), judges, batch | {"picture": picture}), valid))
    return [
        Compared(runner.entrant, gathering.found(), runner.cost())
        for runner, gathering in zip(runners, gatherings, strict=True)
    ]


class _Runner:
    """Images through one tokenizer and back, compiled once, and timed but for its first batch if there are more."""

    def __init__(self, entrant: Entrant, mesh: Mesh, dtype: jnp.dtype):
        self.entrant = entrant
        tokenizer = image_tokenizer(entrant.loaded, like=entrant.loaded.latent)
        way = entrant.decoder.of(tokenizer)
        require_images(way, entrant.loaded)
        unique = {id(leaf): leaf for leaf in jax.tree.leaves((tokenizer, way))}
        self._parameters = sum(math.prod(leaf.shape) for leaf in unique.values())
        self._frozen = place({"tokenizer": tokenizer, "way": way}, mesh)
        self._codebook = tokenizer.codebook_size
        there_and_back = lambda _, held, example: {"picture": _picture(held, example, dtype)}
        self._map: Any = make_map(there_and_back, (), self._frozen, mesh=mesh, compute_dtype=dtype)
        self._devices = mesh.devices.size
        self._run: Any = None
        self._gigaflops = 0.0
        self._times: list[tuple[int, float]] = []

    def __call__(self, batch: dict[str, Array], count: int) -> Array:
        """The float32 pictures of a batch, of whose rows `count` are images."""
        seen = {name: batch[name] for name in ("image", "valid")}
        if self._run is None:
            compiled = self._map.lower((), self._frozen, seen).compile()
            total = count_flops(parse_hlo(compiled.as_text())).total * self._devices
            self._gigaflops = total / len(batch["image"]) / 1e9
            self._run = compiled
        run = self._run
        began = time.perf_counter()
        found = jax.block_until_ready(run((), self._frozen, seen))
        self._times.append((count, time.perf_counter() - began))
        return found["picture"]

    def cost(self) -> Cost:
        """What it took."""
        latent = self.entrant.loaded.latent
        timed = self._times[1:] or self._times
        numbers = math.prod(latent.token_shape)
        bits = numbers * (BITS if self._codebook is None else math.log2(self._codebook))
        pixels = latent.image_size**2
        return Cost(
            parameters=self._parameters,
            gigaflops=self._gigaflops,
            latent_numbers=numbers,
            numbers_per_pixel=numbers / pixels,
            bits_per_pixel=bits / pixels,
            images_per_second=sum(count for count, _ in timed) / sum(seconds for _, seconds in timed),
        )


def _picture(held: dict[str, Any], example: dict[str, Array], dtype: jnp.dtype) -> Array:
    raw = held["tokenizer"].encode_raw(example, dtype=dtype)[0]
    return jnp.clip(held["way"](raw, dtype=dtype), 0.0, 1.0)


def _seen(held: dict[str, Any], example: dict[str, Array]) -> dict[str, Array]:
    original = unit_image(example["image"])
    return {
        **features_by_network(held["networks"], original, "original:"),
        "shown:original": as_bytes(original),
    }


def _judged(held: dict[str, Any], example: dict[str, Array], rounding: str) -> dict[str, Array]:
    picture, original = example["picture"], unit_image(example["image"])
    if picture.shape != original.shape:
        picture = resize(picture, (original.shape[0], original.shape[1]), "bilinear-antialias")
    return judged(picture, original, held["networks"], lpips=held["lpips"], rounding=rounding)


def _rows(found: dict[str, Array], valid: np.ndarray) -> dict[str, np.ndarray]:
    return {name: rows[valid] for name, rows in whole(found).items()}


def comparison_table(found: Sequence[tuple[Compared, Sequence[Measured]]]) -> Table:
    """A row for each tokenizer: figures of images, distances of the sets, and what it takes."""
    names = [one.name for one in found[0][1]]
    shown = [name for name in names if name in FIGURES or name.startswith("fd@")]
    heads = (*shown, "parameters", "GFLOPs", "numbers/pixel", "bits/pixel", "images/s")
    table = Table("tokenizer", *heads, box=None, pad_edge=False)
    for compared, results in found:
        values, cost = {one.name: one.value for one in results}, compared.cost
        table.add_row(
            compared.entrant.label,
            *(f"{values[name]:.4g}" for name in shown),
            f"{cost.parameters:,}",
            f"{cost.gigaflops:.4g}",
            f"{cost.numbers_per_pixel:.3g}",
            f"{cost.bits_per_pixel:.3g}",
            f"{cost.images_per_second:.3g}",
        )
    return table


def labelled(found: Sequence[tuple[Compared, Sequence[Measured]]]) -> list[Measured]:
    """The results of all under the names of their tokenizers."""
    return [
        replace(one, name=f"{one.name}/{compared.entrant.label}")
        for compared, results in found
        for one in results
    ]


def plain(found: Sequence[tuple[Compared, Sequence[Measured]]]) -> dict[str, Any]:
    """Figures and costs of each by its label, as JSON has them, and where each lies."""
    return {
        compared.entrant.label: {
            "place": compared.entrant.loaded.source,
            "weights": compared.entrant.loaded.identity.sha256,
            "decoder": compared.entrant.decoder.said,
            **{one.name: number(one.value) for one in results},
            **asdict(compared.cost),
        }
        for compared, results in found
    }
