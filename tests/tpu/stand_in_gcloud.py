"""A `gcloud` for the tests: records its arguments and plays a pod whose workers are folders of this machine.

The folder `CLOUD` holds the world:

    calls.jsonl            the arguments of every call
    machines               how many workers a slice has
    request.json           the queued resource: its state, initiator, slices; absent when there is none
    arrivals.json          the states that a new request goes through, one for each look at it
    homes/SLICE-WORKER/    the home of each worker; commands that come by ssh run there
    faults/create          the error message of `create`
    faults/describe        the error message of `describe`
    faults/failed          why a request that is FAILED failed
    faults/ssh-S-W         the words of ssh commands that do not reach this worker (an empty file: none does)
    faults/unprepared      a multi-worker command leaves a slice out, as the real one does: with a warning and exit 0
    faults/preempt         the words of the ssh command during which the pod is taken away
"""

import json
import os
import subprocess
import sys
from pathlib import Path

CLOUD = Path(os.environ["CLOUD"])
REQUEST, HOMES, FAULTS = CLOUD / "request.json", CLOUD / "homes", CLOUD / "faults"


def flag(arguments, name, default=None):
    values = [a.split("=", 1)[1] for a in arguments if a.startswith(f"--{name}=")]
    return values[-1] if values else default


def fail(message, code=1):
    sys.stderr.write(f"{message}\n")
    raise SystemExit(code)


def read_request():
    if not REQUEST.exists():
        fail("ERROR: (gcloud.compute.tpus.queued-resources) NOT_FOUND: Resource was not found.")
    return json.loads(REQUEST.read_text())


def create(arguments):
    if (FAULTS / "create").exists():
        fail((FAULTS / "create").read_text())
    if REQUEST.exists():
        fail("ERROR: (gcloud.compute.tpus.queued-resources.create) ALREADY_EXISTS: Resource already exists")
    slices = int(flag(arguments, "node-count", "1"))
    arrivals = json.loads((CLOUD / "arrivals.json").read_text())
    REQUEST.write_text(json.dumps({"states": arrivals, "initiator": "SERVICE", "slices": slices}))
    for index in range(slices):
        for worker in range(int((CLOUD / "machines").read_text())):
            (HOMES / f"{index}-{worker}").mkdir(parents=True)


def describe(arguments):
    if (FAULTS / "describe").exists():
        fail((FAULTS / "describe").read_text())
    request = read_request()
    if "failedData" in flag(arguments, "format"):
        print((FAULTS / "failed").read_text())
        return
    print(f"{request['states'][0]}\t{request['initiator']}")
    if len(request["states"]) > 1:
        REQUEST.write_text(json.dumps({**request, "states": request["states"][1:]}))


def delete(arguments):
    read_request()
    assert "--force" in arguments and "--quiet" in arguments
    REQUEST.unlink()
    for home in HOMES.iterdir():
        home.rename(CLOUD / "gone" / f"{len(list((CLOUD / 'gone').iterdir()))}-{home.name}")


def list_slices(arguments):
    request = read_request()
    name = flag(arguments, "filter").removeprefix("queuedResource~/").removesuffix("$")
    state = "READY" if request["states"][0] == "ACTIVE" else "PREEMPTED"
    for index in range(request["slices"]):
        print(f"{name}-{index}\t{request.get('slice_state', state)}\t{(CLOUD / 'machines').read_text()}")


def chosen(arguments):
    node, worker = flag(arguments, "node"), flag(arguments, "worker")
    for home in sorted(HOMES.iterdir()):
        if node in ("all", home.name.split("-")[0]) and worker in ("all", home.name.split("-")[1]):
            yield home


def reachable(home, command):
    fault = FAULTS / f"ssh-{home.name}"
    return read_request()["states"][0] == "ACTIVE" and not (fault.exists() and fault.read_text() in command)


def on_each(arguments, command, start):
    """Each chosen worker at once; the exit code of the last that failed, as gcloud has it."""
    preempt = FAULTS / "preempt"
    if preempt.exists() and preempt.read_text() in command:
        preempt.unlink()
        REQUEST.write_text(json.dumps({**read_request(), "states": ["SUSPENDED"]}))
    homes = list(chosen(arguments))
    if (FAULTS / "unprepared").exists() and "all" in (flag(arguments, "node"), flag(arguments, "worker")):
        sys.stderr.write("WARNING: Could not prepare all 1 nodes, attempting to ssh into the rest.\n")
        return
    running = [(home, start(home) if reachable(home, command) else None) for home in homes]
    code = 0
    for home, process in running:
        worker = home.name.split("-")[1]
        if process is None:
            sys.stderr.write(f"ssh: connect to host of worker {worker} port 22: Connection timed out\n")
            code = 255
        elif process.wait():
            code = process.returncode
            sys.stderr.write(f"##### Command execution on worker {worker} failed with exit status {code}.\n")
    raise SystemExit(code)


def ssh(arguments):
    command = flag(arguments, "command")
    environment = {**os.environ, "PATH": f"{CLOUD / 'bin'}:{os.environ['PATH']}"}

    def start(home):
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=home,
            env={**environment, "HOME": str(home)},
            stdin=subprocess.DEVNULL,
        )

    on_each(arguments, command, start)


def scp(arguments):
    *sources, target = [a for a in arguments if not a.startswith("--")][1:]
    destination = target.split(":", 1)[1]

    def start(home):
        return subprocess.Popen(["cp", *sources, f"{home}/{destination}"])

    on_each(arguments, " ".join(["scp", *sources]), start)


def main(arguments):
    with (CLOUD / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(arguments) + "\n")
    assert arguments[:2] == ["compute", "tpus"], arguments
    group, verb, *rest = arguments[2:]
    commands = {
        ("queued-resources", "create"): create,
        ("queued-resources", "describe"): describe,
        ("queued-resources", "delete"): delete,
        ("queued-resources", "ssh"): ssh,
        ("queued-resources", "scp"): lambda rest: scp([verb, *rest]),
        ("tpu-vm", "list"): list_slices,
    }
    if (group, verb) == ("tpu-vm", "accelerator-types"):
        print(rest[1])
        return
    commands[group, verb](rest)


main(sys.argv[1:])
