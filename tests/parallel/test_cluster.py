"""Where a process stands: stated, in the environment, found out, or alone."""

import pytest

from laminate.parallel.cluster import HostPlace, find_place

ENVIRONMENT = {
    "JAX_COORDINATOR_ADDRESS": "10.0.0.9:8476",
    "JAX_NUM_PROCESSES": "4",
    "JAX_PROCESS_ID": "3",
}
SLURM = {
    "SLURM_JOB_ID": "4097",
    "SLURM_STEP_NODELIST": "node[007-009],other2",
    "SLURM_NTASKS": "5",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "1",
}


def test_what_is_stated_goes_before_what_the_environment_says():
    assert find_place(environment={}) is None
    assert find_place(environment=ENVIRONMENT) == HostPlace("10.0.0.9:8476", 4, 3)
    assert find_place("h:1", 2, 0, environment=ENVIRONMENT) == HostPlace("h:1", 2, 0)
    assert find_place(hosts=1, environment={}) is None
    assert find_place(host=1, environment=ENVIRONMENT) == HostPlace("10.0.0.9:8476", 4, 1)


def test_a_slurm_job_is_found(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert find_place() == HostPlace(f"node007:{65535 - 4096 + 1 + 1}", 5, 2, (1,))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hosts": 2}, "--coordinator and --host missing"),
        ({"coordinator": "h:1", "host": 0}, "--hosts missing"),
        ({"coordinator": "h", "hosts": 2, "host": 0}, "The coordinator 'h' is no address"),
        ({"coordinator": "h:0", "hosts": 2, "host": 0}, "The coordinator 'h:0' is no address"),
        ({"coordinator": "h:1", "hosts": 2, "host": 2}, "Host 2 of 2 does not exist"),
        ({"required": True}, "--distributed finds neither a TPU slice nor a Slurm or Open MPI job"),
        ({"environment": {"JAX_PROCESS_ID": "x"}}, "JAX_PROCESS_ID is 'x'; it must be a whole number"),
    ],
)
def test_what_is_incomplete_or_impossible_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        find_place(**{"environment": {}, **given})


def test_an_address_may_be_of_either_kind():
    assert HostPlace("[fe80::1]:8476", 1, 0).address == ("fe80::1", 8476)
    assert HostPlace("worker-0:8476", 1, 0).address == ("worker-0", 8476)
