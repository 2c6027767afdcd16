"""launch.sh, watch.sh and logs.sh against workers that are folders, and trainings that end as they are told."""

import os
import re
import signal
import subprocess
import time

import pytest

from tests.tpu.conftest import executable

TRAIN = "-- python experiments/vae.py --distributed --mesh 4x8 --run-dir gs://bucket/run"


def test_every_worker_runs_the_commit_and_the_first_is_followed(cloud):
    cloud.begin(slices=2)
    commit = cloud.git("rev-parse", "--short=12", "HEAD")
    done = cloud.run(f"launch.sh {TRAIN}", POD_SLICES="2", POD_EXTRAS="tpu,gcs,wandb")
    assert done.returncode == 0, done.stderr
    for worker in ("0-0", "0-1", "1-0", "1-1"):
        laminate = cloud.home(worker) / "laminate"
        installed, content = (laminate / "pip.txt").read_text().splitlines()
        assert installed.endswith(".[tpu,gcs,wandb]") and content == "first"
        assert f"worker {worker}: --distributed --mesh 4x8" in (laminate / "run.log").read_text()
        assert not (cloud.home(worker) / f"laminate-{commit}.tar.gz").exists()
    assert "worker 0-0:" in done.stdout and "step 20 loss 0.5" in done.stdout
    assert "worker 0-1:" not in done.stdout
    assert "ended well on all 4 workers" in done.stderr
    follow = [call for call in cloud.calls() if "--command=bash worker.sh follow +1" in call]
    assert len(follow) == 1 and {"--node=0", "--worker=0"} <= set(follow[0])


def test_the_workers_of_a_launch_hold_one_token_that_nothing_else_shows(cloud):
    cloud.begin(slices=2)
    workers, seen = ("0-0", "0-1", "1-0", "1-1"), set()
    for command in (f"launch.sh {TRAIN}", f"launch.sh --replace {TRAIN}"):
        done = cloud.run(command, POD_SLICES="2")
        assert done.returncode == 0, done.stderr
        tokens = {(cloud.folder / f"token-{worker}").read_text().strip() for worker in workers}
        assert len(tokens) == 1 and re.fullmatch("[0-9a-f]{64}", *tokens)
        seen |= tokens
    assert len(seen) == 2, "another launch is another job"
    shown = [done.stdout, done.stderr, (cloud.folder / "calls").read_text()]
    for worker in workers:
        kept = cloud.home(worker) / "laminate" / "job.token"
        assert kept.stat().st_mode & 0o777 == 0o600
        assert not list(cloud.home(worker).glob("*.token"))
        shown += [file.read_text() for file in kept.parent.glob("*.log")]
    assert not [text for text in shown for token in seen if token in text]
    assert not list((cloud.folder / "tmp").glob("*.token"))


def test_the_token_is_a_file_of_its_owner_alone_while_it_is_copied(pod):
    front = pod.folder / "front" / "gcloud"
    stand_in = front.rename(front.with_name("stand-in"))
    executable(
        front,
        f'#!/bin/bash\nstat -c %a "$TMPDIR"/*.token >>"$CLOUD/modes" 2>/dev/null\nexec {stand_in} "$@"\n',
    )
    planted = pod.folder / "tmp" / f"laminate-{pod.git('rev-parse', '--short=12', 'HEAD')}.token"
    planted.touch(0o666)  # somebody else's, to be written to
    with planted.open() as theirs:
        assert pod.run(f"launch.sh {TRAIN}").returncode == 0
        assert theirs.read() == ""
    modes = (pod.folder / "modes").read_text().split()
    assert "600" in modes and set(modes[modes.index("600") :]) == {"600"}


def test_a_launch_that_cannot_make_a_token_starts_nothing(pod):
    executable(pod.folder / "front" / "openssl", "#!/bin/bash\nexit 1\n")
    assert pod.run(f"launch.sh {TRAIN}").returncode == 1
    assert pod.verbs() == ["describe", "list"]


def test_arguments_arrive_as_they_were_given(pod):
    words = ["python", "experiments/vae.py", "--distributed", "--wandb-name", "it's  a $HOME; *"]
    done = subprocess.run(
        ["tpu/launch.sh", "--", *words],
        cwd=pod.repository,
        env=pod.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "--wandb-name it's  a $HOME; *" in done.stdout


def test_a_tree_with_changes_is_refused_unless_told(pod):
    (pod.repository / "commit.txt").write_text("second\n")
    refused = pod.run(f"launch.sh {TRAIN}")
    assert refused.returncode == 2
    assert "commit.txt" in refused.stderr and "--allow-dirty" in refused.stderr
    assert pod.calls() == []
    assert pod.run(f"launch.sh --allow-dirty {TRAIN}").returncode == 0
    assert (pod.home() / "laminate" / "code" / "commit.txt").read_text() == "first\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--retries 3 -- python experiments/vae.py --distributed", "--run-dir gs://BUCKET/RUN"),
        ("--retries 3 -- python experiments/vae.py --data gs://b/d", "--run-dir gs://BUCKET/RUN"),
        ("--retries 3 --attach", "Nothing to run"),
        (
            "--retries 3 --detach -- python experiments/vae.py --run-dir gs://b/r",
            "cannot stand beside --detach",
        ),
        ("--retries many -- python experiments/vae.py", "--retries takes a whole number, got 'many'"),
        ("-- python experiments/vea.py", "experiments/vea.py is not in the commit"),
        ("--detach", "Nothing to run"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_done(pod, options, message):
    refused = pod.run(f"launch.sh {options}")
    assert refused.returncode == 2
    assert message in refused.stderr
    assert pod.calls() == []


def test_many_workers_without_distributed_are_pointed_out(pod):
    done = pod.run("launch.sh -- python experiments/vae.py")
    assert done.returncode == 0
    assert "2 workers, and no --distributed" in done.stderr


def test_a_failed_training_names_its_worker_with_the_last_lines(pod):
    pod.fates(w0_1=2)
    failed = pod.run(f"launch.sh --retries 3 {TRAIN}")
    assert failed.returncode == 1
    assert "tpu: slice 0 worker 1: run: exit 2\n" in failed.stderr
    assert "    vae.py: no data on worker 0-1\n" in failed.stderr
    assert "worker 0: run" not in failed.stderr
    assert "create" not in pod.verbs(), "a fault of the program is no reason for a new pod"


def test_the_first_to_fail_is_named_first(pod):
    pod.fates(w0_0=1, w0_1="killed")
    assert pod.run(f"launch.sh {TRAIN}").returncode == 1
    (pod.home("0-0") / "laminate" / "run.exit").write_text("200 exit 1\n")
    (pod.home("0-1") / "laminate" / "run.exit").write_text("100 exit 137\n")
    failed = pod.run(f"launch.sh --attach {TRAIN}")
    assert failed.stderr.index("worker 1: run: exit 137") < failed.stderr.index("worker 0: run: exit 1\n")


@pytest.mark.parametrize("step", ["scp", "install", "start"])
def test_a_worker_that_a_step_does_not_reach_is_named_and_none_is_left_running(pod, step):
    pod.fates(w0_0="runs", w0_1="runs")
    pod.fault("ssh-0-1", step)
    failed = pod.run(f"launch.sh {TRAIN}")
    assert failed.returncode == 1
    what = {"scp": "copy of the commit", "install": "install", "start": "start"}[step]
    assert f"slice 0 worker 1: {what}: " in failed.stderr
    assert f"slice 0 worker 0: {what}: " not in failed.stderr
    if step == "start":
        assert "run tpu/launch.sh again" in failed.stderr
        assert "saved at step 20" in (pod.home("0-0") / "laminate" / "run.log").read_text()
        pod.mend("ssh-0-1")
        pod.fates()
        assert pod.run(f"launch.sh {TRAIN}").returncode == 0


def test_an_installation_that_fails_shows_pip(pod):
    python = pod.home("0-1") / "laminate" / "venv" / "bin" / "python"
    python.write_text("#!/bin/sh\necho 'ERROR: No matching distribution found for jax[tpu]'\nexit 1\n")
    failed = pod.run(f"launch.sh {TRAIN}")
    assert failed.returncode == 1
    assert "slice 0 worker 1: install: exit 1\n    ERROR: No matching distribution" in failed.stderr


def test_a_preempted_pod_is_made_anew_and_the_run_goes_on(pod):
    pod.fates(w0_1="preempted")
    done = pod.run(f"launch.sh --retries 2 {TRAIN}", POD_TIER="spot")
    assert done.returncode == 0, done.stderr
    assert "begins at step 20" in done.stdout and "step 40" in done.stdout
    assert (pod.home("0-1") / "laminate" / "code" / "commit.txt").read_text() == "first\n"
    order = [verb for verb in pod.verbs() if verb in ("delete", "create", "ssh prepare", "ssh start")]
    assert order == ["ssh start", "delete", "create", "ssh prepare", "ssh start"]
    create = next(call for call in pod.calls() if call[1] == "create")
    assert "--spot" in create
    assert "retry 1 of 2" in done.stderr


def test_a_retry_launches_the_commit_of_the_start(pod):
    pod.fates(w0_0="runs", w0_1="runs")
    launch = start(pod, f"launch.sh --retries 1 {TRAIN}")
    (pod.repository / "commit.txt").write_text("second\n")
    pod.git("commit", "--quiet", "--all", "--message=second")
    pod.fates()
    pod.request(states="SUSPENDED")
    for worker in ("0-0", "0-1"):
        os.killpg(int((pod.home(worker) / "laminate" / "run.pid").read_text()), signal.SIGKILL)
    _, errors = launch.communicate(timeout=120)
    assert launch.returncode == 0, errors
    assert (pod.home() / "laminate" / "code" / "commit.txt").read_text() == "first\n"


@pytest.mark.parametrize("step", ["scp", "start", "prepare"])
def test_a_preemption_during_any_step_is_one(pod, step):
    if step == "prepare":
        pod.fates(w0_1="preempted")
    pod.fault("preempt", step)
    done = pod.run(f"launch.sh --retries 3 {TRAIN}")
    assert done.returncode == 0, done.stderr
    assert pod.verbs().count("create") == (2 if step == "prepare" else 1)


def test_without_retries_a_preemption_has_its_own_exit_code(pod):
    pod.fates(w0_0="preempted")
    gone = pod.run(f"launch.sh {TRAIN}")
    assert gone.returncode == 3
    assert "laminate was preempted (request SUSPENDED)" in gone.stderr
    assert "delete" not in pod.verbs()


def test_a_pod_that_was_preempted_earlier_is_made_anew_at_once(pod):
    pod.request(states="SUSPENDED")
    assert pod.run(f"launch.sh {TRAIN}").returncode == 3
    assert pod.run(f"launch.sh --retries 1 {TRAIN}").returncode == 0


def test_one_slice_of_several_that_is_preempted_counts(cloud):
    cloud.begin(slices=2)
    cloud.request(slices_preempted="")
    gone = cloud.run(f"launch.sh {TRAIN}", POD_SLICES="2")
    assert gone.returncode == 3
    assert "slices PREEMPTED PREEMPTED" in gone.stderr


def test_retries_come_to_an_end(pod):
    pod.fates(w0_0="preempted")
    pod.fault("preempt", "follow")
    pod.arrivals("ACTIVE", "ACTIVE", "ACTIVE", "SUSPENDED")
    gone = pod.run(f"launch.sh --retries 2 {TRAIN}")
    assert gone.returncode == 3
    assert pod.verbs().count("create") == 2
    assert "no retries are left" in gone.stderr


def test_a_pod_that_its_user_deletes_is_not_made_anew(pod):
    pod.request(initiator="USER")
    pod.fault("preempt", "follow")
    failed = pod.run(f"launch.sh --retries 2 {TRAIN}")
    assert failed.returncode == 1
    assert "laminate was deleted" in failed.stderr
    assert "create" not in pod.verbs()


def test_a_gcloud_that_cannot_answer_is_no_preemption(pod):
    """A laptop without network must not delete a pod that trains."""
    pod.fault("ssh-0-0", "follow")
    pod.fault("ssh-0-1", "report")
    launched = pod.run(f"launch.sh --retries 2 {TRAIN}")
    assert launched.returncode == 1
    pod.fault("describe", "ERROR: network is unreachable")
    attached = pod.run(f"launch.sh --retries 2 --attach {TRAIN}")
    assert attached.returncode == 1
    assert "network is unreachable" in attached.stderr
    assert not {"delete", "create"} & set(pod.verbs())


@pytest.mark.parametrize("fate", ["vanishes", "leaves"])
def test_a_machine_is_gone_before_gcloud_knows(pod, fate):
    """One that is taken away may end its training politely, with 0 on every worker: that is not the end of it."""
    pod.fates(w0_1=fate)
    done = pod.run(f"launch.sh --retries 1 {TRAIN}", POD_SETTLE="30")
    assert done.returncode == 0, done.stderr
    assert "retry 1 of 1" in done.stderr and "begins at step 20" in done.stdout


@pytest.mark.parametrize(("fate", "word"), [("vanishes", "unfinished"), ("leaves", "stopped")])
def test_a_machine_that_is_gone_without_a_preemption_is_named(pod, fate, word):
    pod.fates(w0_1=fate)
    failed = pod.run(f"launch.sh --retries 1 {TRAIN}", POD_SETTLE="0")
    assert failed.returncode == 1
    assert f"slice 0 worker 1: run: {word}" in failed.stderr
    assert "begins at step 0" in failed.stderr


def test_a_lost_connection_is_taken_up_again(pod):
    pod.fates(w0_0="runs", w0_1="runs")
    pod.fault("ssh-0-0", "follow +1")
    launch = start(pod, f"launch.sh {TRAIN}")
    wait_for(lambda: any("follow 20" in " ".join(call) for call in pod.calls()))
    assert pod.run("launch.sh --stop").returncode == 0
    output, errors = launch.communicate(timeout=120)
    assert launch.returncode == 0
    assert "connection to worker 0 is lost" in errors and "saved at step 20" in output


def test_a_running_training_is_neither_replaced_by_accident_nor_lost(pod):
    pod.fates(w0_0="runs", w0_1="runs")
    assert pod.run(f"launch.sh --detach {TRAIN}").returncode == 0
    wait_for(lambda: all((pod.folder / f"runs-0-{worker}").exists() for worker in (0, 1)))
    refused = pod.run(f"launch.sh {TRAIN}")
    assert refused.returncode == 1
    assert "A run is going on here" in refused.stderr and "--replace" in refused.stderr
    watched = pod.run("watch.sh --once")
    assert "slice 0 worker 1     running    begins at step 0" in watched.stdout
    pod.fates()
    replaced = pod.run(f"launch.sh --replace {TRAIN}")
    assert replaced.returncode == 0, replaced.stderr
    assert "begins at step 20" in replaced.stdout, (
        "what ran before was stopped as politely as by a preemption"
    )
    assert "saved at step 20" in (pod.home() / "laminate" / "previous.log").read_text()


def test_interrupting_the_following_leaves_the_training_alone(pod):
    pod.fates(w0_0="runs", w0_1="runs")
    launch = start(pod, f"launch.sh {TRAIN}")
    assert launch.stdout and "worker 0-0" in launch.stdout.readline()
    os.killpg(launch.pid, signal.SIGINT)
    _, errors = launch.communicate(timeout=120)
    assert launch.returncode == 130
    assert "The training goes on" in errors
    assert "running" in pod.run("watch.sh --once").stdout
    attached = start(pod, "launch.sh --attach")
    assert pod.run("launch.sh --stop").returncode == 0
    output, _ = attached.communicate(timeout=120)
    assert attached.returncode == 0
    assert "saved at step 20" in output


def test_the_environment_of_the_workers_reaches_the_training(pod):
    (pod.home() / "laminate.env").write_text("HF_TOKEN=abc\n")
    assert "token abc" in pod.run(f"launch.sh {TRAIN}").stdout


def test_logs_show_one_worker_or_all(pod):
    assert pod.run(f"launch.sh {TRAIN}").returncode == 0
    assert "worker 0-1:" in pod.run("logs.sh --worker 1").stdout
    assert pod.run("logs.sh --lines 1").stdout.splitlines()[1:] == ["step 20 loss 0.5"]
    every = pod.run("logs.sh --all --lines 1").stdout
    assert every == "".join(f"== slice 0 worker {w}: exit 0\nstep 20 loss 0.5\n" for w in (0, 1))
    assert "step 20 loss 0.5" in pod.run("logs.sh --follow --worker 1").stdout


def start(pod, command: str) -> subprocess.Popen[str]:
    """A launch in the background, once the training runs; to be interrupted even where these tests are not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    launch = subprocess.Popen(
        [*f"tpu/{command}".split()],
        cwd=pod.repository,
        env=pod.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, before)
    wait_for(lambda: all((pod.folder / f"runs-0-{worker}").exists() for worker in (0, 1)))
    return launch


def wait_for(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
