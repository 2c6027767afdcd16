"""A sampler of a trained generator: its network, its tokenizer, and what decodes its latents, on a mesh."""

import importlib.util
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh

from laminate.analysis.generation import FlowConfig
from laminate.analysis.sampling import Sampler, SamplerConfig, SamplerParams
from laminate.cli.sample_flags import Solver
from laminate.flow import EULER, HEUN, RK4, Interval, time_grid
from laminate.parallel.sharding import place
from laminate.recipes.latent import LoadedTokenizer
from laminate.recipes.modules import image_tokenizer
from laminate.runs.load_decoder import find_decoder, require_images
from laminate.runs.load_generator import load_generator, tokenizer_of

SOLVERS = {"euler": EULER, "heun": HEUN, "rk4": RK4, "adaptive": None}


@dataclass(frozen=True)
class OpenSampler:
    """A compiled sampler, the recipe of its generator, its tokenizer, and what makes images, in words."""

    sampler: Sampler
    recipe: Any
    tokenizer: LoadedTokenizer
    decoder: str


def open_sampler(
    source: str,
    *,
    tokenizer: str | None,
    decoder: str | None,
    solver: Solver,
    mesh: Mesh,
    dtype: jnp.dtype,
    device_batch_size: int,
) -> OpenSampler:
    """The generator at `source` with its averaged weights.

    Raises ValueError or OSError with what is wrong and how to mend it.
    """
    if solver == "adaptive" and importlib.util.find_spec("diffrax") is None:
        raise ValueError("--solver adaptive needs diffrax: pip install -e '.[ode]', or take another solver.")
    generator = load_generator(source, "ema", mesh=mesh)
    loaded = tokenizer_of(generator, tokenizer)
    module = image_tokenizer(loaded, like=loaded.latent, encodes=False)
    chosen = find_decoder(decoder, loaded)
    way = chosen.of(module)
    require_images(way, loaded)
    sampler = Sampler(
        FlowConfig.of(generator.recipe, dtype),
        generator.network,
        place(way, mesh),
        place(module.normalization, mesh),
        mesh=mesh,
        config=SamplerConfig(SOLVERS[solver]),
        device_batch_size=device_batch_size,
    )
    return OpenSampler(sampler, generator.recipe, loaded, chosen.said)


def sampler_params(recipe: Any, *, seed: int, scale: float | None, steps: int | None) -> SamplerParams:
    """Guidance and grid of the recipe where they are not given; without a null class nothing is guided.

    Raises ValueError for guidance of a generator that has no null class.
    """
    guidable = recipe.classes > 0 and recipe.class_dropout > 0
    if not guidable and scale not in (None, 1.0):
        raise ValueError(f"--scale {scale:g}: guidance needs a null class, and {recipe.name} has none.")
    wanted = recipe.guidance.scale if scale is None else scale
    used = wanted if guidable else 1.0
    interval = Interval(*recipe.guidance.interval) if used != 1.0 else None
    grid = time_grid(recipe.steps if steps is None else steps, time_shift=recipe.resolved_time_shift)
    return SamplerParams(seed, grid, scale=used, interval=interval)
