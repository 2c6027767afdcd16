"""create.sh, setup.sh and delete.sh: what is asked of gcloud, and what is said when it refuses."""

import pytest


@pytest.mark.parametrize(
    ("tier", "slices", "flags", "missing"),
    [
        ("spot", "1", {"--spot", "--node-id=laminate"}, {"--reserved"}),
        ("reserved", "1", {"--reserved", "--node-id=laminate"}, {"--spot"}),
        (
            "on-demand",
            "3",
            {"--node-count=3", "--node-prefix=laminate"},
            {"--spot", "--reserved", "--node-id=laminate"},
        ),
    ],
)
def test_the_request_says_tier_and_slices(cloud, tier, slices, flags, missing):
    done = cloud.run(
        "create.sh", POD_TIER=tier, POD_SLICES=slices, POD_CREATE_FLAGS="--network=n --internal-ips"
    )
    assert done.returncode == 0, done.stderr
    create = cloud.calls()[0]
    assert create[:3] == ["queued-resources", "create", "laminate"]
    assert flags <= set(create) and not missing & set(create)
    assert {"--accelerator-type=v5litepod-32", "--runtime-version=v2-alpha-tpuv5-lite"} <= set(create)
    assert {"--project=my-project", "--zone=us-west4-a", "--network=n", "--internal-ips"} <= set(create)
    assert f"{int(slices) * 2} workers" in done.stderr


def test_it_waits_until_the_pod_is_there_and_says_what_for(cloud):
    cloud.arrivals("WAITING_FOR_RESOURCES", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE")
    done = cloud.run("create.sh")
    assert done.returncode == 0
    assert cloud.verbs() == ["create", *["describe"] * 4, "list"]
    assert done.stderr.count("WAITING_FOR_RESOURCES") == 1
    assert "PROVISIONING" in done.stderr


def test_it_need_not_wait(cloud):
    assert cloud.run("create.sh --no-wait").returncode == 0
    assert cloud.verbs() == ["create"]


def test_run_again_it_waits_for_the_same_request(pod):
    again = pod.run("create.sh")
    assert again.returncode == 0
    assert "asked for already" in again.stderr


def test_a_missing_quota_is_said_with_what_to_do(cloud):
    message = "ERROR: RESOURCE_EXHAUSTED: Quota limit 'TPUV5sLitepodServing' has been exceeded. Limit: 0 in us-west4-a"
    cloud.fault("create", message)
    refused = cloud.run("create.sh")
    assert refused.returncode == 1
    assert message in refused.stderr
    assert "no quota for 1 x v5litepod-32 (spot) in us-west4-a" in refused.stderr
    assert "quotas?project=my-project" in refused.stderr
    assert cloud.verbs() == ["create"]


def test_another_refusal_is_not_called_a_quota(cloud):
    cloud.fault("create", "ERROR: PERMISSION_DENIED: tpu.nodes.create")
    refused = cloud.run("create.sh")
    assert refused.returncode == 1
    assert "PERMISSION_DENIED" in refused.stderr and "quota" not in refused.stderr


def test_a_request_that_fails_in_the_queue_gives_its_reason(cloud):
    cloud.arrivals("WAITING_FOR_RESOURCES", "FAILED")
    cloud.fault("failed", "The zone has no v5litepod-32 for this project.")
    failed = cloud.run("create.sh")
    assert failed.returncode == 1
    assert "The zone has no v5litepod-32" in failed.stderr


def test_a_pod_that_was_taken_away_is_not_waited_for(cloud):
    cloud.arrivals("SUSPENDED")
    assert cloud.run("create.sh").returncode == 3


def test_setup_prepares_every_worker_of_every_slice(cloud, tmp_path):
    secrets = tmp_path / "secrets"
    secrets.write_text("HF_TOKEN=abc\n")
    settings = {
        "POD_SLICES": "2",
        "POD_WORKER_ENV": str(secrets),
        "POD_SETUP": "echo 'two  words' > ~/mounted",
    }
    assert cloud.run("create.sh", **settings).returncode == 0
    done = cloud.run("setup.sh", **settings)
    assert done.returncode == 0, done.stderr
    for worker in ("0-0", "0-1", "1-0", "1-1"):
        assert (
            cloud.home(worker) / "laminate" / "uv.txt"
        ).read_text() == "-m uv venv --quiet --seed --python 3.12 venv\n"
        assert (cloud.home(worker) / "laminate.env").read_text() == "HF_TOKEN=abc\n"
        assert (cloud.home(worker) / "mounted").read_text() == "two  words\n"
    assert "prepare: 4 of 4 workers" in done.stderr


def test_setup_names_the_worker_that_cannot_be_reached(pod):
    pod.fault("ssh-0-1")
    failed = pod.run("setup.sh")
    assert failed.returncode == 1
    assert "slice 0 worker 1: copy of worker.sh: no answer" in failed.stderr
    assert "    ssh: connect to host of worker 1 port 22: Connection timed out" in failed.stderr
    assert "worker 0: " not in failed.stderr


def test_a_slice_that_gcloud_leaves_out_counts_as_a_failure(pod):
    """The real one warns and ends with 0, for instance when the key is not in the ssh agent."""
    pod.fault("unprepared")
    failed = pod.run("setup.sh")
    assert failed.returncode == 1
    assert "gcloud left a slice out. Is the key in the ssh agent?" in failed.stderr
    assert "copy of worker.sh failed" in failed.stderr
    assert pod.verbs() == ["describe", "list", "scp", "describe", "list", "ssh received", "ssh received"]


def test_the_users_own_setup_fails_with_its_last_lines(pod):
    failed = pod.run("setup.sh", POD_SETUP="echo no such disk; false; echo unreached")
    assert failed.returncode == 1
    for worker in (0, 1):
        assert f"slice 0 worker {worker}: POD_SETUP: exit 1\n    no such disk\n" in failed.stderr
    assert "unreached" not in failed.stderr


def test_without_a_pod_setup_and_launch_say_so(cloud):
    for command in ("setup.sh", "launch.sh -- python experiments/vae.py", "logs.sh --all"):
        failed = cloud.run(command)
        assert failed.returncode == 1
        assert "There is no pod laminate in us-west4-a: tpu/create.sh makes it." in failed.stderr


def test_delete_asks_and_nobody_is_no_yes(pod):
    refused = pod.run("delete.sh")
    assert refused.returncode == 2
    assert "tpu/delete.sh --yes deletes laminate (ACTIVE)" in refused.stderr
    assert pod.run("delete.sh --yes").returncode == 0
    assert pod.verbs() == ["describe", "describe", "delete"]
    assert "There is no pod" in pod.run("delete.sh --yes").stderr
