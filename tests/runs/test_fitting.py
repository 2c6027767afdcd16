"""A training computes in the cheapest way that fits its devices, which is looked for once and said."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.data.loader import TrainLoader
from laminate.data.records import RecordsManifest
from laminate.nn import Mlp, Stack
from laminate.parallel.feeding import feed
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.parallel.sharding import initialize
from laminate.planning.plan import Setting
from laminate.planning.suggest import FASTEST, RESERVE, choices
from laminate.recipes.families import family_of
from laminate.recipes.flags import RunFlags
from laminate.recipes.flatdino.presets import photographs_vae
from laminate.recipes.network import Compute
from laminate.recipes.training import StepCounts
from laminate.runs import fitting
from laminate.runs.asked_networks import Asked
from laminate.runs.fitting import cheapest, fitted, out_of_memory
from laminate.runs.setup import Run
from laminate.runs.task import Task
from laminate.runs.transforms import still_view
from laminate.train.run_folder import RunFolder

RECIPE = photographs_vae()
DEPTH, DIM = 4, 24


class Model(eqx.Module):
    stack: Stack


def make_task(recipe, frozen, compute):
    """A little network, of the image's pixels, that keeps what `compute` says."""
    made.append(compute.remat)

    def build(*, key):
        layer = lambda k: Mlp(DIM, 2 * DIM, key=k)
        return Model(Stack(layer, DEPTH, remat=compute.remat, key=key))

    def objective(model, frozen, example, *, step, key):
        pixels = example["image"].astype(jnp.float32).reshape(-1, DIM)
        return jnp.mean(jnp.square(model.stack(pixels))), {}

    return Task(build, frozen, objective, recipe.optimizer)


class Few:
    """Records that nobody reads."""

    def __init__(self):
        self.manifest = RecordsManifest("few", "train", 8, (), "few", "few")

    def __len__(self):
        return self.manifest.images

    def __getitem__(self, index):
        raise NotImplementedError


made: list[str] = []


@pytest.fixture
def run(tmp_path):
    """A training of a few images on two devices, opened as far as it matters here."""
    few, view = Few(), still_view(RECIPE, Few())
    run, shape = object.__new__(Run), MeshShape(2, 1)
    fields = {
        "flags": RunFlags(),
        "family": family_of(RECIPE),
        "recipe": RECIPE,
        "counts": StepCounts(total=6, warmup=2, decay=2, validate_every=3, per_epoch=3),
        "shape": shape,
        "mesh": build_mesh(shape),
        "compute": Compute(),
        "micro_batches": 1,
        "frozen": None,
        "devices": "two",
        "training": few,
        "validation": few,
        "loader": TrainLoader(few, seed=0, global_batch_size=RECIPE.global_batch_size, augment=view),
        "folder": RunFolder(tmp_path),
        "data_label": "",
        "asked": Asked((), {}, [], None),
    }
    for field in dataclasses.fields(Run):
        object.__setattr__(run, field.name, fields.get(field.name))
    made.clear()
    return run


def needed(run, remat):
    first = Setting(run.shape, RECIPE.global_batch_size, 1, remat)
    return cheapest(run, make_task, first, 2**40)[0].needed_bytes


def test_on_a_cpu_and_with_a_choice_of_ones_own_nothing_is_compiled(run, monkeypatch):
    assert fitted(run, make_task) is run
    monkeypatch.setattr(fitting, "_capacity", lambda: 1)
    object.__setattr__(run, "flags", RunFlags(remat="none"))
    assert fitted(run, make_task) is run and made == []


def test_the_fastest_that_fits_is_chosen_said_and_remembered(run, monkeypatch, capsys):
    fastest, block = needed(run, FASTEST), needed(run, "block")
    assert block < fastest
    monkeypatch.setattr(fitting, "_capacity", lambda: int(2 * fastest))
    whole = fitted(run, make_task)
    assert (whole.compute.remat, whole.micro_batches, capsys.readouterr().err) == (FASTEST, 1, "")

    room = int(1.02 * block / (1 - RESERVE))
    monkeypatch.setattr(fitting, "_capacity", lambda: room)
    chosen = fitted(run, make_task)
    assert (chosen.compute.remat, chosen.micro_batches) == ("block", 1)
    assert "memory: --remat block needs" in capsys.readouterr().err
    assert chosen.step is not None

    made.clear()
    again = fitted(run, make_task)
    assert (again.compute.remat, made, again.step) == ("block", [], None)
    noted = json.loads((run.folder.path / fitting.FILE).read_text())
    assert noted["remat"] == "block" and noted["bytes"] == room


def test_the_step_that_was_looked_at_trains_without_being_compiled_again(run):
    first = Setting(run.shape, RECIPE.global_batch_size, 1, "none")
    _, step = cheapest(run, make_task, first, 2**40)
    task, side = make_task(RECIPE, None, Compute()), RECIPE.augment.image_size
    optimizer = task.optimizer(lambda count: 1e-3, run.counts)
    state = initialize(task.init_state(optimizer), run.mesh, jax.random.key(0), jax.random.key(1))
    images = np.zeros((RECIPE.global_batch_size, side, side, 3), np.uint8)
    (batch,) = feed([{"image": images, "label": np.zeros(len(images), np.int32)}], run.mesh)
    compiled: list[str] = []
    listen = lambda event, seconds, **_: compiled.append(event) if "backend_compile" in event else None
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        state, metrics = step(state, None, batch)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compiled == [] and int(state.step) == 1 and float(metrics["loss"]) == 0.0


def test_where_nothing_fits_it_is_refused_with_what_would(run):
    first = Setting(run.shape, RECIPE.global_batch_size, 1, "none")
    with pytest.raises(ValueError, match=r"does not fit: --remat .* MiB of a device.*--mesh DATAxFSDP"):
        cheapest(run, make_task, first, 1000)


def test_a_device_that_is_full_all_the_same_names_the_next_choice(run):
    full = RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.")
    said = out_of_memory(run, full)
    assert "with --remat none: the next choice is --remat products" in str(said)
    last = [*choices(Setting(run.shape, RECIPE.global_batch_size, 1, "block"))][-1]
    object.__setattr__(run, "compute", Compute(remat="block"))
    object.__setattr__(run, "micro_batches", last.micro_batches)
    assert "--mesh DATAxFSDP" in str(out_of_memory(run, full))
    assert out_of_memory(run, RuntimeError("INTERNAL: something else")) is None
