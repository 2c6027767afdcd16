"""What a trained generator draws with: its network, its tokenizer, and what decodes its latents, on a mesh."""

import importlib.util
from dataclasses import dataclass, replace
from typing import Any

from jax.sharding import Mesh

from laminate.analysis.generation import FlowConfig
from laminate.analysis.sampling import Sampler, SamplerConfig, SamplerParams
from laminate.cli.drawing_flags import SETTINGS, Drawing
from laminate.data.patches import patch_grid
from laminate.flow import Interval
from laminate.parallel.sharding import place
from laminate.recipes.families import family_of
from laminate.recipes.flags import Precision
from laminate.recipes.latent import LoadedTokenizer
from laminate.recipes.modules import image_tokenizer, sampling_grid, solver
from laminate.recipes.solvers import require_solver
from laminate.runs.devices import compute_dtype
from laminate.runs.held import held_in
from laminate.runs.load_decoder import DecoderChoice, find_decoder, require_images
from laminate.runs.load_generator import Generator, load_generator, require_alike, tokenizer_of
from laminate.tokenizers.base import ImageTokenizer
from laminate.tokenizers.latent_decoders import LatentDecoder, SizedLatentDecoder


@dataclass(frozen=True)
class OpenSampler:
    """A compiled sampler, the recipe of its generator, and its frozen networks on the mesh; in words, what makes images
    of which latents; its tokenizer as it was found, and the generator."""

    sampler: Sampler
    recipe: Any
    frozen: tuple[ImageTokenizer, LatentDecoder]
    said: str
    tokenizer: LoadedTokenizer
    generator: Generator


def open_sampler(
    source: str,
    drawing: Drawing,
    *,
    mesh: Mesh,
    precision: Precision,
    device_batch_size: int,
    encodes: bool = False,
    size: tuple[int, int] | None = None,
) -> OpenSampler:
    """The generator at `source` and all that `drawing` draws its images with; `encodes` keeps what the tokenizer needs
    to read images. Another `size` (height, width) than that of the recipe is for networks of images of any size.

    Raises ValueError or OSError with what is wrong and how to mend it.
    """
    if drawing.solver == "adaptive" and importlib.util.find_spec("diffrax") is None:
        raise ValueError("--solver adaptive needs diffrax: pip install -e '.[ode]', or take another solver.")
    kernel, stored = drawing.attention, drawing.stored
    generator = load_generator(source, drawing.weights, mesh=mesh, kernel=kernel, stored=stored)
    weak = None
    if drawing.auto is not None:
        weak = load_generator(drawing.auto, drawing.weights, mesh=mesh, kernel=kernel, stored=stored)
        require_alike(generator, weak)
    loaded = tokenizer_of(generator, drawing.tokenizer, kernel=kernel)
    loaded = replace(loaded, model=held_in(loaded.model, stored))
    tokenizer = image_tokenizer(loaded, like=loaded.latent, encodes=encodes)
    chosen = find_decoder(drawing.decoder, loaded, kernel=kernel)
    chosen = replace(chosen, decoder=held_in(chosen.decoder, stored))
    way = chosen.of(tokenizer)
    require_images(way, loaded)
    dtype = compute_dtype(precision, float32=family_of(generator.recipe).modules().float32(generator.recipe))
    flow = FlowConfig.of(generator.recipe, dtype)
    if size is not None:
        require_any_size(loaded, generator, weak, chosen)
        assert loaded.latent.patch is not None
        rows, columns = patch_grid(*size, loaded.latent.patch)
        flow, way = flow.on((rows, columns)), SizedLatentDecoder(tokenizer, (rows, columns), size)
    tokenizer, decoder = place((tokenizer, way), mesh)
    sampler = Sampler(
        flow,
        generator.network,
        decoder,
        tokenizer.normalization,
        mesh=mesh,
        config=sampler_config(generator.recipe, drawing),
        device_batch_size=device_batch_size,
        weak=None if weak is None else weak.network,
    )
    held = "" if stored == "float32" else f", weights in {stored}"
    said = f"latents of {loaded.source}, decoded by {chosen.said}{held}"
    return OpenSampler(sampler, generator.recipe, (tokenizer, decoder), said, loaded, generator)


def require_any_size(
    tokenizer: LoadedTokenizer, generator: Generator, weak: Generator | None, chosen: DecoderChoice
) -> None:
    """Raises ValueError unless all that draws knows images of any size."""
    if chosen.decoder is not None:
        raise ValueError(f"--size: {chosen.said} makes images of one size: add --decoder none.")
    if tokenizer.latent.patch is None:
        raise ValueError(
            f"--size: {tokenizer.recipe.name} has latents of images of {tokenizer.latent.image_size} x "
            f"{tokenizer.latent.image_size} pixels alone: leave it out, or train on those of vitok.py."
        )
    for one in (generator, *(() if weak is None else (weak,))):
        if one.recipe.shared is None:
            raise ValueError(
                f"--size: the network of {one.recipe.name} has places for {one.recipe.tokens} tokens alone: leave it "
                "out, or train one of ViTok's, such as L/256."
            )


def sampler_config(recipe: Any, drawing: Drawing) -> SamplerConfig:
    """What is compiled. Raises ValueError for a solver of another path, or settings of another solver."""
    if drawing.solver is not None:
        require_solver(recipe.path.KIND, drawing.solver, "--solver")
    name = drawing.solver or recipe.resolved_solver
    if drawing.unipc != SETTINGS and name != "unipc":
        raise ValueError(
            f"--unipc.* are settings of --solver unipc, and that of {recipe.name} is {name}: add it."
        )
    settings = None if drawing.unipc == SETTINGS else drawing.unipc
    chosen = None if name == "adaptive" else solver(recipe, name, settings)
    rescale = recipe.guidance.rescale if drawing.rescale is None else drawing.rescale
    return SamplerConfig(chosen, drawing.channels, rescale=0.0 if drawing.auto is not None else rescale)


def sampler_params(recipe: Any, drawing: Drawing, *, seed: int) -> SamplerParams:
    """Guidance and grid; without a null class, or at a scale of 1, nothing is guided.

    Raises ValueError for guidance of a generator that has no null class, and of more numbers than a token has.
    """
    null_class = recipe.classes > 0 and recipe.class_dropout > 0
    scale = recipe.guidance.scale if drawing.scale is None else drawing.scale
    if not null_class and drawing.auto is None:
        if drawing.scale not in (None, 1.0):
            raise ValueError(
                f"--scale {drawing.scale:g}: guidance needs classes and a null class, and {recipe.name} has "
                f"{recipe.classes} classes and drops {recipe.class_dropout:g} of them. Leave --scale out, or give "
                "--auto."
            )
        scale = 1.0
    if drawing.channels is not None and drawing.channels > recipe.latent_dim:
        raise ValueError(f"--channels {drawing.channels}: a token has {recipe.latent_dim} numbers.")
    interval = recipe.guidance.interval if drawing.interval is None else drawing.interval
    fixed = None if drawing.solver == "adaptive" else drawing.solver
    grid = sampling_grid(recipe, fixed, steps=drawing.steps, time_shift=drawing.shift)
    closed = drawing.auto is not None
    guided = Interval(*interval, closed=closed) if scale != 1.0 else None
    return SamplerParams(seed, grid, scale=scale, interval=guided)


def way_text(recipe: Any, drawing: Drawing, params: SamplerParams) -> str:
    """Solver, steps and guidance as a header names them: `euler, 50 steps, guidance 2`."""
    steps = "adaptive steps" if drawing.solver == "adaptive" else f"{int(params.grid.intervals)} steps"
    return f"{drawing.solver or recipe.resolved_solver}, {steps}, guidance {float(params.scale):g}"
