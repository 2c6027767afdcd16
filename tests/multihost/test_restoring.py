"""A checkpoint of four processes goes on, on two and on one, with another mesh, at the same image."""

import shutil

import pytest

from tests.experiments.jobs import fingerprints, metrics


def test_a_checkpoint_of_four_hosts_goes_on_on_two_and_on_one_and_on_another_mesh(train, job):
    whole = job.folder / "whole"
    job.main("--mesh", "2x2", "--stop-after", "5", run=whole)

    with train(4, "--mesh", "2x2", "--stop-after", "3") as pod:
        for host in pod.wait():
            assert host.code == 0, host.said
    assert [path.name for path in (job.run / "checkpoints").iterdir()] == ["3"]
    assert fingerprints(job.run, 3)["row"] == 24
    by_one = job.folder / "by-one"
    shutil.copytree(job.run, by_one)

    with train(2, "--mesh", "4x1", "--stop-after", "5") as pod:
        first, second = pod.wait()
    assert (first.code, second.code) == (0, 0), first.said + second.said
    assert "resumed at step 3" in first.said

    job.main("--mesh", "1x2", "--stop-after", "5", run=by_one)
    for run in (job.run, by_one):
        assert list(job.losses(run)) == [1, 2, 3, 4, 5]
        # Another batch would have another loss.
        assert job.losses(run) == pytest.approx(job.losses(whole), abs=1e-6)
        assert fingerprints(run, 5)["row"] == 40
    assert len({f"{loss:.3f}" for loss in job.losses(whole).values()}) > 2
    assert [line["train/lr"] for line in metrics(by_one) if "train/lr" in line] == [
        line["train/lr"] for line in metrics(whole) if "train/lr" in line
    ]
