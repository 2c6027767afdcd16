"""A training that is stopped, killed or resumed ends as if nothing had happened."""

import os
import signal

import pytest

from laminate.runs.setup import Run
from laminate.train.progress import Progress
from tests.experiments.jobs import fingerprints, metrics, wait_for

LONG = ("--steps", "40", "--checkpoint-every", "10", "--validate-every", "10", "--log-every", "5")


def test_killed_and_terminated_and_resumed_equals_never_stopped_bit_for_bit(job, capsys):
    whole, cut = job.folder / "whole", job.folder / "cut"
    job.main(*LONG, run=whole)
    assert f"report: {whole}/report.html" in capsys.readouterr().err

    killed = job.process(*job.arguments(*LONG, run=cut))
    wait_for(cut / "checkpoints" / "10" / "manifest.json", killed)
    killed.kill()
    killed.communicate(timeout=30)
    assert killed.returncode == -signal.SIGKILL

    terminated = job.process(*job.arguments(*LONG, run=cut))
    next(line for line in terminated.stderr if line.startswith("step 20/40"))
    terminated.send_signal(signal.SIGTERM)
    _, said = terminated.communicate(timeout=30)
    assert terminated.returncode == 0, said
    assert "stopped by SIGTERM after step" in said.splitlines()[-1]

    resumed = job.process(*job.arguments(*LONG, run=cut))
    _, said = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, said
    assert fingerprints(cut, 40) == fingerprints(whole, 40)
    assert "row" in fingerprints(cut, 40)
    steps = [line["step"] for line in metrics(cut) if "train/loss" in line]
    assert steps == [5, 10, 15, 20, 25, 30, 35, 40]
    assert job.losses(cut) == job.losses(whole)


def stop_at(monkeypatch, number: int, step: int) -> None:
    """Let this process receive the signal `number` at the first log of `step` or later."""
    log, sent = Progress.log, []

    def log_and_send(self, done, values, *, seconds):
        log(self, done, values, seconds=seconds)
        if done >= step and not sent:
            sent.append(done)
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Progress, "log", log_and_send)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_says_how_to_go_on_and_the_next_run_goes_on(job, monkeypatch, capsys, number):
    monkeypatch.setattr("sys.argv", ["experiments/vae.py", "--seed", "0", "--fresh", "--stop-after", "5"])
    with monkeypatch.context() as patch:
        stop_at(patch, number, 2)
        job.main("--fresh")
    said = capsys.readouterr().err.splitlines()[-1]
    step = max(int(path.name) for path in (job.run / "checkpoints").iterdir())
    assert said == (
        f"stopped by {number.name} after step {step}, which is saved; the same command goes on: "
        "python experiments/vae.py --seed 0"
    )
    assert not (job.run / "report.html").exists()
    job.main("--stop-after", "5")
    assert f"resumed at step {step}" in capsys.readouterr().err
    assert list(job.losses()) == [1, 2, 3, 4, 5]


def test_a_signal_during_the_last_validation_saves_and_the_next_run_validates(job, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        batches = Run.evaluation_batches

        def terminated(self, records, view=None):
            os.kill(os.getpid(), signal.SIGTERM)
            return batches(self, records, view)

        patch.setattr(Run, "evaluation_batches", terminated)
        job.main("--validate-every", "6")
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("stopped by SIGTERM after step 6, which is saved"), said
    assert [line for line in metrics(job.run) if "val/r2" in line] == []
    job.main()
    assert "complete: all 6 steps" in capsys.readouterr().err
    assert [line["step"] for line in metrics(job.run) if "val/r2" in line] == [6]
    assert (job.run / "report.html").exists()


def test_a_run_can_be_restored_into_a_longer_one_and_not_into_a_shorter(job, capsys):
    job.main("--stop-after", "3")
    longer = job.folder / "longer"
    job.main("--restore", str(job.run), "--steps", "12", "--stop-after", "4", run=longer)
    assert "resumed at step 3" in capsys.readouterr().err
    assert list(job.losses(longer)) == [4]
    for arguments, expected in (
        (("--steps", "3"), "its step 3 is not before the end of this run of 3 steps"),
        (("--seed", "1"), "the stored data position belongs to another order of examples: seed was '0'"),
    ):
        with pytest.raises(SystemExit) as caught:
            job.main("--restore", str(job.run), *arguments, run=job.folder / "other")
        assert caught.value.code == 2
        assert expected in capsys.readouterr().err
        assert not (job.folder / "other").exists()
    with pytest.raises(SystemExit):
        job.main("--restore", str(job.run / "checkpoints" / "2"), run=job.folder / "other")
    assert "there is no such checkpoint; " in capsys.readouterr().err


def test_a_run_without_checkpoints_says_that_nothing_is_saved(job, capsys):
    job.main("--no-checkpoint", "--stop-after", "2")
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("stopped after step 2; without checkpoints nothing is saved")
    assert not (job.run / "checkpoints").exists()
