"""From flags and a recipe to a run that fits: everything that can be refused is refused here, before it starts."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from laminate.data.augment import Augment
from laminate.data.evaluation import evaluation_batches
from laminate.data.faults import load_or_next
from laminate.data.host_slice import HostShare
from laminate.data.loader import TrainLoader
from laminate.data.records import RecordError, Records
from laminate.data.sources import open_splits
from laminate.data.sources.embedded import DEFAULT
from laminate.nn import recomputing
from laminate.parallel.cluster import find_place
from laminate.parallel.feeding import feed, parts_of_host
from laminate.parallel.hosts import any_host, barrier, is_first, of_first, start
from laminate.parallel.mesh import MeshShape, build_mesh, parse_mesh, prepare_devices, split_batch
from laminate.parallel.sharding import abstract, place
from laminate.recipes.families import RUN, family_of, rewritten, to_tree
from laminate.recipes.family import Family, Recipe
from laminate.recipes.flags import RunFlags
from laminate.recipes.latent import LoadedTokenizer
from laminate.recipes.modules import model_shapes
from laminate.recipes.network import Compute
from laminate.recipes.resolve import require_asked, run_folder
from laminate.recipes.training import StepCounts
from laminate.runs.asked_networks import Asked, open_asked
from laminate.runs.data_place import DataPlace, note_data, place_of, with_data
from laminate.runs.devices import compute_on
from laminate.runs.find_checkpoint import NamedCheckpoint, find_checkpoint
from laminate.runs.init_from import Start, plan_start, started
from laminate.runs.preflight import facts, require_same, require_shared
from laminate.runs.tokenizer_place import note_tokenizer
from laminate.runs.transforms import random_view, still_view
from laminate.train.checkpoint import Checkpoints
from laminate.train.durable import differences
from laminate.train.manifest import read_manifest
from laminate.train.run_folder import RunFolder
from laminate.train.state import TrainState
from laminate.train.trackers import require_packages
from laminate.types import join_buffers

READ_AT_ONCE = 16  # records, spread over the files, that are read before anything starts


@dataclasses.dataclass(frozen=True)
class Run:
    """One training, opened: data, devices, folder and checkpoints have been seen to fit the recipe.

    `frozen` are the networks of the recipe's family that stand beside the trained one, on the mesh. `beside` is what
    the experiment asked for, in host memory.
    """

    flags: RunFlags
    family: Family[Any]
    recipe: Any
    counts: StepCounts
    shape: MeshShape
    mesh: Mesh
    devices: str
    compute: Compute
    micro_batches: int
    frozen: PyTree
    beside: Any
    training: Records
    validation: Records
    loader: TrainLoader
    folder: RunFolder
    checkpoints: Checkpoints | None
    origin: NamedCheckpoint | None
    start: Start | None
    data: DataPlace | None
    """Where the data were found, if no flag named them."""
    data_label: str
    """The name and a short hash of the data; nothing for the usual ones of what saw the images first."""
    tokenizer: LoadedTokenizer | None
    """The one whose latents the recipe reads."""
    asked: Asked
    """What `--evaluate` asks for."""
    step: Any = None
    """The update of the state, where finding out what fits has compiled it already."""

    @property
    def dtype(self) -> jnp.dtype:
        """Number format of the computation."""
        return jnp.dtype(self.compute.dtype)

    def evaluation_batches(self, records: Records, view: Augment | None = None) -> Iterator[dict[str, Any]]:
        """Every record once, on the mesh, without randomness: in the view of validation, or as `view` draws it for the
        number of the record."""
        batches = evaluation_batches(
            records,
            global_batch_size=self.recipe.global_batch_size,
            augment=still_view(self.recipe, records) if view is None else view,
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

    def best(self, state: TrainState) -> tuple[Any, int]:
        """The averaged weights of the checkpoint that the validations call best, and its step."""
        last = int(state.step)
        if self.checkpoints is None:
            return state.averaged, last
        step = int(of_first("best checkpoint", str(self.checkpoints.best() or 0)))
        if step in (0, last):
            return state.averaged, last
        part = ".params" if state.ema is None else ".ema"
        params = state.params if state.ema is None else state.ema
        restored = self.checkpoints.restore(step, abstract(params, self.mesh), within=part)
        return join_buffers(restored.state, state.buffers), step


def setup(
    flags: RunFlags,
    recipe: Recipe,
    *,
    tokenizer: LoadedTokenizer | None = None,
    beside: Callable[[Any], Any] = lambda recipe: None,
) -> Run:
    """Open everything that a training needs; the run folder comes last, so a refusal leaves nothing behind.

    `tokenizer` is the one whose latents the recipe reads, for families that read some. `beside(recipe)` is whatever
    else the experiment reads from files. With several hosts, all of them meet here, and what one refuses, all do.

    Raises ValueError or OSError with the one thing that is wrong and how to mend it.
    """
    family = family_of(recipe)
    modules = family.modules()
    parsed = parse_mesh(flags.mesh)
    require_packages(tensorboard=flags.tensorboard, wandb=flags.wandb)
    start(find_place(flags.coordinator, flags.hosts, flags.host, required=flags.distributed))
    require_same("training", facts(flags, recipe))
    flags, found_data = with_data(flags, recipe, tokenizer)
    opened = open_splits(flags.data or DEFAULT, options=flags.reading)
    training, validation = opened["train"], opened["validation"]
    read = place_of(flags, recipe, tokenizer, training.manifest.fingerprint)
    fingerprints = {split.manifest.split: split.manifest.fingerprint for split in (training, validation)}
    require_same("data", {"data": fingerprints})
    recipe = modules.accept(recipe, training, tokenizer=tokenizer)
    require_asked(flags, recipe)
    require_same("networks", {"recipe": to_tree(recipe)})
    examples, global_batch_size = training.manifest.images, recipe.global_batch_size
    counts = recipe.schedule.counts(examples=examples, global_batch_size=global_batch_size)
    _check_readable(recipe, (training, validation), flags.max_bad_images)
    shape, devices = prepare_devices(parsed)
    micro_batches = split_batch(global_batch_size, shape.devices, flags.device_batch_size)
    if micro_batches > 1 and (reason := modules.whole_batch(recipe)):
        raise ValueError(f"The batch of a device is cut into {micro_batches} parts: {reason}")
    mesh, stored = build_mesh(shape), training.manifest.arrays is not None
    compute = compute_on(flags.precision, flags.attention, flags.remat, modules.float32(recipe))
    frozen = modules.frozen(recipe, tokenizer=tokenizer, stored=stored)
    frozen = place(recomputing(frozen, compute.remat_of), mesh)
    found, asked = beside(recipe), open_asked(flags, family, recipe, validation)
    loader = _loader(flags, recipe, training, HostShare(*parts_of_host(mesh)))
    described = {**to_tree(recipe), RUN: _described(flags, training)}
    folder = RunFolder(_folder(flags, recipe, read, tokenizer), primary=is_first())
    checkpoints = _checkpoints(flags, counts, folder, described)
    origin, begin = _origin(flags, counts, loader, checkpoints), _start(flags, recipe, checkpoints)
    barrier("everything fits")
    folder.open(described, fresh=flags.fresh, differences=_differences)
    require_shared(folder)
    _note(folder, read, tokenizer)
    return Run(
        flags=flags,
        family=family,
        recipe=recipe,
        counts=counts,
        shape=shape,
        mesh=mesh,
        devices=devices,
        compute=compute,
        micro_batches=micro_batches,
        frozen=frozen,
        beside=found,
        training=training,
        validation=validation,
        loader=loader,
        folder=folder,
        checkpoints=checkpoints,
        origin=origin,
        start=begin,
        data=found_data,
        data_label=read.label,
        tokenizer=tokenizer,
        asked=asked,
    )


def _note(folder: RunFolder, noted: DataPlace, tokenizer: LoadedTokenizer | None) -> None:
    """Write into the folder where what it is made of lies."""
    if is_first():
        note_data(folder.path, noted)
        if tokenizer is not None:
            note_tokenizer(folder.path, tokenizer)


def _folder(flags: RunFlags, recipe: Any, read: DataPlace, tokenizer: LoadedTokenizer | None) -> str:
    """The folder of the run: one named for its data and tokenizer, unless a run of these very ones has the name of the
    recipe alone, as earlier versions named all."""
    named = run_folder(flags, recipe, read.label, "" if tokenizer is None else tokenizer.recipe.name)
    before = RunFolder(run_folder(flags, recipe), primary=False)
    if os.fspath(before.path) != named and before.recipe_path.exists():
        tree = before.read_recipe()
        noted, tokens = (tree[key] if isinstance(tree.get(key), dict) else {} for key in (RUN, "tokenizer"))
        wanted = None if tokenizer is None else tokenizer.identity.sha256
        if (noted.get("data"), tokens.get("sha256")) == (read.fingerprint, wanted):
            return os.fspath(before.path)
    return named


def _check_readable(recipe: Recipe, splits: Sequence[Records], max_bad_images: int) -> None:
    """Refuse damaged files, and data that begin with more bad images than are allowed."""
    for records in splits:
        _check_records(records, still_view(recipe, records), max_bad_images)


def _check_records(records: Records, view: Augment, max_bad_images: int) -> None:
    for index in np.unique(np.linspace(0, len(records) - 1, READ_AT_ONCE).astype(int)):
        try:
            records[int(index)]
        except RecordError:  # a single bad record is counted and skipped by the loader
            pass
    rng = np.random.default_rng(0)
    loaded = load_or_next(records, 0, lambda data: view(data, rng), max_bad_images + 1)
    if loaded.arrays is None:
        first = loaded.faults[0]
        raise ValueError(
            f"{records.manifest.source}: the first {len(loaded.faults)} records are no images that can be read. "
            f"{first.key}: {first.reason}. `python -m laminate.data check` lists every bad record."
        )


def _loader(flags: RunFlags, recipe: Recipe, training: Records, share: HostShare) -> TrainLoader:
    return TrainLoader(
        training,
        seed=flags.seed,
        global_batch_size=recipe.global_batch_size,
        augment=random_view(recipe, training),
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
        differences=_differences,
    )


def _differences(saved: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """A name alone is none: versions have renamed recipes, and what is trained is what all other fields say."""
    found = differences(rewritten(saved), current)
    return [] if all(line.startswith("name: ") for line in found) else found


def _origin(
    flags: RunFlags, counts: StepCounts, loader: TrainLoader, own: Checkpoints | None
) -> NamedCheckpoint | None:
    """What `--restore` names, seen to fit; None where the run begins anew or has checkpoints of its own."""
    if not flags.fresh and own is not None and own.latest() is not None:
        return None
    if flags.restore is None:
        if flags.resume == "required":
            where = "this run keeps none" if own is None else f"{own.folder} holds none"
            raise FileNotFoundError(f"--resume required: there is no checkpoint to resume from, {where}.")
        return None
    found = find_checkpoint(flags.restore, flag="--restore")
    if found.step >= counts.total:
        raise ValueError(
            f"--restore {flags.restore}: its step {found.step} is not before the end of this run of {counts.total} "
            "steps. Give a longer --steps, or an earlier checkpoint: --restore RUN/checkpoints/STEP."
        )
    try:
        loader.check_position(read_manifest(found.checkpoints.folder / str(found.step)).position)
    except ValueError as error:
        raise ValueError(f"--restore {flags.restore}: {error}") from error
    return found


def _start(flags: RunFlags, recipe: Recipe, own: Checkpoints | None) -> Start | None:
    """What `--init-from` names, or the recipe, seen to fit; None where the run has checkpoints of its own."""
    if flags.restore is not None or (not flags.fresh and own is not None and own.latest() is not None):
        return None
    source = flags.init_from or family_of(recipe).begins(recipe)
    if source is None:
        return None
    return plan_start(source, model_shapes(recipe), trained=family_of(recipe).modules().trained(recipe))


def _described(flags: RunFlags, training: Records) -> dict[str, Any]:
    """What decides a run beside its recipe."""
    described: dict[str, Any] = {"seed": flags.seed, "data": training.manifest.fingerprint}
    if flags.init_from is not None:
        described["init_from"] = flags.init_from
    if flags.overfit:
        described["overfit"] = True
    return described
