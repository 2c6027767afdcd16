"""What is saved is loaded bit for bit, elsewhere and later; what is not whole is refused."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import laminate
from laminate.recipes.bottleneck import FsqBottleneck
from laminate.recipes.flatdino.modules import flatdino
from laminate.recipes.flatdino.recipe import FlatDinoRecipe
from laminate.recipes.network import VitConfig, find_teacher, patch_teacher
from laminate.recipes.training import Schedule
from laminate.runs.model_card import Card, card_text
from laminate.runs.pretrained import FORMAT, load_pretrained
from laminate.train.export import fill, named_weights, save_weights

VIT = VitConfig(dim=12, depth=2, heads=3, hidden=10, positions="sincos")
RECIPE = FlatDinoRecipe(
    name="tiny",
    teacher=patch_teacher(12, 4),
    tokens=5,
    encoder=VIT,
    decoder=dataclasses.replace(VIT, positions="learned", dim=8, heads=2),
    bottleneck=FsqBottleneck((5, 4, 3), nested_dropout=True),
    schedule=Schedule(unit="steps", length=6, warmup=2, decay=2, validate_every=3),
)
CARD = Card(
    title="A tiny tokenizer",
    licence="CC0-1.0",
    data="ten photographs | cropped",
    data_licence="public domain",
    metrics={"val/r2": 0.25},
    command="python experiments/fsq.py",
)

# Every file that was ever shared has these names: a change needs an entry in `train.export.RENAMED`.
LAYER = (
    *(f"attention.{part}.{kind}" for part in ("out", "qkv") for kind in ("bias", "weight")),
    *("attention.k_norm.scale", "attention.q_norm.scale", "attention_norm.bias", "attention_norm.scale"),
    *(f"mlp.{part}.{kind}" for part in ("down", "gate", "up") for kind in ("bias", "weight")),
    *("mlp_norm.bias", "mlp_norm.scale"),
)
GOLDEN_NAMES = {
    *(f"{side}.stack.layers.{name}" for side in ("encoder", "decoder") for name in LAYER),
    *("encoder.input.weight", "encoder.output.weight", "encoder.positions", "encoder.registers"),
    *("encoder.norm.scale", "encoder.norm.bias", "decoder.norm.scale", "decoder.norm.bias"),
    *("decoder.output.weight", "decoder.positions", "decoder.registers"),
    *("nested.projection.weight", "nested.mask_token", "normalization.mean", "normalization.std"),
}


@pytest.fixture(scope="module")
def model():
    """A tokenizer of random numbers, statistics included."""
    shapes = eqx.filter_eval_shape(flatdino, RECIPE, key=jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory) -> Path:
    return Path(
        laminate.save_pretrained(model, tmp_path_factory.mktemp("saved") / "x", recipe=RECIPE, card=CARD)
    )


@pytest.fixture
def copy(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def same(left, right) -> bool:
    return jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype and np.array_equal(a, b), left, right))


def edited(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_saved_is_loaded_bit_for_bit_with_its_statistics_and_recipe(model, saved):
    loaded = load_pretrained(saved)
    assert same(loaded.model, model)
    assert loaded.recipe == RECIPE
    assert loaded.config["metrics"] == {"val/r2": 0.25}
    assert not same(loaded.model.normalization, flatdino_of(RECIPE).normalization)


def flatdino_of(recipe: FlatDinoRecipe):
    shapes = eqx.filter_eval_shape(flatdino, recipe, key=jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), shapes)


def test_the_names_in_shared_files_are_the_ones_they_always_were(model, saved):
    assert set(load_file(saved / "model.safetensors")) == GOLDEN_NAMES
    assert list(named_weights(model).values()) == jax.tree.leaves(model)


def test_equal_weights_are_equal_files(model, saved, tmp_path):
    laminate.save_pretrained(model, tmp_path / "again", recipe=RECIPE, card=CARD)
    for name in ("model.safetensors", "config.json", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()
    assert {path.name for path in saved.iterdir()} == {"model.safetensors", "config.json", "README.md"}


def test_a_file_with_names_of_an_older_version_is_loaded(model, copy):
    path = copy / "model.safetensors"
    new = load_file(path)
    old = {re.sub(r"(mean|std|encoder\.positions)$", r"\1.value", name): array for name, array in new.items()}
    assert {"normalization.mean.value", "encoder.positions.value", "decoder.positions"} <= old.keys()
    save_file(old, path)
    edited(copy / "config.json", weights={})
    assert same(laminate.from_pretrained(copy).model, model)
    moved = {name.replace("encoder.", "reader."): array for name, array in new.items()}
    assert same(fill(model, moved, "x", renamed=((r"reader\.(.+)", r"encoder.\1"),)), model)


def test_a_rename_that_would_hide_another_array_is_refused(model):
    new = {name: np.asarray(array) for name, array in named_weights(model).items()}
    with pytest.raises(ValueError, match=r"normalization\.mean\.value is unexpected"):
        fill(model, {**new, "normalization.mean.value": new["normalization.mean"]}, "x")


def test_a_run_folder_and_a_text_path_load_as_well(model, saved, tmp_path, monkeypatch):
    shutil.copytree(saved, tmp_path / "run" / "tokenizer")
    assert same(laminate.from_pretrained(tmp_path / "run").model, model)
    monkeypatch.chdir(tmp_path)
    assert same(laminate.from_pretrained("run").model, model)


def test_a_loaded_model_does_not_change_with_the_file(model, copy):
    loaded = laminate.from_pretrained(copy).model
    size = (copy / "model.safetensors").stat().st_size
    with open(copy / "model.safetensors", "rb+") as file:
        file.write(b"\0" * size)
    assert same(loaded, model)


def test_the_card_says_what_it_is_how_to_use_it_and_whose_licences_apply(saved):
    text = (saved / "README.md").read_text()
    for part in (
        "library_name: laminate\n",
        "license: cc0-1.0\n",
        "# A tiny tokenizer\n",
        "laminate.from_pretrained(",
        "features [9, 48], latents [5, 3]",
        "| val/r2 | 0.25 |",
        "Data: ten photographs | cropped.",
        "| these weights | CC0-1.0 |",
        "| teacher `patches` | none: it has no weights |",
        "| training data | public domain |",
        "python experiments/fsq.py",
    ):
        assert part in text, part


def test_a_card_without_facts_says_so_and_names_the_licence_of_the_teacher():
    recipe = dataclasses.replace(RECIPE, teacher=find_teacher("dinov2-b"))
    text = card_text(recipe, Card(licence="see the\nauthors"))
    assert "Nothing was measured." in text and "license: other\n" in text
    assert "base_model: facebook/dinov2-with-registers-base\n" in text
    assert "| teacher `dinov2-b` | Apache-2.0 (Meta AI, DINOv2" in text
    assert "| training data | not stated by whoever saved these weights |" in text
    with pytest.raises(ValueError, match=r"val/r2 is nan; leave out what could not be measured"):
        Card(metrics={"val/r2": float("nan")})


def test_a_model_of_another_recipe_or_of_no_numbers_is_not_saved(model, tmp_path):
    other = dataclasses.replace(RECIPE, tokens=6)
    with pytest.raises(
        ValueError, match=r"recipe 'tiny' does not fit this module: .*encoder\.registers is float32"
    ):
        laminate.save_pretrained(model, tmp_path / "x", recipe=other)
    broken = eqx.tree_at(lambda m: m.encoder.norm.scale, model, jnp.full((12,), jnp.nan))
    with pytest.raises(
        ValueError, match=r"is not saved: 1 tensor with NaN or infinity \(encoder\.norm\.scale\)"
    ):
        laminate.save_pretrained(broken, tmp_path / "x", recipe=RECIPE)
    assert not (tmp_path / "x").exists()


def test_a_folder_that_cannot_be_written_is_refused(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        OSError, match=r"cannot be saved in .*/file/x: Not a directory\. Choose another folder"
    ):
        laminate.save_pretrained(model, tmp_path / "file" / "x", recipe=RECIPE)


def test_a_save_that_is_interrupted_is_refused_and_leaves_no_half_file(model, copy, monkeypatch):
    """New weights beside the old config: the hash in the config is that of the old ones."""

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("laminate.runs.pretrained.write_atomically", full)
        with pytest.raises(
            OSError, match=r"No space left on device: is the disk full.*Choose another folder, or make room"
        ):
            laminate.save_pretrained(jax.tree.map(jnp.ones_like, model), copy, recipe=RECIPE)
    assert {path.name for path in copy.iterdir()} == {"model.safetensors", "config.json", "README.md"}
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged, or another file: its SHA-256"):
        laminate.from_pretrained(copy)
    laminate.save_pretrained(model, copy, recipe=RECIPE)
    assert same(laminate.from_pretrained(copy).model, model)


def test_a_write_that_fails_leaves_the_old_weights(model, copy, monkeypatch):
    before = (copy / "model.safetensors").read_bytes()

    def half(arrays, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", half)
    with pytest.raises(OSError, match="No space left"):
        save_weights(copy / "model.safetensors", model, metadata={})
    assert (copy / "model.safetensors").read_bytes() == before
    assert {path.name for path in copy.iterdir()} == {"model.safetensors", "config.json", "README.md"}


BAD = {
    "no config": (
        lambda f: (f / "config.json").unlink(),
        "holds weights, and no config.json of laminate .* They look",
    ),
    "another's config": (
        lambda f: (f / "config.json").write_text('{"model_type": "dinov2"}'),
        "no config.json of laminate that says how to build their model. They look like a FlatDINO tokenizer",
    ),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), r"config\.json is damaged: it is not JSON"),
    "a later format": (
        lambda f: edited(f / "config.json", laminate={"format": FORMAT + 1, "version": "9.1"}),
        r"is of format 2 \(laminate 9\.1\), and this is laminate .*install a newer one",
    ),
    "a broken recipe": (
        lambda f: edited(f / "config.json", recipe={"family": "flatdino"}),
        "The recipe misses name",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "holds no weights"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_folder_that_is_not_whole_is_refused(copy, case):
    damage, expected = BAD[case]
    damage(copy)
    with pytest.raises((ValueError, OSError), match=expected) as caught:
        laminate.from_pretrained(copy)
    assert "\n" not in str(caught.value)


def test_weights_of_another_size_or_type_are_refused_by_name(copy):
    config = json.loads((copy / "config.json").read_text())
    weights = load_file(copy / "model.safetensors")
    del weights["encoder.norm.bias"]
    weights["encoder.norm.scale"] = weights["encoder.norm.scale"].astype(np.float16)
    weights["decoder.registers"] = weights["decoder.registers"][:3]
    save_file(weights, copy / "model.safetensors")
    edited(copy / "config.json", weights={"file": config["weights"]["file"]})
    with pytest.raises(
        ValueError, match=r"does not fit this module: decoder\.registers is float32\(3, 8\)"
    ) as e:
        laminate.from_pretrained(copy)
    assert "encoder.norm.scale is float16(12,), expected float32(12,)" in str(e.value)
    assert "encoder.norm.bias is missing" in str(e.value)


def test_a_file_alone_is_loaded_into_the_structure_of_a_module(model, tmp_path):
    save_weights(tmp_path / "x.safetensors", model, metadata={"title": "a", "command": "b"})
    assert same(fill(model, load_file(tmp_path / "x.safetensors"), "x"), model)


def test_importing_the_package_imports_no_jax_and_knows_what_it_exports():
    code = (
        "import sys, laminate; assert set(laminate.__all__) <= set(dir(laminate)); "
        "assert 'jax' not in sys.modules; laminate.from_pretrained; assert 'jax' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="has no attribute 'from_trained'"):
        laminate.from_trained  # noqa: B018
