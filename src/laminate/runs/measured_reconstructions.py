"""Held-out images through a tokenizer and back, measured on the way: figures of each, and features of both sets."""

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
from laminate.train.step import make_map, map_batches

KEPT = 4096
"""Images of which both pictures are kept, to look at."""
OWN = "teacher-decoder"


@dataclass(frozen=True)
class Rebuilt:
    """What the images became: figures of each by name, features of originals and of pictures by network, and the
    pictures themselves of the first ones. `own` are those of the teacher's decoder on its own features."""

    figures: dict[str, Float[np.ndarray, " images"]]
    own: dict[str, Float[np.ndarray, " images"]]
    originals: dict[str, SetFeatures]
    pictures: dict[str, SetFeatures]
    own_pictures: dict[str, SetFeatures]
    shown: tuple[UInt8[np.ndarray, "images height width 3"], UInt8[np.ndarray, "images height width 3"]]


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
    frozen = place(
        {
            "tokenizer": tokenizer,
            "way": way,
            "lpips": lpips,
            "own": own_decoder(loaded),
            "networks": {network.name: network.module for network in networks},
        },
        mesh,
    )

    def measured(model: Any, frozen: dict[str, Any], example: dict[str, Array]) -> dict[str, Array]:
        return _measured(frozen, example, rounding, dtype)

    apply = make_map(measured, (), frozen, mesh=mesh, compute_dtype=dtype)
    batches = evaluation_batches(
        records,
        global_batch_size=global_batch_size,
        augment=loaded.recipe.augment.still().transform(),
        share=HostShare(*parts_of_host(mesh)),
        max_bad_images=max_bad_images,
    )
    return gathered(map_batches(apply, (), frozen, feed(batches, mesh)), networks)


def own_decoder(loaded: LoadedTokenizer) -> Any:
    """The teacher and its own decoder to pixels, where it has one that loses something; else None."""
    config = loaded.latent.teacher
    if config is None or config.name == "patches" or not config.shows_images:
        return None
    return teacher(config), feature_decoder(config, None)


def _measured(
    frozen: dict[str, Any], example: dict[str, Array], rounding: str, dtype: jnp.dtype
) -> dict[str, Array]:
    tokenizer, networks = frozen["tokenizer"], frozen["networks"]
    raw = tokenizer.encode_raw(example, dtype=dtype)[0]
    picture = jnp.clip(frozen["way"](raw, dtype=dtype), 0.0, 1.0)
    original = tokenizer.original(example)
    target = _sized_like(picture, original)
    found = judged(picture, target, networks, lpips=frozen["lpips"], rounding=rounding)
    found |= features_by_network(networks, target, "original:")
    found["shown:original"] = as_bytes(target)
    if frozen["own"] is not None:
        seen, decoder = frozen["own"]
        own = jnp.clip(decoder.pixels(features_of(seen, example, dtype=dtype).final), 0.0, 1.0)
        near = _sized_like(own, original)
        found |= {f"own-figure:{name}": value for name, value in quality(own, near, frozen["lpips"]).items()}
        found |= features_by_network(networks, _rounded(own, rounding), "own:")
    return found


def judged(
    picture: Array, original: Array, networks: dict[str, Any], *, lpips: Any, rounding: str
) -> dict[str, Array]:
    """What `gathered` asks of one picture: its figures, its features by network, and its bytes."""
    figures = quality(picture, original, lpips)
    return {
        **{f"figure:{name}": value for name, value in figures.items()},
        **features_by_network(networks, _rounded(picture, rounding), "picture:"),
        "shown:picture": as_bytes(picture),
    }


def gathered(parts: Any, networks: list[FeatureNetwork]) -> Rebuilt:
    """All images together, of parts that hold rows of some."""
    kinds = ("original", "picture", "own")
    sets = {kind: {one.name: FeatureSet(f"{kind} images") for one in networks} for kind in kinds}
    figures: dict[str, list[np.ndarray]] = {}
    shown: list[tuple[np.ndarray, np.ndarray]] = []
    for found in parts:
        for kind in kinds:
            for name, features in split(found, f"{kind}:").items():
                sets[kind][name].add(features)
        for name, values in found.items():
            if "figure:" in name:
                figures.setdefault(name, []).append(values)
        if sum(len(one[0]) for one in shown) < KEPT:
            shown.append((found["shown:original"], found["shown:picture"]))
    joined = {name: np.concatenate(values) for name, values in figures.items()}
    of = lambda kind: {
        name.removeprefix(kind): values for name, values in joined.items() if name.startswith(kind)
    }
    own = of("own-figure:")
    return Rebuilt(
        of("figure:"),
        own,
        {name: one.found() for name, one in sets["original"].items()},
        {name: one.found() for name, one in sets["picture"].items()},
        {name: one.found() for name, one in sets["own"].items()} if own else {},
        (np.concatenate([one[0] for one in shown]), np.concatenate([one[1] for one in shown])),
    )


def _sized_like(picture: Array, original: Array) -> Array:
    return resize(original, (picture.shape[0], picture.shape[1]), "bilinear-antialias")


def _rounded(image: Array, rounding: str) -> Array:
    if rounding == "none":
        return image
    return jnp.floor(image * 255.0 + (0.5 if rounding == "nearest" else 0.0)) / 255.0


def as_bytes(image: Array) -> Array:
    """`image` in uint8, for looking at it."""
    return jax.lax.convert_element_type(jnp.round(jnp.clip(image, 0.0, 1.0) * 255.0), jnp.uint8)
