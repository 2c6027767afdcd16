"""A step of a ViTok training beside matmul, with empty room for patches: only what patches need counts as work.

Without the perceptual network, which is measured by `bench.py teacher`.
"""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.matmul import against_matmul, measured
from laminate.data.batch import stack
from laminate.data.patches import to_patches
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.parallel.sharding import batch_sharding, initialize
from laminate.recipes.network import Compute
from laminate.recipes.vitok.family import VITOK
from laminate.runs.experiment import load_experiment
from laminate.runs.task import learning_rate

STEPS = 100


def measure(
    *, experiment: str, depth: int, images: int, padding: float, turns: int, precision: str
) -> dict[str, object]:
    dtype, mesh = jnp.dtype(precision), build_mesh(MeshShape(1))
    recipe = shortened(VITOK.names.recipe(experiment).in_steps(STEPS), depth)
    room = recipe.augment.tokens
    used = round(room * (1.0 - padding))
    flops = 3 * images * forward_flops(recipe, used)
    vitok = load_experiment(VITOK.script, beside=Path(__file__).parent)
    task = vitok.make_task(recipe, None, Compute(precision))
    counts = recipe.schedule.counts(examples=images, global_batch_size=images)
    optimizer = task.optimizer(learning_rate(recipe.schedule, counts), counts)
    state = initialize(task.init_state(optimizer), mesh, *jax.random.split(jax.random.key(0)))
    # A row of patches, so that any share of the room can be empty.
    picture = np.random.default_rng(0).uniform(-1, 1, (recipe.patch, used * recipe.patch, 3))
    examples = stack([to_patches(picture, recipe.patch, room)] * images)
    batch = {name: jax.device_put(rows, batch_sharding(mesh)) for name, rows in examples.items()}
    step = task.step(optimizer, state, mesh=mesh, micro_batches=1, compute_dtype=dtype)
    compiled = step.lower(state, None, batch).compile()

    def one_step() -> object:
        nonlocal state
        state, metrics = compiled(state, None, batch)
        return state, metrics

    speeds = against_matmul(one_step, flops, dtype, turns)
    return {
        "experiment": experiment,
        "images": images,
        "patches": used,
        "padding": round(1.0 - used / room, 3),
        "precision": precision,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        **measured("step", speeds, flops),
        "images_per_s": round(images * speeds[0] / flops, 2),
        "temporaries_mb": round(compiled.memory_analysis().temp_size_in_bytes / 1e6, 1),
    }


def shortened(recipe, depth: int):
    """`recipe` without a perceptual network, with at most `depth` layers in each half, 0 for all of them."""
    halves = {
        name: replace(half, depth=min(half.depth, depth or half.depth))
        for name, half in (("encoder", recipe.encoder), ("decoder", recipe.decoder))
    }
    return replace(recipe, **halves, teacher=None, losses=replace(recipe.losses, perceptual=0.0))


def forward_flops(recipe, tokens: int) -> int:
    """Of one image of so many patches: matrix products only, a multiply-add is two."""
    maps = (recipe.patch_dim + recipe.channels) * (recipe.encoder.dim + recipe.decoder.dim)
    return 2 * (recipe.encoder.flops(tokens) + recipe.decoder.flops(tokens) + tokens * maps)
