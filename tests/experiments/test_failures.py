"""A training that fails says why in one line, names what is saved and leaves with code 1."""

import dataclasses
import os
import shutil

import pytest

from laminate.data.sources import open_records
from laminate.runs import training as launch
from tests.experiments.jobs import TINY, Job

ENDLESS = dataclasses.replace(
    TINY,
    schedule=dataclasses.replace(TINY.schedule, warmup=3, decay=0, start=1e-5, peak=1e30),
    optimizer=dataclasses.replace(TINY.optimizer, clip_norm=None),
)


def failing(job: Job, capsys, *arguments, recipe=TINY) -> str:
    with pytest.raises(SystemExit) as caught:
        job.main(*arguments, recipe=recipe)
    assert caught.value.code == 1
    return capsys.readouterr().err.splitlines()[-1]


def test_a_diverging_loss_stops_and_names_the_last_good_checkpoint(job, capsys):
    line = failing(job, capsys, "--checkpoint-every", "2", recipe=ENDLESS)
    assert line.startswith("vae.py: ") and "not finite at step" in line
    assert f"The last good checkpoint is {job.run}/checkpoints/2." in line


def test_a_corrupt_image_is_reported_by_its_key_and_skipped_until_there_are_too_many(job, capsys, caplog):
    data = job.folder / "data"
    shutil.copytree(job.photos, data)
    held_out = {open_records(str(data), "validation")[i].key for i in range(2)}
    files = [path for path in sorted(data.rglob("*.jpg")) if str(path.relative_to(data)) not in held_out]
    for path in files[1:4]:
        path.write_bytes(path.read_bytes()[:-200])
    job.main("--data", str(data), "--stop-after", "6", "--steps", "7")
    assert list(job.losses()) == [1, 2, 3, 4, 5, 6]
    for path in files[1:4]:
        assert sum(f"bad image {path.relative_to(data)} in" in message for message in caplog.messages) == 1
    line = failing(job, capsys, "--data", str(data), "--max-bad-images", "2", "--fresh")
    assert line.startswith(f"vae.py: 3 images of folder {data}")
    assert "cannot be read" in line and "2 are allowed" in line and ".jpg" in line


def test_a_disk_that_fills_up_saves_the_step_says_so_in_one_line_and_the_same_command_goes_on(
    job, capsys, monkeypatch
):
    job.main()
    whole = job.losses()
    shutil.rmtree(job.run)
    write, written = os.write, []

    def full(descriptor, data):
        if len(written) >= 3:
            raise OSError(28, "No space left on device")
        written.append(data)
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr("laminate.train.run_folder.os.write", full)
        line = failing(job, capsys)
    assert "metrics.jsonl cannot be written: No space left on device" in line
    assert f"The last good checkpoint is {job.run}/checkpoints/" in line
    job.main()
    assert job.losses().items() <= whole.items()  # only the line for which there was no room is missing
    assert len(whole) - len(job.losses()) <= 2 and max(job.losses()) == max(whole)


@pytest.mark.parametrize("flag", ["--wandb", "--tensorboard"])
def test_a_tracker_that_cannot_be_started_is_one_line_and_exit_code_2(job, capsys, monkeypatch, flag):
    class Unusable:
        def __init__(self, *_, **__):
            raise RuntimeError("api_key not configured (no-tty).\nCall wandb.login")

    monkeypatch.setattr(launch, "Wandb", Unusable)
    monkeypatch.setattr(launch, "TensorBoard", Unusable)
    monkeypatch.setattr("laminate.runs.setup.require_packages", lambda **_: None)
    with pytest.raises(SystemExit) as caught:
        job.main(flag)
    line = capsys.readouterr().err.splitlines()[-1]
    assert caught.value.code == 2 and "api_key not configured" in line and f"leave {flag} out" in line


def test_an_unexpected_fault_keeps_its_traceback(job, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("a fault of the program")

    monkeypatch.setattr(launch, "fit", broken)
    with pytest.raises(ZeroDivisionError):
        job.main()
