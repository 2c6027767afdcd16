"""What int8 in the layers of transformers costs and saves: likeness of images, bytes, and time, in one run.

A tokenizer takes held-out images there and back by itself, a generator draws images with its tokenizer and decoder. All
of it is computed in float32 and in bfloat16, with weights as they are and with those of `held_in(model, "int8")`.
`ssim_of_bfloat16` is the mean likeness of images by int8 to those without it, both computed in bfloat16,
`least_ssim_of_bfloat16` that of the worst image, and `time_of_bfloat16` the time of the one over that of the other;
`..._of_float32` are the same in float32. Sizes are megabytes of the weights of the network that is named.
"""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from laminate.analysis.sample_files import class_major
from laminate.cli.drawing_flags import Drawing
from laminate.data.batch import stack
from laminate.data.sources import open_splits
from laminate.data.sources.embedded import DEFAULT
from laminate.losses.structural import ssim
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.recipes.families import family_of
from laminate.recipes.modules import image_tokenizer
from laminate.runs.analyses.speed import in_turn
from laminate.runs.comparison import open_entrants
from laminate.runs.data_place import find_data
from laminate.runs.held import held_in
from laminate.runs.load_decoder import NONE
from laminate.runs.open_sampler import open_sampler, sampler_params
from laminate.runs.pretrained import recipe_at

COMPUTED = ("float32", "bfloat16")
WAYS = tuple((stored, computed) for computed in COMPUTED for stored in ("float32", "int8"))


def measure(*, sources: tuple[str, ...], images: int, turns: int) -> Iterator[dict[str, object]]:
    for source in sources:
        recipe = recipe_at(source)
        generates = recipe is not None and family_of(recipe).kind == "generator"
        model, calls = (drawn if generates else rebuilt)(source, images)
        pictures = {way: np.asarray(call(), np.float32) for way, call in calls.items()}
        seconds = in_turn(calls, turns)
        yield {
            "source": source,
            "images": images,
            **sizes(model),
            **{f"ms_{stored}_in_{computed}": round(1e3 * s, 1) for (stored, computed), s in seconds.items()},
            **{
                name: value
                for computed in COMPUTED
                for name, value in held_against(pictures, seconds, computed)
            },
        }


def held_against(pictures, seconds, computed) -> Iterator[tuple[str, float]]:
    """Likeness and time of int8 beside the same computation without it."""
    alike = likeness(pictures["int8", computed], pictures["float32", computed])
    yield f"ssim_of_{computed}", round(float(alike.mean()), 5)
    yield f"least_ssim_of_{computed}", round(float(alike.min()), 5)
    yield f"time_of_{computed}", round(seconds["int8", computed] / seconds["float32", computed], 2)


@jax.jit
def likeness(some, others):
    return jax.vmap(lambda one, other: ssim(one, other, data_range=1.0))(some, others)


def sizes(model) -> dict[str, float]:
    """Megabytes of the weights in each format."""
    held = {name: held_in(model, name) for name in ("float32", "bfloat16", "int8")}
    return {f"megabytes_{name}": round(megabytes(one), 3) for name, one in held.items()}


def megabytes(tree) -> float:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) / 1e6


def rebuilt(source: str, images: int):
    """A tokenizer's network, and what takes held-out images there and back in each way."""
    noted = find_data(source)
    (entrant,), view = open_entrants((source,), None, NONE)
    records = open_splits(DEFAULT if noted is None else noted.source)["validation"]
    see = view.transform()
    seen = [
        see(record.image, np.random.default_rng(0)) for record, _ in zip(records, range(images), strict=False)
    ]
    batch = jax.tree.map(jnp.asarray, stack(seen))
    calls: dict[tuple[str, str], Callable[[], object]] = {}
    for stored, computed in WAYS:
        (entrant,), _ = open_entrants((source,), None, NONE, stored=stored)
        tokenizer = image_tokenizer(entrant.loaded, like=entrant.loaded.latent)
        held = jax.device_put((tokenizer, entrant.decoder.of(tokenizer)))
        run = compiled(held, batch, jnp.dtype(computed))
        calls[stored, computed] = lambda run=run, held=held: run(held, batch)
    (entrant,), _ = open_entrants((source,), None, NONE)
    return entrant.loaded.model, calls


def compiled(held, batch, dtype):
    def one(held, example):
        tokenizer, way = held
        raw = tokenizer.encode_raw(example, dtype=dtype)[0]
        return jnp.clip(way(raw, dtype=dtype), 0.0, 1.0)

    return jax.jit(jax.vmap(one, in_axes=(None, 0))).lower(held, batch).compile()


def drawn(source: str, images: int):
    """A generator's network, and what draws images with it in each way."""
    mesh, calls = build_mesh(MeshShape(1)), {}
    for stored, computed in WAYS:
        drawing = Drawing(stored=stored)
        opened = open_sampler(source, drawing, mesh=mesh, precision=computed, device_batch_size=images)
        labels = class_major(list(range(opened.recipe.classes)) or [-1], images)
        params = sampler_params(opened.recipe, drawing, seed=0)
        calls[stored, computed] = lambda opened=opened, labels=labels, params=params: (
            next(opened.sampler.draw(labels, params)).images
        )
        if stored == "float32":
            network = opened.generator.network
    return network, calls
