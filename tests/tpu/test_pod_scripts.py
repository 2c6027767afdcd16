"""What can be said of every script without running it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TPU = Path(__file__).parents[2] / "tpu"
SCRIPTS = sorted(TPU.glob("*.sh"))
STAND_IN = Path(__file__).with_name("stand_in_gcloud.sh")
SOURCED = {"gcloud.sh", "workers.sh"}
COMMANDS = ["env.sh", "create.sh", "setup.sh", "launch.sh", "watch.sh", "logs.sh", "delete.sh"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_bash_can_read_it(script):
    assert subprocess.run(["bash", "-n", script], capture_output=True, text=True).stderr == ""


def test_shellcheck_finds_nothing():
    """It comes with the extra `test`: beside this Python, or on PATH."""
    beside = Path(sys.executable).parent
    shellcheck = shutil.which("shellcheck", path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    assert shellcheck, "shellcheck is missing: pip install -e '.[test]'"
    found = subprocess.run(
        [shellcheck, "--external-sources", "--source-path=SCRIPTDIR", *SCRIPTS, STAND_IN],
        capture_output=True,
        text=True,
    )
    assert found.stdout + found.stderr == ""


def test_commands_can_be_called_and_parts_cannot():
    assert {script.name for script in SCRIPTS if os.access(script, os.X_OK)} == {*COMMANDS, "worker.sh"}
    assert {script.name for script in SCRIPTS} == {*COMMANDS, "worker.sh", *SOURCED}


@pytest.mark.parametrize("script", COMMANDS)
def test_help_is_the_comment_at_its_top(cloud, script):
    told = cloud.run(f"{script} --help")
    assert told.returncode == 0
    assert f"  tpu/{script}" in told.stdout
    assert not [line for line in told.stdout.splitlines() if line.startswith(("#", "source", "set -"))]
    assert cloud.calls() == []


@pytest.mark.parametrize("script", COMMANDS)
def test_a_misspelt_option_is_refused(cloud, script):
    refused = cloud.run(f"{script} --dry-rum")
    assert refused.returncode == 2
    assert f"{script} does not know '--dry-rum'" in refused.stderr
    assert cloud.calls() == []


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("POD_ZONE", "", "POD_ZONE is not set. Example: export POD_PROJECT="),
        ("POD_NAME", "My_pod", "use lower-case letters"),
        ("POD_SLICES", "0", "give a number from 1"),
        ("POD_TIER", "cheap", "give spot, on-demand or reserved"),
        ("POD_TYPE", "v5e-32", "gcloud calls it v5litepod-32"),
        ("POD_TYPE", "tpu7x-64", "through GKE only"),
        ("POD_TYPE", "h100-8", "set POD_RUNTIME"),
        ("POD_WORKER_ENV", "no-such-file", "there is no such file"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(cloud, setting, value, message):
    refused = cloud.run("create.sh", **{setting: value})
    assert refused.returncode == 2
    assert message in refused.stderr
    assert cloud.calls() == []


def test_env_checks_the_key_of_the_workers(cloud):
    refused = cloud.run("env.sh")
    assert refused.returncode == 2
    assert "ssh-keygen" in refused.stderr
    keys = cloud.folder / ".ssh"
    keys.mkdir()
    (keys / "google_compute_engine").touch()
    (keys / "google_compute_engine.pub").write_text("ssh-ed25519 AAAAkey me\n")
    agent = cloud.folder / "front" / "ssh-add"
    agent.write_text("#!/bin/sh\necho ssh-ed25519 AAAAother me\n")
    agent.chmod(0o755)
    assert "not in the ssh agent" in cloud.run("env.sh").stderr
    agent.write_text("#!/bin/sh\necho ssh-ed25519 AAAAkey me\n")
    well = cloud.run("env.sh")
    assert well.returncode == 0
    assert "1 x v5litepod-32 (spot) with v2-alpha-tpuv5-lite" in well.stderr
