"""The statistics that travel with a tokenizer: mean 0 and variance 1 of what is trained on, however the data lie."""

import io
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from etils import epath
from PIL import Image

from laminate.analysis.reconstruction import latents
from laminate.analysis.tokenizer_report import latent_statistics, with_statistics
from laminate.data.host_slice import HostShare
from laminate.data.records import RecordsManifest
from laminate.data.schema import Example
from laminate.parallel.feeding import feed, parts_of_host
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.parallel.sharding import place
from laminate.recipes.augment import CenterCropConfig, RandomResizedCropConfig
from laminate.recipes.bottleneck import GaussianBottleneck
from laminate.recipes.flatdino.family import VAE
from laminate.recipes.flatdino.modules import flatdino
from laminate.recipes.flatdino.recipe import FlatDinoRecipe
from laminate.recipes.modules import teacher
from laminate.recipes.network import Compute, VitConfig, patch_teacher
from laminate.recipes.training import Schedule
from laminate.runs import training
from laminate.runs.setup import Run
from laminate.train.state import init_state
from laminate.train.step import joined, make_map, map_batches

CLASSES, EACH, SIDE = 5, 48, 16
VIT = VitConfig(dim=16, depth=1, heads=2, hidden=24, positions="learned")
RECIPE = FlatDinoRecipe(
    "tiny",
    patch_teacher(SIDE, 8),
    2,
    VIT,
    VIT,
    GaussianBottleneck(latent_dim=3),
    Schedule(length=1, warmup=0, decay=0, validate_every=1, unit="steps"),
    augment=RandomResizedCropConfig(SIDE),
    global_batch_size=8,
)


class Sorted:
    """Photographs of nothing, sorted by class: each has its own colours and gradients, another middle than rim."""

    def __init__(self):
        count = CLASSES * EACH
        self.manifest = RecordsManifest("sorted", "train", count, (), "sorted", "sorted")

    def __len__(self):
        return self.manifest.count

    def __getitem__(self, index):
        number = range(len(self))[index]
        rng, label = np.random.default_rng(number), number // EACH
        y, x = np.mgrid[-1:1:36j, -1.5:1.5:60j]
        colour = np.array([0.1 + 0.18 * label, 0.9 - 0.15 * label, 0.5]) + 0.08 * rng.standard_normal(3)
        rim = (np.maximum(abs(x) / 1.5, abs(y)) > 0.7)[..., None] * 0.3
        slope = (rng.standard_normal() * x + rng.standard_normal() * y)[..., None] * 0.08
        pixels = np.clip(colour + rim + slope, 0, 1) * 255
        stream = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
        return Example(stream.getvalue(), label, f"{number}")


def run_on(mesh, recipe):
    """What the end of a training asks of its run."""
    run = object.__new__(Run)
    fields = {
        "recipe": recipe,
        "training": Sorted(),
        "validation": Sorted(),
        "mesh": mesh,
        "loader": SimpleNamespace(share=HostShare(*parts_of_host(mesh)), threads=1),
        "flags": SimpleNamespace(max_bad_images=0, data_timeout=60.0, data="embedded"),
        "data_label": "",
        "family": VAE,
        "compute": Compute(),
        "checkpoints": None,
        "folder": SimpleNamespace(path=epath.Path("unwritten")),
    }
    for name, value in fields.items():
        object.__setattr__(run, name, value)
    return run


def concluded(monkeypatch, *, images, shape=(1, 1), recipe=RECIPE):
    """The report that the end of a training hands on, where statistics are of at most so many images."""
    monkeypatch.setattr(training, "STATISTICS_IMAGES", images)
    monkeypatch.setattr(training, "header_facts", lambda run: ())
    monkeypatch.setattr(training, "next_commands", lambda run: ())
    monkeypatch.setattr(training, "_say_where", lambda run, report: None)
    make = lambda: init_state(
        flatdino(RECIPE, key=jax.random.key(1)), optax.identity(), averaged=False, key=jax.random.key(0)
    )
    kept = []

    def keep(report, model):
        kept.append((report, model))
        return report.folder

    run = run_on(build_mesh(MeshShape(*shape)), recipe)
    training.conclude(run, training.Trained(make(), True, ""), keep)
    ((report, model),) = kept
    return run, report, place(model, run.mesh), teacher(RECIPE.teacher)


def measured(monkeypatch, **options):
    run, report, model, network = concluded(monkeypatch, **options)
    statistics = latent_statistics(model, network, report.training(), mesh=run.mesh, dtype=run.dtype)
    return run, statistics, with_statistics(model, network, report.training(), mesh=run.mesh, dtype=run.dtype)


def normalised(run, model, view):
    """Normalised latents of every image in `view`, drawn for other numbers than those of the statistics."""
    images = [
        view(Sorted()[row].image, np.random.default_rng(1000 + row))["image"] for row in range(len(Sorted()))
    ]
    batch = {"image": np.stack(images), "valid": np.ones(len(images), bool)}
    network = teacher(RECIPE.teacher)
    apply = make_map(
        lambda m, f, e: latents(m, network, e, dtype=jnp.dtype(jnp.float32)), model, None, mesh=run.mesh
    )
    z = joined(map_batches(apply, model, None, feed([batch], run.mesh)))["z"]
    return np.asarray(jax.vmap(model.normalization)(jnp.asarray(z)), np.float64)


@pytest.mark.parametrize("images", [60, 100_000])
@pytest.mark.parametrize("statistics", ["augment", "center-crop"])
def test_latents_of_class_sorted_images_have_mean_0_and_variance_1(monkeypatch, images, statistics):
    recipe = replace(RECIPE, statistics=statistics)
    run, seen, model = measured(monkeypatch, images=images, recipe=recipe)
    assert seen.count == min(images, CLASSES * EACH)
    z = normalised(run, model, recipe.statistics_view.transform())
    tolerance = 0.45 if images == 60 else 0.12
    np.testing.assert_allclose(z.mean(0), 0.0, atol=tolerance)
    np.testing.assert_allclose(z.var(0), 1.0, atol=1.5 * tolerance)
    assert np.mean(np.square(z)) == pytest.approx(1.0, abs=tolerance)
    first = normalised(run, model, recipe.statistics_view.transform())[:60]
    assert np.max(abs(first.mean(0))) > 0.8  # the first classes alone are no sample of the whole


def test_they_are_the_same_each_time_and_on_any_mesh(monkeypatch):
    _, once, _ = measured(monkeypatch, images=100)
    _, again, _ = measured(monkeypatch, images=100)
    np.testing.assert_array_equal(once.mean, again.mean)
    np.testing.assert_array_equal(once.variance, again.variance)
    _, wide, _ = measured(monkeypatch, images=100, shape=(2, 4))
    assert wide.count == once.count == 100
    np.testing.assert_allclose(wide.mean, once.mean, atol=1e-5)
    np.testing.assert_allclose(wide.variance, once.variance, rtol=1e-4, atol=1e-6)


def test_how_many_and_how_they_are_seen_is_said(monkeypatch):
    _, report, _, _ = concluded(monkeypatch, images=100)
    assert report.statistics == f"spread over all {CLASSES * EACH}; {RECIPE.augment.text}"
    other = replace(RECIPE, statistics="center-crop")
    _, report, _, _ = concluded(monkeypatch, images=100, recipe=other)
    assert report.statistics.endswith(CenterCropConfig(SIDE, 0.5).text)
