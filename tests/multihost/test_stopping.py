"""A training of two hosts that is killed in a save, terminated and resumed ends as if nothing had happened."""

import signal

from tests.experiments.jobs import fingerprints, metrics
from tests.multihost.pod import ENDING

LONG = ("--steps", "32", "--checkpoint-every", "8", "--validate-every", "8", "--log-every", "4")


def test_killed_in_a_save_then_terminated_then_resumed_equals_never_stopped_bit_for_bit(train, job):
    whole, cut = job.folder / "whole", job.run
    # One process: the sum over two devices has one order, so the bits have to be the same.
    job.main(*LONG, "--mesh", "2", run=whole)

    with train(2, *LONG, "--mesh", "2", faults={1: "dies in its second save"}) as pod:
        pod.until_said("step 12/32")
        first, killed = pod.wait()
    assert killed.code == -signal.SIGKILL and first.code != 0
    assert first.at - killed.at < ENDING
    assert "host 0 of 2 ends: host 1 (" in first.said
    left = {path.name for path in (cut / "checkpoints").iterdir()}
    assert "8" in left and left != {"8"}  # something of step 16 is there
    assert not (cut / "checkpoints" / "16" / "manifest.json").exists()

    with train(2, *LONG, "--mesh", "2") as pod:
        pod.until_said("step 16/32")
        pod.processes[1].send_signal(signal.SIGTERM)
        first, asked = pod.wait()
    assert (first.code, asked.code) == (0, 0), first.said + asked.said
    assert "resumed at step 8" in first.said
    assert "stopped by SIGTERM on host 1 (" in first.last and "which is saved; the same command" in first.last
    assert "step" not in asked.said
    steps = sorted(int(path.name) for path in (cut / "checkpoints").iterdir())  # nothing else is left
    assert f"after step {steps[-1]}, which is saved" in first.last

    with train(2, *LONG, "--mesh", "2") as pod:
        first, second = pod.wait()
    assert (first.code, second.code) == (0, 0), first.said + second.said
    assert f"resumed at step {steps[-1]}" in first.said
    assert (
        f"report: {cut}/report.html (with ablation.png, curves.png, reconstructions.png, training.png)\n"
        in first.said
    )
    assert first.last.startswith("or: python ") and "roundtrip.py IMAGE --tokenizer" in first.last
    assert "step" not in second.said
    assert fingerprints(cut, 32) == fingerprints(whole, 32)
    assert [line["step"] for line in metrics(cut) if "train/loss" in line] == [4, 8, 12, 16, 20, 24, 28, 32]
    assert job.losses(cut) == job.losses(whole)
