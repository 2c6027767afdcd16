"""What drawing costs by the number of tokens: passes of one network over few and many, a batch at a time."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Float

from laminate.analysis.panels import Lines, panel_page
from laminate.recipes.families import family_of
from laminate.recipes.latent import LatentSpec, for_latents
from laminate.recipes.network import PLAIN, HeldDtype
from laminate.runs.analyses.subject import Finding, Seen, Subject
from laminate.runs.held import held_in

TURNS = 5
Name = TypeVar("Name")


@dataclass(frozen=True)
class Speeds:
    """Images a second of one pass, by the number of tokens and the size of the batch (NaN: it does not fit)."""

    name: str
    device: str
    steps: int
    batches: Sequence[int]
    dims: Mapping[int, int]
    """The numbers of a token, for each number of tokens; the tokenizer's come first."""
    measured: Mapping[int, Float[np.ndarray, " batches"]]
    remarks: tuple[str, ...]


def throughput(subject: Subject, seen: Seen, seed: int, *, recipe: Any, batches: Sequence[int]) -> Finding:
    """Figures 15 to 17: images a second of one pass of the generator over the tokenizer's tokens, and over as many
    tokens as the teacher has patches, at each batch size, on one device. The weights do not matter and are drawn."""
    made = _speeds(subject, recipe, batches)
    few, *more = made.dims
    ratios = {tokens: made.measured[few] / made.measured[tokens] for tokens in more}
    numbers = {
        "device": made.device,
        "generator": made.name,
        "precision": str(subject.dtype),
        "batches": batches,
        "tokens": list(made.dims),
        "numbers_of_a_token": list(made.dims.values()),
        "images_per_second_of_a_pass": made.measured,
        "ratio": ratios,
        "steps": made.steps,
        "turns": TURNS,
    }
    summary = f"{made.name} makes {_most(made.measured[few]):,.0f} passes a second over {few} tokens"
    for tokens, ratio in ratios.items():
        summary += f", {_most(ratio):.1f} times as many as over {tokens}"
    return Finding(numbers, summary, _page(made, ratios), made.remarks)


def _most(values: Float[np.ndarray, " batches"]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if len(finite) else float("nan")


def _speeds(subject: Subject, recipe: Any, batches: Sequence[int]) -> Speeds:
    latent, teacher = subject.loaded.latent, subject.loaded.latent.teacher
    dims = {latent.tokens: latent.latent_dim}
    if teacher is not None and teacher.patches != latent.tokens:
        dims[teacher.patches] = teacher.dim
    anyone = replace(recipe, tokenizer=None)
    sized = {
        tokens: for_latents(anyone, LatentSpec(tokens, dim, latent.image_size))
        for tokens, dim in dims.items()
    }
    measured = {tokens: np.full(len(batches), np.nan) for tokens in dims}
    remarks: list[str] = []
    for place, batch in enumerate(subject.track(batches, "batch sizes", len(batches))):
        calls: dict[int, Callable[[], Any]] = {}
        for tokens, one in sized.items():
            try:
                call = compiled_pass(one, batch, subject.dtype)
                jax.block_until_ready(call())
                calls[tokens] = call
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                remarks.append(f"a batch of {batch} of {tokens} tokens does not fit the device")
        for tokens, seconds in in_turn(calls, TURNS).items():
            measured[tokens][place] = batch / seconds
    device = jax.devices()[0]
    return Speeds(
        recipe.name,
        device.device_kind,
        recipe.steps,
        batches,
        dims,
        measured,
        tuple(remarks),
    )


def _page(made: Speeds, ratios: Mapping[int, Float[np.ndarray, " batches"]]) -> Callable[[epath.Path], None]:
    sizes, few = np.asarray(made.batches, np.float64), next(iter(made.dims))
    speeds = [
        (f"{tokens} tokens of {dim} numbers", sizes, made.measured[tokens], None)
        for tokens, dim in made.dims.items()
    ]
    batch = "images of a batch"
    panels = [Lines("Throughput", batch, "images a second, one pass", speeds, log_x=True, log_y=True)]
    for tokens, ratio in ratios.items():
        lines = [
            ("measured", sizes, ratio, None),
            (f"{tokens} / {few}, in proportion to tokens", sizes, np.full(len(sizes), tokens / few), None),
        ]
        panels.append(
            Lines("Gain by fewer tokens", batch, f"speed at {few} over that at {tokens}", lines, log_x=True)
        )
    says = (
        f"One pass of {made.name} on one device ({made.device}). Drawing an image takes one pass, or guided two, for "
        f"each of {made.steps} steps."
    )
    return lambda path: panel_page(panels, path, title="Throughput", says=says)


def compiled_pass(
    recipe: Any, batch: int, dtype: jnp.dtype, held: HeldDtype = "float32"
) -> Callable[[], Any]:
    """One pass of the generator of `recipe`, of drawn weights that are `held` so, over a batch of latents, compiled for
    one device."""
    network = held_in(family_of(recipe).modules().build(recipe, PLAIN, key=jax.random.key(0)), held)
    x = jnp.ones((batch, recipe.tokens, recipe.latent_dim), dtype)
    t, label = jnp.full((batch,), 0.5), jnp.zeros((batch,), jnp.int32)
    run = jax.jit(lambda n, x, t, label: jax.vmap(n)(x, t, label)).lower(network, x, t, label).compile()
    return lambda: run(network, x, t, label)


def in_turn(calls: Mapping[Name, Callable[[], Any]], turns: int) -> dict[Name, float]:
    """The median seconds of each call, visited in turn so that all see the same machine."""
    for call in calls.values():
        jax.block_until_ready(call())
    times: dict[Name, list[float]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            began = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}
