"""Where a process stands: stated, in the environment, found out, or alone."""

import pytest

from laminate.parallel.cluster import HostPlace, find_place

ENVIRONMENT = {
    "JAX_COORDINATOR_ADDRESS": "10.0.0.9:8476",
    "JAX_NUM_PROCESSES": "4",
    "JAX_PROCESS_ID": "3",
}
SECRET = "0123456789abcdef0123"
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


def test_the_token_comes_from_the_environment_however_the_place_is_found_and_is_never_shown(monkeypatch):
    environment = {**ENVIRONMENT, "LAMINATE_JOB_TOKEN": SECRET}
    stated, told = find_place("h:1", 2, 0, environment=environment), find_place(environment=environment)
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    for place in (stated, told, find_place(environment={"LAMINATE_JOB_TOKEN": SECRET})):
        assert place is not None and place.token == SECRET
        assert SECRET not in f"{place!r}{place}"


@pytest.mark.parametrize("coordinator", ["127.0.0.1:8476", "127.0.1.1:8476", "[::1]:8476", "localhost:8476"])
def test_hosts_on_one_machine_meet_where_no_other_machine_comes_and_need_no_token(coordinator):
    place = HostPlace(coordinator, 2, 1)
    place.require_token()
    assert place.own_address in ("127.0.0.1", "127.0.1.1", "::1")
    single = HostPlace("10.0.0.9:8476", 1, 0)
    single.require_token()
    assert single.own_address == "127.0.0.1"


@pytest.mark.parametrize("coordinator", ["10.0.0.9:8476", "node007:8476", "[fe80::1]:8476", "0.0.0.0:8476"])
def test_hosts_on_several_machines_need_a_token(coordinator):
    assert HostPlace(coordinator, 2, 0).own_address == ""
    with pytest.raises(
        ValueError, match=r"the same LAMINATE_JOB_TOKEN.*openssl rand -hex 32.*tpu/launch\.sh"
    ):
        HostPlace(coordinator, 2, 0).require_token()
    HostPlace(coordinator, 2, 0, token=SECRET).require_token()


def test_a_token_that_can_be_guessed_is_refused_and_not_shown():
    with pytest.raises(ValueError, match="LAMINATE_JOB_TOKEN has 6 characters") as refused:
        HostPlace("localhost:1", 2, 0, token="sesame")
    assert "sesame" not in str(refused.value)


def test_an_address_may_be_of_either_kind():
    assert HostPlace("[fe80::1]:8476", 1, 0).address == ("fe80::1", 8476)
    assert HostPlace("worker-0:8476", 1, 0).address == ("worker-0", 8476)
