"""The networks that `sample.py` draws with: from what a training shares, or from one of its checkpoints."""

import os
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from laminate.analysis.generation import FlowConfig
from laminate.cli.drawing_flags import Weights
from laminate.parallel.sharding import abstract, place
from laminate.recipes.families import family_of, from_tree, require_kind
from laminate.recipes.latent import LoadedTokenizer, for_latents
from laminate.recipes.modules import require_statistics
from laminate.recipes.network import AttentionKernel, Compute, HeldDtype
from laminate.runs.devices import require_kernel
from laminate.runs.find_checkpoint import find_checkpoint, run_of
from laminate.runs.held import held_on
from laminate.runs.load_tokenizer import load_tokenizer
from laminate.runs.pretrained import exported, load_pretrained, require_there
from laminate.runs.tokenizer_place import find_tokenizer
from laminate.train.manifest import read_manifest
from laminate.train.run_folder import RunFolder
from laminate.types import join_buffers, split_buffers


@dataclass(frozen=True)
class Generator:
    """A trained generator on a mesh, its recipe, and where it was found."""

    network: Any
    recipe: Any
    source: str


def load_generator(
    source: str,
    weights: Weights,
    *,
    mesh: Mesh,
    kernel: AttentionKernel = "xla",
    stored: HeldDtype = "float32",
) -> Generator:
    """The generator of a run, a saved folder, a hub repository, or of RUN/checkpoints/STEP, its weights held in
    `stored`.

    A run that has ended gives what it shares; one that has not, and every run for `weights="raw"`, its newest
    checkpoint. Raises ValueError or OSError with what is wrong and how to mend it.
    """
    require_kernel(kernel)
    run, step = run_of(source)
    require_there(source)
    shared = os.fspath(exported(source))
    has_checkpoints = step is not None or RunFolder(run).checkpoints_path.exists()
    if step is None and weights == "ema" and (shared != source or not has_checkpoints):
        found = load_pretrained(shared, kernel=kernel)
        require_kind(found.recipe, "generator", source)
        return Generator(held_on(mesh, place(found.model, mesh), stored), found.recipe, source)
    if not has_checkpoints:
        raise ValueError(
            f"--weights raw: {source} shares averaged weights alone; give a run, which has checkpoints."
        )
    found = _restored(source, weights, mesh, Compute(kernel=kernel))
    return replace(found, network=held_on(mesh, found.network, stored))


def _restored(source: str, weights: Weights, mesh: Mesh, compute: Compute) -> Generator:
    found = find_checkpoint(source)
    checkpoints, step = found.checkpoints, found.step
    manifest = read_manifest(checkpoints.folder / str(step))
    recipe = from_tree(manifest.recipe)
    require_kind(recipe, "generator", source)
    part = ".params" if weights == "raw" else ".ema"
    if not any(name.startswith(f"{part}.") for name in manifest.leaves):
        raise ValueError(
            f"The checkpoint {checkpoints.folder}/{step} has no averaged weights, as its recipe keeps none: add "
            "--weights raw."
        )
    build = family_of(recipe).modules().build
    make = lambda key: split_buffers(build(recipe, compute, key=key))
    params, buffers = (abstract(tree, mesh) for tree in eqx.filter_eval_shape(make, jax.random.key(0)))
    trained = checkpoints.restore(step, params, within=part).state
    fixed = checkpoints.restore(step, buffers, within=".buffers").state
    return Generator(join_buffers(trained, fixed), recipe, source)


def _read_as(recipe: Any) -> dict[str, Any]:
    """All that decides what the output of a generator of `recipe` means, by the names of its fields."""
    fields = ("tokens", "latent_dim", "grid", "classes", "normalize", "prediction", "steps", "tokenizer")
    return {
        "path": FlowConfig.of(recipe, jnp.dtype(jnp.float32)).path,
        "shift": recipe.resolved_time_shift,
        "floor": recipe.resolved_min_one_minus_t,
        **{name: getattr(recipe, name) for name in fields},
    }


def tokenizer_of(
    generator: Generator, source: str | None, *, kernel: AttentionKernel = "xla"
) -> LoadedTokenizer:
    """The tokenizer of `generator` at `source`, or where its run noted it (`tokenizer_place.find_tokenizer`).

    Raises ValueError if it is another one, OSError if it is not there.
    """
    identity = generator.recipe.tokenizer
    if source is None and identity is None:
        raise ValueError(f"{generator.source} does not say which tokenizer it speaks: give --tokenizer.")
    side = generator.recipe.augment.image_size
    if source is not None or identity is None:
        assert source is not None
        tokenizer = load_tokenizer(source, kernel=kernel, image_size=side)
    else:
        tokenizer = find_tokenizer(generator.source, identity, kernel=kernel, image_size=side)
    require_statistics(tokenizer)
    for_latents(generator.recipe, tokenizer.latent, tokenizer.identity)
    return tokenizer


def require_alike(generator: Generator, weak: Generator) -> None:
    """Raises ValueError unless `weak` can guide `generator`: the same latents, read alike at the same times."""
    mine, theirs = (_read_as(one.recipe) for one in (generator, weak))
    differing = [name for name in mine if mine[name] != theirs[name]]
    if differing:
        raise ValueError(
            f"--auto {weak.source} cannot guide {generator.source}: they differ in {', '.join(differing)}. Give a "
            "smaller or less trained generator of the same latents, such as an earlier checkpoint."
        )
