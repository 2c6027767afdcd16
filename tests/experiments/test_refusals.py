"""What cannot be trained is refused in one clear sentence, before anything is written."""

import dataclasses
import os
import shutil
import subprocess
import sys

import huggingface_hub
import pytest

from laminate.recipes.families import to_json
from laminate.recipes.flatdino.presets import photographs_fsq
from laminate.recipes.modules import feature_decoder
from laminate.recipes.network import find_teacher
from laminate.runs.setup import setup
from tests.experiments.jobs import TINY, one_line, tree


def written(job):
    """All files of a job but the lock, into which a process that looks at a run writes its number."""
    return {name: facts for name, facts in tree(job.folder).items() if name != "run/lock"}


@pytest.fixture
def refused(job):
    """The message with which opening a run is refused; it leaves nothing behind."""

    def message(*arguments, recipe=TINY):
        flags, resolved = job.command(*arguments, recipe=recipe)
        before = written(job)
        with pytest.raises((ValueError, OSError)) as caught:
            setup(flags, resolved, beside=lambda recipe: feature_decoder(recipe.teacher, flags.pixel_decoder))
        assert written(job) == before
        assert not job.run.exists() or "run/recipe.json" in before
        return str(caught.value)

    return message


@pytest.fixture
def bad_command(job, capsys):
    """What the command line of an experiment says before it leaves with code 2."""

    def message(*arguments):
        with pytest.raises(SystemExit) as caught:
            job.command(*arguments)
        assert caught.value.code == 2
        return " ".join(capsys.readouterr().err.split())  # the parser folds its own lines

    return message


# The command line


def test_an_unknown_experiment_is_refused_at_once_with_the_nearest_names(job):
    process = job.process("--experiment", "fast-32-tt-16x")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert one_line(said).startswith("vae.py: Unknown VAE experiment 'fast-32-tt-16x'")
    assert "Did you mean fast-32-tt-16" in said
    assert list(job.folder.iterdir()) == []


def test_an_experiment_that_is_refused_by_its_name_never_imports_jax():
    code = (
        "import sys; from laminate.cli.command import training_command; "
        "from laminate.recipes.flatdino.family import VAE\n"
        "try: training_command('', VAE, arguments=['--experiment', 'x'])\n"
        "except SystemExit: print('jax' in sys.modules, 'grain' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False False\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--experiment", "long-32-bl-128"], "Give --experiment or --recipe, not both"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--stop-after", "0"], "--stop-after must be at least 1"),
        (["--steps", "many"], "Error parsing --steps"),
        (["--stepz", "3"], "Perhaps you meant: --steps"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--fresh", "--restore", "runs/other"], "--fresh starts over, so it cannot stand beside --restore"),
        (
            ["--teacher", "clip"],
            "Unknown teacher 'clip'. Known: embedded, patches, patches-IMAGE-PATCH, dinov2-s",
        ),
        (["--teacher", "patches-30-4"], "The patch size must divide the image size, got 4 and 30"),
    ],
)
def test_flags_that_mean_nothing_are_refused(bad_command, arguments, expected):
    assert expected in bad_command(*arguments)


def test_a_recipe_that_is_missing_or_of_the_other_experiment_is_refused(job, tmp_path, bad_command):
    assert "There is no recipe at" in bad_command("--recipe", str(tmp_path / "absent.json"))
    (tmp_path / "fsq.json").write_text(to_json(photographs_fsq()))
    message = bad_command("--recipe", str(tmp_path / "fsq.json"))
    assert "is of another experiment than vae.py: experiments/fsq.py trains it" in message


# Devices


def test_a_mesh_that_does_not_fit_is_refused_and_nothing_is_started(job):
    process = job.process(*job.arguments("--mesh", "3"))
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2
    assert one_line(said) == (
        "vae.py: A global batch of 8 cannot be cut over 3 devices: the nearest sizes that can are 6, 9."
    )
    assert not job.run.exists()


@pytest.mark.parametrize("mesh", ["4x", "0", "x4", "2x2x2x2", "four"])
def test_a_malformed_mesh_is_refused_with_the_forms(refused, mesh):
    assert f"--mesh '{mesh}' is no mesh: write 'auto', '8' (data), '4x8'" in refused("--mesh", mesh)


def test_a_mesh_of_more_devices_than_there_are_is_refused_with_those_that_fit(refused):
    message = refused("--mesh", "4x16", "--global-batch-size", "64")
    assert message == (
        "--mesh 4x16 needs 64 devices and there are 8. Meshes of 8 devices near it: 1x8, 2x4, 4x2."
    )


def test_a_share_that_cannot_be_cut_into_parts_is_refused_with_the_nearest(refused):
    message = refused("--mesh", "2", "--device-batch-size", "3")
    assert "A device's share of 4 examples cannot be cut into micro-batches of 3" in message
    assert "device batch of 2, 4, 1" in message


# Data


def test_data_that_are_not_there_are_refused(refused, tmp_path):
    assert "no data at '/nowhere/at/all': expected 'embedded'" in refused("--data", "/nowhere/at/all")
    (tmp_path / "empty").mkdir()
    assert f"no image in {tmp_path / 'empty'}" in refused("--data", str(tmp_path / "empty"))
    assert "x.tar" in refused("--data", str(tmp_path / "x.tar"))


@pytest.fixture(scope="module")
def prepared(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "out"
    done = subprocess.run(
        [sys.executable, "-m", "laminate.data", "prepare", str(photos), str(out)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda file: file.unlink(), "is missing: copy it again"),
        (lambda file: file.write_bytes(b""), "is empty"),
        (lambda file: os.truncate(file, file.stat().st_size // 2), "truncated"),
        (lambda file: file.write_bytes(b"\0" * file.stat().st_size), "no ArrayRecord file"),
    ],
    ids=["missing", "empty", "truncated", "foreign"],
)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_damaged_record_file_is_refused_by_name(refused, prepared, tmp_path, damage, expected, split):
    shutil.copytree(prepared, tmp_path / "data")
    (file,) = (tmp_path / "data").glob(f"*{split}*array*")
    damage(file)
    message = refused("--data", str(tmp_path / "data"))
    assert file.name in message and expected in message


def test_images_that_are_none_are_refused_with_a_key_and_the_reason(refused, tmp_path):
    (tmp_path / "data").mkdir()
    for number in range(40):
        (tmp_path / "data" / f"{number:02}.jpg").write_bytes(b"these are words, and no picture")
    message = refused("--data", str(tmp_path / "data"), "--max-bad-images", "3")
    assert "the first 4 records are no images that can be read" in message
    assert ".jpg: no readable image in these 31 bytes" in message


def test_a_batch_larger_than_an_epoch_of_epochs_is_refused(refused):
    epochs = dataclasses.replace(TINY.schedule, unit="epochs")
    message = refused("--global-batch-size", "64", recipe=dataclasses.replace(TINY, schedule=epochs))
    assert "An epoch of 22 images is shorter than one global batch of 64" in message


def test_a_folder_without_classes_trains_a_tokenizer(job, photos):
    for number, path in enumerate(sorted(photos.rglob("*.*"))):
        (job.folder / "flat").mkdir(exist_ok=True)
        shutil.copy(path, job.folder / "flat" / f"{number}{path.suffix}")
    with setup(*job.command("--data", str(job.folder / "flat"))).folder as folder:
        assert folder.recipe_path.exists()


# Teacher, trackers, run folder


def test_a_teacher_whose_weights_are_not_here_and_cannot_be_fetched_is_refused(job, capsys, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(job.folder / "cache"))
    recipe = dataclasses.replace(TINY, teacher=find_teacher("dinov2-b"))
    with pytest.raises(SystemExit) as caught:
        job.main(recipe=recipe)
    assert caught.value.code == 2
    said = one_line(capsys.readouterr().err)
    assert (
        said.startswith("vae.py: ")
        and "facebook/dinov2-with-registers-base" in said
        and "HF_HUB_OFFLINE" in said
    )
    assert not job.run.exists()


def test_a_pixel_decoder_that_shows_nothing_is_refused(refused, job):
    assert "the features of `patches` are pixels already" in refused("--pixel-decoder", str(job.folder))


@pytest.mark.parametrize(
    ("flag", "package", "extra"),
    [("--tensorboard", "tensorboardX", "tensorboard"), ("--wandb", "wandb", "wandb")],
)
def test_a_tracker_that_is_not_installed_is_refused_with_its_extra(
    refused, monkeypatch, flag, package, extra
):
    monkeypatch.setitem(sys.modules, package, None)
    message = refused(flag)
    assert f"the package {package} is not installed" in message
    assert f"pip install -e '.[{extra}]'" in message


def test_a_run_folder_that_cannot_be_written_is_refused(job):
    (job.folder / "file").write_text("")
    flags, recipe = job.command(run=job.folder / "file" / "run")
    with pytest.raises(OSError, match=r"cannot write to the run folder .*/file/run: .*choose another folder"):
        setup(flags, recipe)


@pytest.fixture
def opened(job):
    """A run folder that holds a run, which nobody trains any more."""
    run = setup(*job.command())
    run.folder.close()
    return run


def test_a_run_folder_of_another_recipe_is_refused_with_what_differs(opened, refused):
    message = refused("--steps", "12")
    assert (
        "run holds a run of another recipe: schedule.decay: 2 (saved), 4 (now); schedule.length: 6" in message
    )
    assert "start over with --fresh" in message
    assert "run.seed: 0 (saved), 7 (now)" in refused("--seed", "7")
    assert "tokens: 3 (saved), 5 (now)" in refused(recipe=dataclasses.replace(TINY, tokens=5))
    assert "run.data:" in refused("--data", "embedded")


def test_a_run_goes_on_under_another_name_of_its_recipe(opened, job, refused):
    renamed = dataclasses.replace(TINY, name="renamed")
    run = setup(job.command()[0], renamed)
    run.folder.close()
    assert "name: " in refused(recipe=dataclasses.replace(renamed, tokens=5))


def test_a_run_folder_in_which_another_process_trains_is_refused(job):
    with setup(*job.command()).folder, pytest.raises(OSError, match=f"process {os.getpid()} trains in"):
        setup(*job.command())


def test_nothing_to_resume_from_is_refused(refused, tmp_path):
    assert "--resume required: there is no checkpoint to resume from" in refused("--resume", "required")
    message = refused("--restore", str(tmp_path / "other"))
    assert message == (
        f"--restore {tmp_path}/other: there is no such checkpoint; there is none in {tmp_path}/other/checkpoints."
    )
