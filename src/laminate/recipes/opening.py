"""From flags and a recipe to a run that fits: everything that can be refused is refused here, before it starts."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from laminate.data.array_schema import ReadArray
from laminate.data.augment import Augment
from laminate.data.evaluation import evaluation_batches
from laminate.data.faults import load_or_next
from laminate.data.host_slice import HostShare
from laminate.data.loader import TrainLoader
from laminate.data.records import Manifest, RecordError, Records
from laminate.data.sources import open_records
from laminate.parallel.cluster import find_place
from laminate.parallel.feeding import feed, parts_of_host
from laminate.parallel.hosts import any_host, barrier, is_first, of_first, start
from laminate.parallel.mesh import MeshShape, build_mesh, parse_mesh, prepare_devices, split_batch
from laminate.parallel.sharding import abstract, place
from laminate.recipes import build
from laminate.recipes.devices import compute_dtype
from laminate.recipes.families import Recipe
from laminate.recipes.flags import RunFlags, TrainFlags, run_folder
from laminate.recipes.flatdino import FlatDinoRecipe
from laminate.recipes.json_text import RUN, to_tree
from laminate.recipes.preflight import facts, require_same, require_shared
from laminate.recipes.starting import Start, plan_start, started
from laminate.recipes.training import StepCounts
from laminate.recipes.views import random_view, require_features, require_latents, still_view
from laminate.tokenizers.latent_decoders import FeatureDecoder
from laminate.train.checkpoint import Checkpoints
from laminate.train.manifest import read_manifest
from laminate.train.run_folder import RunFolder
from laminate.train.state import TrainState
from laminate.train.trackers import require_packages
from laminate.types import join_buffers

READ_AT_ONCE = 16  # records, spread over the files, that are read before anything starts


@dataclasses.dataclass(frozen=True)
class Origin:
    """The checkpoint of another run that a new run begins with."""

    checkpoints: Checkpoints
    step: int


@dataclasses.dataclass(frozen=True)
class Run:
    """One training, opened: data, devices, folder and checkpoints have been seen to fit the recipe.

    `frozen` is what `make_frozen` gave, on the mesh; None where the data hold the features of the teacher. `painter`
    turns features into pixels, in host memory; None if nothing can.
    """

    flags: RunFlags
    recipe: Recipe
    counts: StepCounts
    shape: MeshShape
    mesh: Mesh
    devices: str
    compute_dtype: jnp.dtype
    micro_batches: int
    frozen: PyTree
    painter: FeatureDecoder | None
    training: Records
    validation: Records
    loader: TrainLoader
    folder: RunFolder
    checkpoints: Checkpoints | None
    origin: Origin | None
    start: Start | None

    def evaluation_batches(self, records: Records) -> Iterator[dict[str, Any]]:
        """Every record once, on the mesh, without randomness."""
        batches = evaluation_batches(
            records,
            global_batch_size=self.recipe.global_batch_size,
            augment=still_view(self.recipe, records),
            share=self.loader.share,
            threads=self.loader.threads,
            max_bad_images=self.flags.max_bad_images,
            timeout=self.flags.data_timeout,
        )
        return feed(batches, self.mesh)

    def saved_step(self) -> int:
        """The step of the newest checkpoint in the run's own folder, as the first host sees it; 0 without one."""
        if self.checkpoints is None:
            return 0
        return int(of_first("newest checkpoint", str(self.checkpoints.latest() or 0)))

    def restored(self, state: TrainState) -> TrainState:
        """The state that this run goes on from: its own newest checkpoint, another run's, or `state`, with the
        weights that it is to begin with.

        Raises `CheckpointError` if the checkpoint is damaged, or of something else than `state`.
        """
        like = abstract(state, self.mesh)
        saved = self.saved_step()
        if self.checkpoints is not None and saved:
            if self.flags.resume == "newest-good":
                restored = self.checkpoints.restore_newest_good(like)
            else:
                restored = self.checkpoints.restore(saved, like)
        elif self.origin is not None:
            restored = self.origin.checkpoints.restore(self.origin.step, like)
        elif self.start is not None:
            return started(state, self.start)
        else:
            return state
        self.loader.check_position(restored.position)
        return restored.state

    def best(self, state: TrainState) -> Any:
        """The model that readers load: the averaged weights of the checkpoint of lowest validation loss."""
        if self.checkpoints is None:
            return state.averaged
        step = int(of_first("best checkpoint", str(self.checkpoints.best() or 0)))
        if step in (0, int(state.step)):
            return state.averaged
        part = ".params" if state.ema is None else ".ema"
        params = state.params if state.ema is None else state.ema
        restored = self.checkpoints.restore(step, abstract(params, self.mesh), within=part)
        return join_buffers(restored.state, state.buffers)


def open_run(
    flags: RunFlags,
    recipe: Recipe,
    make_frozen: Callable[[Any], PyTree] = lambda recipe: None,
    *,
    on_data: Callable[[Any, Manifest], Recipe] | None = None,
) -> Run:
    """Open everything that a training needs; the run folder comes last, so a refusal leaves nothing behind.

    `make_frozen(recipe)` are the networks, in host memory, that stand beside the trained one. `on_data` is the recipe
    for these training data, where it depends on them, as on their classes; that of a tokenizer states the hash of its
    teacher's weights. With several hosts, all of them meet here, and what one refuses, all do.

    Raises ValueError or OSError with the one thing that is wrong and how to mend it.
    """
    shape = parse_mesh(flags.mesh)
    require_packages(tensorboard=flags.tensorboard, wandb=flags.wandb)
    start(find_place(flags.coordinator, flags.hosts, flags.host, required=flags.distributed))
    require_same("training", facts(flags, recipe))
    training, validation = open_records(flags.data, "train"), open_records(flags.data, "validation")
    require_same(
        "data",
        {"data": {split.manifest.split: split.manifest.fingerprint for split in (training, validation)}},
    )
    recipe = recipe if on_data is None else on_data(recipe, training.manifest)
    if isinstance(recipe, FlatDinoRecipe):
        recipe = _with_known_teacher(recipe, training)
        require_same("teacher", {"teacher": recipe.teacher.weights})
    elif training.manifest.arrays is not None:
        require_latents(recipe, training)
    images = training.manifest.images
    counts = recipe.schedule.counts(examples=images, global_batch_size=recipe.global_batch_size)
    for records in (training, validation):
        _check_readable(records, still_view(recipe, records), flags.max_bad_images)
    shape, devices = prepare_devices(shape)
    micro_batches = split_batch(recipe.global_batch_size, shape.devices, flags.device_batch_size)
    mesh = build_mesh(shape)
    taught = training.manifest.arrays is not None and isinstance(recipe, FlatDinoRecipe)
    frozen = place(None if taught else make_frozen(recipe), mesh)
    painter = _painter(flags, recipe)
    loader = _loader(flags, recipe, training, HostShare(*parts_of_host(mesh)))
    described = {**to_tree(recipe), RUN: _described(flags, training)}
    folder = RunFolder(run_folder(flags, recipe), primary=is_first())
    checkpoints = _checkpoints(flags, counts, folder, described)
    origin = _origin(flags, counts, loader, checkpoints)
    start_from = _start(flags, recipe, checkpoints)
    barrier("everything fits")
    folder.open(described, fresh=flags.fresh)
    require_shared(folder)
    return Run(
        flags=flags,
        recipe=recipe,
        counts=counts,
        shape=shape,
        mesh=mesh,
        devices=devices,
        compute_dtype=compute_dtype(flags.precision),
        micro_batches=micro_batches,
        frozen=frozen,
        painter=painter,
        training=training,
        validation=validation,
        loader=loader,
        folder=folder,
        checkpoints=checkpoints,
        origin=origin,
        start=start_from,
    )


def _with_known_teacher(recipe: FlatDinoRecipe, training: Records) -> FlatDinoRecipe:
    """`recipe` with the hash of the weights that the teacher's features are computed, or were computed, by."""
    if training.manifest.arrays is not None:
        return require_features(recipe, training)
    return dataclasses.replace(recipe, teacher=build.identified(recipe.teacher))


def _painter(flags: RunFlags, recipe: Recipe) -> FeatureDecoder | None:
    if not isinstance(recipe, FlatDinoRecipe):
        return None
    return build.painter(recipe.teacher, flags.pixel_decoder if isinstance(flags, TrainFlags) else None)


def _check_readable(records: Records, view: Augment, max_bad_images: int) -> None:
    """Refuse damaged files, and data that begin with more bad images than are allowed."""
    for index in np.unique(np.linspace(0, len(records) - 1, READ_AT_ONCE).astype(int)):
        try:
            records[int(index)]
        except RecordError:  # a single bad record is counted and skipped by the loader
            pass
    rng = np.random.default_rng(0)
    loaded = load_or_next(records, 0, lambda data: view(data, rng), max_bad_images + 1)
    if loaded.image is None:
        first = loaded.faults[0]
        raise ValueError(
            f"{records.manifest.source}: the first {len(loaded.faults)} records are no images that can be read. "
            f"{first.key}: {first.reason}. `python -m laminate.data check` lists every bad record."
        )


def _loader(flags: RunFlags, recipe: Recipe, training: Records, share: HostShare) -> TrainLoader:
    arrays = training.manifest.arrays
    return TrainLoader(
        training,
        seed=flags.seed,
        global_batch_size=recipe.global_batch_size,
        augment=random_view(recipe) if arrays is None else ReadArray(arrays),
        share=share,
        threads=flags.data_workers or os.cpu_count() or 1,
        max_bad_images=flags.max_bad_images,
        timeout=flags.data_timeout,
    )


def _checkpoints(
    flags: RunFlags, counts: StepCounts, folder: RunFolder, described: dict[str, Any]
) -> Checkpoints | None:
    if not flags.checkpoint:
        return None
    protect = frozenset({counts.decay_start} if counts.decay else ())
    return Checkpoints(
        folder.checkpoints_path,
        recipe=described,
        keep_last=flags.keep,
        protect=protect,
        primary=is_first(),
        barrier=barrier,
        any_host=any_host,
    )


def _origin(
    flags: RunFlags, counts: StepCounts, loader: TrainLoader, own: Checkpoints | None
) -> Origin | None:
    """What `--restore` names, seen to fit; None where the run begins anew or has checkpoints of its own."""
    if not flags.fresh and own is not None and own.latest() is not None:
        return None
    if flags.restore is None:
        if flags.resume == "required":
            where = "this run keeps none" if own is None else f"{own.folder} holds none"
            raise FileNotFoundError(f"--resume required: there is no checkpoint to resume from, {where}.")
        return None
    source, step = _named_checkpoint(flags.restore)
    if step >= counts.total:
        raise ValueError(
            f"--restore {flags.restore}: its step {step} is not before the end of this run of {counts.total} steps. "
            "Give a longer --steps, or an earlier checkpoint: --restore RUN/checkpoints/STEP."
        )
    try:
        loader.check_position(read_manifest(source.folder / str(step)).position)
    except ValueError as error:
        raise ValueError(f"--restore {flags.restore}: {error}") from error
    return Origin(source, step)


def _start(flags: RunFlags, recipe: Recipe, own: Checkpoints | None) -> Start | None:
    """What `--init-from` names, seen to fit; None where the run has checkpoints of its own."""
    if flags.init_from is None or (not flags.fresh and own is not None and own.latest() is not None):
        return None
    return plan_start(flags.init_from, eqx.filter_eval_shape(build.model, recipe, key=jax.random.key(0)))


def _described(flags: RunFlags, training: Records) -> dict[str, Any]:
    """What decides a run beside its recipe."""
    described: dict[str, Any] = {"seed": flags.seed, "data": training.manifest.fingerprint}
    if flags.init_from is not None:
        described["init_from"] = flags.init_from
    if flags.overfit:
        described["overfit"] = True
    return described


def _named_checkpoint(text: str) -> tuple[Checkpoints, int]:
    """The newest checkpoint of the run folder `text`, or the one at RUN/checkpoints/STEP."""
    path, chosen = RunFolder(text).checkpoints_path, None
    if Path(text).name.isdecimal() and Path(text).parent.name == path.name:
        path, chosen = RunFolder(text).path.parent, int(Path(text).name)
    source = Checkpoints(path, recipe=None, primary=is_first(), barrier=barrier, any_host=any_host)
    steps = source.steps()
    if not steps or (chosen is not None and chosen not in steps):
        held = f"{path} holds the steps {', '.join(map(str, steps))}" if steps else f"there is none in {path}"
        raise FileNotFoundError(f"--restore {text}: there is no such checkpoint; {held}.")
    return source, steps[-1] if chosen is None else chosen
