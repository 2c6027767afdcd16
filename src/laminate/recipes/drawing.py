"""The networks that `sample.py` draws with: from what a training shares, or from one of its checkpoints."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
from jax.sharding import Mesh

from laminate.parallel.hosts import any_host, barrier, is_first
from laminate.parallel.sharding import abstract, place
from laminate.recipes import build
from laminate.recipes.families import script
from laminate.recipes.flags import AttentionKernel
from laminate.recipes.generator import GeneratorRecipe
from laminate.recipes.json_text import from_tree
from laminate.recipes.latents import Tokenizer, load_tokenizer, speak
from laminate.recipes.sample_flags import Weights
from laminate.recipes.sharing import exported, load_pretrained, require_there
from laminate.train.checkpoint import Checkpoints
from laminate.train.manifest import read_manifest
from laminate.train.run_folder import RunFolder
from laminate.types import join_buffers, split_buffers


@dataclass(frozen=True)
class Generator:
    """A trained generator on a mesh, its recipe, and where it was found."""

    network: Any
    recipe: GeneratorRecipe
    source: str


def load_generator(
    source: str, weights: Weights, *, mesh: Mesh, kernel: AttentionKernel = "xla"
) -> Generator:
    """The generator of a run, a saved folder, a hub repository, or of RUN/checkpoints/STEP.

    A run that has ended gives what it shares; one that has not, and every run for `weights="raw"`, its newest
    checkpoint. Raises ValueError or OSError with what is wrong and how to mend it.
    """
    path, step = _checkpoint(source)
    require_there(source)
    shared = os.fspath(exported(source))
    if step is None and weights == "ema" and (shared != source or path is None):
        found = load_pretrained(shared, kernel=kernel)
        if not isinstance(found.recipe, GeneratorRecipe):
            raise ValueError(
                f"{source} holds what {script(found.recipe)} trains and no generator: give the run of generator.py."
            )
        return Generator(place(found.model, mesh), found.recipe, source)
    if path is None:
        raise ValueError(
            f"--weights raw: {source} shares averaged weights alone; give a run, which has checkpoints."
        )
    return _restored(source, Path(path), step, weights, mesh, kernel)


def _checkpoint(source: str) -> tuple[str | None, int | None]:
    """The folder of checkpoints that `source` has or is in, and the step that it names."""
    path = Path(source).expanduser()
    if path.name.isdecimal() and path.parent.name == "checkpoints":
        return str(path.parent), int(path.name)
    inside = RunFolder(source).checkpoints_path
    return (os.fspath(inside), None) if inside.exists() else (None, None)


def _restored(
    source: str, folder: Path, step: int | None, weights: Weights, mesh: Mesh, kernel: AttentionKernel
) -> Generator:
    checkpoints = Checkpoints(folder, recipe=None, primary=is_first(), barrier=barrier, any_host=any_host)
    steps = checkpoints.steps()
    if not steps or (step is not None and step not in steps):
        held = f"it holds the steps {', '.join(map(str, steps))}" if steps else "it holds none"
        raise FileNotFoundError(f"There is no such checkpoint as {source}: {held}.")
    step = steps[-1] if step is None else step
    manifest = read_manifest(checkpoints.folder / str(step))
    recipe = from_tree(manifest.recipe)
    if not isinstance(recipe, GeneratorRecipe):
        raise ValueError(f"{source} is a checkpoint of {script(recipe)}: give the run of generator.py.")
    part = ".params" if weights == "raw" else ".ema"
    if not any(name.startswith(f"{part}.") for name in manifest.leaves):
        raise ValueError(
            f"The checkpoint {folder}/{step} has no averaged weights, as its recipe keeps none: add --weights raw."
        )
    make = lambda key: split_buffers(build.generator(recipe, kernel=kernel, key=key))
    params, buffers = (abstract(tree, mesh) for tree in eqx.filter_eval_shape(make, jax.random.key(0)))
    trained = checkpoints.restore(step, params, within=part).state
    fixed = checkpoints.restore(step, buffers, within=".buffers").state
    return Generator(join_buffers(trained, fixed), recipe, source)


def tokenizer_of(generator: Generator, source: str | None, *, kernel: AttentionKernel = "xla") -> Tokenizer:
    """The tokenizer of `generator` at `source`, or in `runs/NAME`.

    Raises ValueError if it is another one, OSError if it is not there.
    """
    identity = generator.recipe.tokenizer
    if source is None and identity is None:
        raise ValueError(f"{generator.source} does not say which tokenizer it speaks: give --tokenizer.")
    where = source if source is not None or identity is None else f"runs/{identity.name}"
    assert where is not None
    if source is None and not Path(where).exists():
        raise FileNotFoundError(f"The tokenizer of {generator.source} is not in {where}: give --tokenizer.")
    tokenizer = load_tokenizer(where, kernel=kernel)
    speak(generator.recipe, tokenizer)
    return tokenizer


def require_alike(generator: Generator, weak: Generator) -> None:
    """Raises ValueError unless `weak` can guide `generator`: the same latents, read in the same way."""
    mine, theirs = generator.recipe, weak.recipe
    fields = ("tokens", "features", "classes", "normalize", "prediction", "tokenizer")
    differing = [name for name in fields if getattr(mine, name) != getattr(theirs, name)]
    if differing:
        raise ValueError(
            f"--auto {weak.source} cannot guide {generator.source}: they differ in {', '.join(differing)}. Give a "
            "smaller or less trained generator of the same latents, such as an earlier checkpoint."
        )
