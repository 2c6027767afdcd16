"""The command lines: flags to recipe, `explain`, and what they import."""

import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from laminate.recipes.__main__ import main
from laminate.recipes.families import find_family, other_families, to_json
from laminate.recipes.flatdino.family import FSQ, VAE
from laminate.recipes.flatdino.flags import FlatDinoFlags
from laminate.recipes.flatdino.presets import embedded_vae, photographs_vae
from laminate.recipes.network import patch_teacher
from laminate.recipes.resolve import resolve_recipe, run_folder


def resolve(*argv):
    flags = tyro.cli(FlatDinoFlags, args=list(argv))
    return resolve_recipe(flags, VAE)


def test_without_flags_the_embedded_recipe_is_trained():
    assert resolve() == embedded_vae()
    assert run_folder(FlatDinoFlags(), embedded_vae()) == "runs/embedded-vae"


def test_a_flag_that_changes_the_recipe_changes_the_resolved_recipe():
    recipe = resolve("--steps", "60", "--global-batch-size", "32", "--teacher", "patches-32-4")
    assert recipe.schedule.length == 60
    assert recipe.schedule.unit == "steps"
    assert recipe.global_batch_size == 32
    assert recipe.teacher == patch_teacher(32, 4)
    assert recipe.augment.image_size == 32


def test_flags_that_say_where_leave_the_recipe_alone():
    argv = ["--mesh", "4x8", "--seed", "3", "--precision", "bfloat16", "--device-batch-size", "2", "--fresh"]
    assert resolve() == resolve(*argv)


def test_a_recipe_file_starts_the_same_training(tmp_path):
    recipe = resolve("--experiment", "fast-32-tt-16-er2", "--steps", "70")
    (tmp_path / "recipe.json").write_text(to_json(recipe))
    assert resolve("--recipe", str(tmp_path)) == recipe
    assert resolve("--recipe", str(tmp_path / "recipe.json")) == recipe


def test_a_missing_or_broken_recipe_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no recipe at .*recipe\.json"):
        resolve("--recipe", str(tmp_path))
    (tmp_path / "recipe.json").write_text('{"family": "flatdino"}')
    with pytest.raises(ValueError, match=r"recipe\.json: The recipe misses name"):
        resolve("--recipe", str(tmp_path))


def test_the_released_variant_gets_its_own_folder():
    flags = FlatDinoFlags(experiment="fast-32-tt-16", variant="released")
    recipe = resolve_recipe(flags, VAE)
    assert recipe.reconstruction == "huber"
    assert run_folder(flags, recipe) == "runs/fast-32-tt-16-released"
    assert run_folder(FlatDinoFlags(run_dir="gs://bucket/x"), recipe) == "gs://bucket/x"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FlatDinoFlags(steps=0), "--steps must be at least 1, got 0"),
        (lambda: FlatDinoFlags(device_batch_size=0), "--device-batch-size must be at least 1"),
        (lambda: FlatDinoFlags(keep=0), "--keep must be at least 1"),
        (lambda: FlatDinoFlags(max_bad_images=-1), "--max-bad-images must be at least 0"),
        (lambda: FlatDinoFlags(profile=(5, 5)), "--profile STOP must be greater than 5"),
        (lambda: FlatDinoFlags(fresh=True, restore="runs/x"), "--fresh starts over"),
        (lambda: FlatDinoFlags(experiment="fast-32", recipe=Path("x.json")), "not both"),
    ],
)
def test_flags_that_contradict_or_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_wrong_flag_ends_with_code_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        tyro.cli(FlatDinoFlags, args=["--precision", "float16"])
    assert stopped.value.code == 2
    assert "bfloat16" in capsys.readouterr().err


def explain(monkeypatch, capsys, *argv):
    monkeypatch.setattr(sys, "argv", ["laminate.recipes", *argv])
    monkeypatch.setenv("COLUMNS", "200")
    main()
    return capsys.readouterr().out


def test_explain_shows_meaning_values_cost_and_canonical_name(monkeypatch, capsys):
    text = explain(monkeypatch, capsys, "explain", "long-32-bl-128-an5k-25kl7")
    for part in (
        "25kl7",
        "2.5e-07",
        "5000 steps",
        "85,291,008 parameters",
        "25.99 GFLOPs",
        "48.0x",
        "375,341",
    ):
        assert part in text
    assert "Canonical name: long-32-bl-128-25kl7-an5k" in text


def test_explain_reads_fsq_names_and_says_when_a_name_is_of_both_families(monkeypatch, capsys):
    assert "1,000 codes" in explain(monkeypatch, capsys, "explain", "fast-32-bb-L8555-nd")
    assert "add --family fsq" in explain(monkeypatch, capsys, "explain", "fast-32-bb-8555")
    assert "1,000 codes" in explain(monkeypatch, capsys, "explain", "fast-32-bb-8555", "--family", "fsq")


@pytest.mark.parametrize("name", ["baseline", "fast-32-bb-8555"])
def test_names_of_both_families_are_known_as_such(name):
    assert find_family(name) is VAE
    assert other_families(name, VAE) == (FSQ,)


def test_explain_can_write_the_recipe_itself(monkeypatch, capsys):
    text = explain(monkeypatch, capsys, "explain", "embedded-16-128", "--json")
    assert text == to_json(photographs_vae())


def test_list_names_every_option_and_fixed_name(monkeypatch, capsys):
    text = explain(monkeypatch, capsys, "list")
    for part in ("-[M]klN", "-nd", "embedded-vae", "embedded-fsq", "150 epochs"):
        assert part in text


def test_explaining_an_unknown_name_costs_one_line_and_code_2(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        explain(monkeypatch, capsys, "explain", "quick-32-sb-128")
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "there is no variant 'quick'" in error


def test_the_command_line_never_imports_jax():
    code = (
        "import sys, laminate.recipes.flags, laminate.recipes.__main__, laminate.recipes.flatdino.presets\n"
        "sys.exit(sum(name == 'jax' or name.startswith('jax.') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_goes_on_with_its_own_recipe_unless_another_one_is_named(tmp_path):
    (tmp_path / "recipe.json").write_text(to_json(photographs_vae()))
    assert resolve("--run-dir", str(tmp_path)) == photographs_vae()
    assert resolve("--run-dir", str(tmp_path), "--steps", "60").schedule.length == 60
    assert resolve("--run-dir", str(tmp_path), "--experiment", "embedded-vae") == embedded_vae()
    assert resolve("--run-dir", str(tmp_path), "--fresh") == embedded_vae()
    assert resolve("--run-dir", str(tmp_path / "new")) == embedded_vae()
