"""The step that an experiment compiles, on shapes, for a plan."""

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from laminate.nn import recomputing
from laminate.parallel.sharding import abstract, batch_sharding
from laminate.planning.plan import AbstractStep, Setting
from laminate.recipes.describe import IMAGENET_IMAGES
from laminate.recipes.families import family_of
from laminate.recipes.family import Shapes
from laminate.recipes.network import AttentionKernel, Compute, Remat, StoredDtype
from laminate.recipes.training import StepCounts
from laminate.runs.task import GanTask, Task, learning_rate

DTYPE: StoredDtype = "bfloat16"
_SAMPLES: Shapes = {"label": ((), "int32"), "index": ((), "uint32")}


def job_maker(
    experiment: ModuleType, recipe: Any, *, kernel: AttentionKernel = "xla", draws: bool = False
) -> Callable[[Setting, Mesh], AbstractStep]:
    """`make(setting, mesh)` is the step of `experiment.make_task`, or, if it `draws`, of `experiment.make_drawing`.

    The last one that was made is kept, for whoever estimates it first and compiles it then.

    Raises ValueError for a file that has none of that name.
    """
    for wanted in ("make_task", "make_drawing")[: 2 if draws else 1]:
        if not callable(getattr(experiment, wanted, None)):
            raise ValueError(
                f"--script {experiment.__file__}: it has no {wanted}, which a plan compiles. The experiment "
                f"that trains {recipe.name} is {family_of(recipe).script}."
            )
    modules = family_of(recipe).modules()
    dtype = "float32" if modules.float32(recipe) else DTYPE

    @lru_cache(maxsize=1)
    def make(setting: Setting, mesh: Mesh) -> AbstractStep:
        compute = Compute(dtype, kernel, cast(Remat, setting.remat))
        planned = dataclasses.replace(recipe, global_batch_size=setting.global_batch_size)
        frozen = abstract(recomputing(modules.frozen(planned, weights=False), compute.remat_of), mesh)
        counts = planned.schedule.counts(
            examples=IMAGENET_IMAGES, global_batch_size=setting.global_batch_size
        )
        task = experiment.make_task(planned, frozen, compute)
        step = abstract_step(
            task, planned, counts, setting, mesh, shapes=modules.example_shapes(planned), dtype=dtype
        )
        return _drawing(experiment, planned, step, mesh, jnp.dtype(dtype)) if draws else step

    return make


def abstract_step(
    task: Task | GanTask,
    recipe: Any,
    counts: StepCounts,
    setting: Setting,
    mesh: Mesh,
    *,
    shapes: Shapes,
    dtype: StoredDtype,
) -> AbstractStep:
    """The step of `task`, a training of `counts` steps, with the shapes that it is called on."""
    optimizer: Any = task.optimizer(learning_rate(recipe.schedule, counts), counts)
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = abstract(eqx.filter_eval_shape(task.init_state(optimizer), key, key), mesh)
    step = task.step(
        optimizer, state, mesh=mesh, micro_batches=setting.micro_batches, compute_dtype=jnp.dtype(dtype)
    )
    return AbstractStep(
        step, state, abstract(task.frozen, mesh), _batch(shapes, setting.global_batch_size, mesh)
    )


def _drawing(
    experiment: ModuleType, recipe: Any, training: AbstractStep, mesh: Mesh, dtype: jnp.dtype
) -> AbstractStep:
    """Every step of the sampler of a generator, on the averaged weights alone."""
    state, frozen = training.state, training.frozen
    draw = experiment.make_drawing(recipe, state.model, frozen, mesh=mesh, dtype=dtype)
    held = eqx.tree_at(  # the constructor is for arrays, and these are shapes
        lambda state: (state.opt_state, state.ema), state, ((), None), is_leaf=lambda node: node is None
    )
    step = jax.jit(lambda state, frozen, batch: draw(state.model, frozen, batch))
    return AbstractStep(step, held, frozen, _batch(_SAMPLES, recipe.global_batch_size, mesh))


def _batch(shapes: Shapes, global_batch_size: int, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    return {
        name: jax.ShapeDtypeStruct(
            (global_batch_size, *shape), jnp.dtype(dtype), sharding=batch_sharding(mesh)
        )
        for name, (shape, dtype) in shapes.items()
    }
