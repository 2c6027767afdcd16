"""A checkpoint of four processes goes on, on two and on one, with another mesh, at the same image."""

import shutil
import signal
import time

import pytest

from tests.experiments.jobs import fingerprints, metrics
from tests.multihost.pod import ENDING


def test_four_hosts_asked_to_stop_in_a_validation_save_what_goes_on_on_two_and_on_one(train, job):
    whole = job.folder / "whole"
    job.main("--mesh", "2x2", "--stop-after", "5", run=whole)

    endless = dict.fromkeys(range(4), "validates for ever")
    with train(4, "--mesh", "2x2", "--validate-every", "3", faults=endless) as pod:
        pod.until_said("step 3/6")
        time.sleep(1.0)
        pod.processes[2].send_signal(signal.SIGTERM)
        ended = pod.wait(seconds=2 * ENDING)
        for host in ended:
            assert host.code == 0, host.said
        assert "stopped by SIGTERM on host 2 (" in ended[0].last and "step 3, which is saved" in ended[0].last
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
