"""Held-out images through a tokenizer and back, measured on the way: figures of each, and features of both sets."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, UInt8

from laminate.analysis.image_quality import quality
from laminate.data.evaluation import evaluation_batches
from laminate.data.host_slice import HostShare
from laminate.data.records import Records
from laminate.evals.set_measures import SetFeatures
from laminate.nn import resize
from laminate.parallel.feeding import feed, parts_of_host
from laminate.parallel.sharding import place
from laminate.pretrained.features import features_of
from laminate.recipes.latent import LoadedTokenizer
from laminate.recipes.modules import feature_decoder, image_tokenizer, teacher
from laminate.runs.feature_networks import FeatureNetwork
from laminate.runs.feature_sets import FeatureSet, features_by_network, split
from laminate.runs.load_decoder import DecoderChoice, require_images
from laminate.runs.waiting import counted_batches
from laminate.train.step import GlobalBatch, make_map, map_batches
from laminate.types import Image

KEPT, _KEPT_BYTES = 4096, 2**26
"""Images of which both pictures are kept, to look at; of large ones as many as fit."""
_KINDS = {
    "original": "the originals",
    "picture": "reconstructions",
    "own": "those of the teacher's decoder",
}
OWN = "teacher-decoder"
THERE_AND_BACK = "images there and back"
Picture = Callable[[Any, Any, dict[str, Array]], tuple[Image, Image]]
"""Of a model, what stands beside it and an example: the picture that becomes of it, and the original, in [0, 1]."""


@dataclass(frozen=True)
class Rebuilt:
    """What the images became: figures of each by name, features of originals and of pictures by network, and the
    pictures themselves of the first ones. `own` are those of the teacher's decoder on its own features."""

    figures: dict[str, Float[np.ndarray, " images"]]
    own: dict[str, Float[np.ndarray, " images"]]
    originals: dict[str, SetFeatures]
    pictures: dict[str, SetFeatures]
    own_pictures: dict[str, SetFeatures]
    shown: tuple[UInt8[np.ndarray, "shown height width 3"], UInt8[np.ndarray, "shown height width 3"]]


def rebuild(
    loaded: LoadedTokenizer,
    decoder: DecoderChoice,
    records: Records,
    networks: list[FeatureNetwork],
    *,
    lpips: Any,
    rounding: str,
    mesh: Mesh,
    dtype: jnp.dtype,
    global_batch_size: int,
    max_bad_images: int,
) -> Rebuilt:
    """Every record, seen as the tokenizer's validation sees it, without sampling.

    Raises ValueError if nothing makes images of the latents, or an image holds a NaN.
    """
    tokenizer = image_tokenizer(loaded, like=loaded.latent)
    way = decoder.of(tokenizer)
    require_images(way, loaded)
    there_and_back = make_rebuild(
        lambda _, held, example: _there_and_back(held, example, dtype),
        (),
        place({"tokenizer": tokenizer, "way": way}, mesh),
        networks,
        lpips=lpips,
        own=own_decoder(loaded),
        rounding=rounding,
        mesh=mesh,
        dtype=dtype,
    )
    batches = evaluation_batches(
        records,
        global_batch_size=global_batch_size,
        augment=loaded.recipe.augment.still().transform(),
        share=HostShare(*parts_of_host(mesh)),
        max_bad_images=max_bad_images,
    )
    counted = counted_batches(batches, THERE_AND_BACK, len(records), global_batch_size=global_batch_size)
    return there_and_back((), feed(counted, mesh))


def _there_and_back(held: dict[str, Any], example: dict[str, Array], dtype: jnp.dtype) -> tuple[Image, Image]:
    raw = held["tokenizer"].encode_raw(example, dtype=dtype)[0]
    return held["way"](raw, dtype=dtype), held["tokenizer"].original(example)


def make_rebuild(
    picture: Picture,
    model: Any,
    frozen: Any,
    networks: list[FeatureNetwork],
    *,
    lpips: Any,
    rounding: str,
    mesh: Mesh,
    dtype: jnp.dtype,
    own: Any = None,
    shows: bool = True,
) -> Callable[[Any, Iterable[GlobalBatch]], Rebuilt]:
    """`rebuild(model, batches)`: what `picture` makes of the examples of all batches, compiled once, beside what the
    teacher's decoder does if there is its `own`. Unless it `shows` them no pictures are kept.

    `model` and `frozen` lie on the mesh. Raises ValueError if an image holds a NaN.
    """
    judges = place(
        {"lpips": lpips, "own": own, "networks": {network.name: network.module for network in networks}}, mesh
    )

    def measured(model: Any, held: tuple[Any, Any], example: dict[str, Array]) -> dict[str, Array]:
        beside, judges = held
        found = _measured(*picture(model, beside, example), judges, example, rounding, dtype)
        return {name: value for name, value in found.items() if shows or not name.startswith("shown:")}

    apply = make_map(measured, model, (frozen, judges), mesh=mesh, compute_dtype=dtype)
    return lambda model, batches: gathered(map_batches(apply, model, (frozen, judges), batches), networks)


def own_decoder(loaded: LoadedTokenizer) -> Any:
    """The teacher and its own decoder to pixels, where it has one that loses something; else None."""
    config = loaded.latent.teacher
    if config is None or config.name == "patches" or not config.shows_images:
        return None
    return teacher(config), feature_decoder(config, None)


def _measured(
    made: Image, original: Image, judges: dict[str, Any], example: dict[str, Array], rounding: str, dtype: Any
) -> dict[str, Array]:
    networks, lpips = judges["networks"], judges["lpips"]
    picture = jnp.clip(made, 0.0, 1.0)
    target = _sized_like(picture, original)
    found = judged(picture, target, networks, lpips=lpips, rounding=rounding)
    found |= features_by_network(networks, target, "original:")
    found["shown:original"] = as_bytes(target)
    if judges["own"] is not None:
        seen, decoder = judges["own"]
        own = jnp.clip(decoder.pixels(features_of(seen, example, dtype=dtype).final), 0.0, 1.0)
        near = _sized_like(own, original)
        found |= {f"own-figure:{name}": value for name, value in quality(own, near, lpips).items()}
        found |= features_by_network(networks, _rounded(own, rounding), "own:")
    return found


def judged(
    picture: Array, original: Array, networks: dict[str, Any], *, lpips: Any, rounding: str
) -> dict[str, Array]:
    """What a `Gathering` asks of one picture: its figures, its features by network, and its bytes."""
    figures = quality(picture, original, lpips)
    return {
        **{f"figure:{name}": value for name, value in figures.items()},
        **features_by_network(networks, _rounded(picture, rounding), "picture:"),
        "shown:picture": as_bytes(picture),
    }


class Gathering:
    """What becomes of images, some at a time: `add` them, then ask for all that was `found`."""

    def __init__(self, networks: list[FeatureNetwork]):
        self._sets = {kind: {one.name: FeatureSet(said) for one in networks} for kind, said in _KINDS.items()}
        self._figures: dict[str, list[np.ndarray]] = {}
        self._shown: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, found: dict[str, np.ndarray]) -> None:
        """Rows of some images, by what was measured of them."""
        for kind, sets in self._sets.items():
            for name, features in split(found, f"{kind}:").items():
                sets[name].add(features)
        for name, values in found.items():
            if "figure:" in name:
                self._figures.setdefault(name, []).append(values)
        if "shown:original" in found:
            self._show(found["shown:original"], found["shown:picture"])

    def _show(self, originals: np.ndarray, pictures: np.ndarray) -> None:
        room = min(KEPT, _KEPT_BYTES // originals[:1].nbytes) if len(originals) else 0
        some = max(0, room - sum(len(one[0]) for one in self._shown))
        if some:
            self._shown.append((originals[:some].copy(), pictures[:some].copy()))

    def found(self) -> Rebuilt:
        """All images together. Raises ValueError if there was none."""
        if not self._figures:
            raise ValueError("There is no image that can be read.")
        joined = {name: np.concatenate(values) for name, values in self._figures.items()}
        of = lambda kind: {
            name.removeprefix(kind): values for name, values in joined.items() if name.startswith(kind)
        }
        own = of("own-figure:")
        sets = {
            kind: {name: one.found() for name, one in sets.items()}
            for kind, sets in self._sets.items()
            if own or kind != "own"
        }
        return Rebuilt(
            of("figure:"),
            own,
            sets["original"],
            sets["picture"],
            sets.get("own", {}),
            (_together([one[0] for one in self._shown]), _together([one[1] for one in self._shown])),
        )


def gathered(parts: Iterable[dict[str, np.ndarray]], networks: list[FeatureNetwork]) -> Rebuilt:
    """All images together, of parts that hold rows of some."""
    gathering = Gathering(networks)
    for found in parts:
        gathering.add(found)
    return gathering.found()


def _together(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros((0, 1, 1, 3), np.uint8)


def _sized_like(picture: Array, original: Array) -> Array:
    return resize(original, (picture.shape[0], picture.shape[1]), "bilinear-antialias")


def _rounded(image: Array, rounding: str) -> Array:
    if rounding == "none":
        return image
    return jnp.floor(image * 255.0 + (0.5 if rounding == "nearest" else 0.0)) / 255.0


def as_bytes(image: Array) -> Array:
    """`image` in uint8, for looking at it."""
    return jax.lax.convert_element_type(jnp.round(jnp.clip(image, 0.0, 1.0) * 255.0), jnp.uint8)
