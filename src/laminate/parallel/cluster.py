"""Where this process stands among the others: told by flags, by the environment, or found out by JAX."""

import contextlib
import dataclasses
import ipaddress
import os
from collections.abc import Mapping

from jax._src.clusters import ClusterEnv  # pyright: ignore[reportPrivateUsage]

COORDINATOR, HOSTS, HOST = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
TOKEN = "LAMINATE_JOB_TOKEN"
DETECTION_SECONDS = 60
SHORTEST_TOKEN = 16  # characters; fewer can be guessed
_SEARCHED = {"slurm", "gcetpu", "gketpu", "ompi"}


@dataclasses.dataclass(frozen=True)
class HostPlace:
    """Process `host` of `hosts`; `coordinator` is the address:port at which host 0 is reached.

    `local_devices` are the numbers of the devices that belong to this process, None for all of this machine. `token`
    is the secret that all processes of the job hold and nobody else; "" without one.
    """

    coordinator: str
    hosts: int
    host: int
    local_devices: tuple[int, ...] | None = None
    token: str = dataclasses.field(default="", repr=False)

    def __post_init__(self) -> None:
        address, _, port = self.coordinator.rpartition(":")
        if not address or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(
                f"The coordinator {self.coordinator!r} is no address: write the machine of host 0 and a free port, "
                "such as 10.0.0.2:8476."
            )
        if self.hosts < 1 or not 0 <= self.host < self.hosts:
            raise ValueError(
                f"Host {self.host} of {self.hosts} does not exist: hosts are counted from 0 to --hosts - 1."
            )
        if 0 < len(self.token) < SHORTEST_TOKEN:
            raise ValueError(
                f"{TOKEN} has {len(self.token)} characters, which can be guessed: give {SHORTEST_TOKEN} or more, such "
                "as what `openssl rand -hex 32` prints."
            )

    @property
    def address(self) -> tuple[str, int]:
        address, _, port = self.coordinator.rpartition(":")
        return address.strip("[]"), int(port)

    @property
    def own_address(self) -> str:
        """The address at which all hosts meet that no other machine can reach; "" if they are on several machines."""
        address = self.address[0]
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(address).is_loopback:
                return address
        return "127.0.0.1" if self.hosts == 1 or address == "localhost" else ""

    def require_token(self) -> None:
        """Raises ValueError if other machines can reach host 0 and no token keeps them out."""
        if not self.token and not self.own_address:
            raise ValueError(
                f"Host 0 is reached at {self.coordinator}, by others than this job too: give all its hosts the same "
                f"{TOKEN}, such as what `openssl rand -hex 32` prints once. tpu/launch.sh does so by itself."
            )


def find_place(
    coordinator: str | None = None,
    hosts: int | None = None,
    host: int | None = None,
    *,
    required: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> HostPlace | None:
    """The place that the arguments state, else the variables `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and
    `JAX_PROCESS_ID`, else TPU metadata, Slurm or Open MPI; None for a process that is alone. The token is always that
    of `LAMINATE_JOB_TOKEN`: on a command line, everybody on the machine could read it.

    Raises ValueError if what is stated is incomplete, or if nothing is found and it is `required`.
    """
    token = environment.get(TOKEN, "")
    coordinator = coordinator or environment.get(COORDINATOR)
    hosts = _count(HOSTS, environment) if hosts is None else hosts
    host = _count(HOST, environment) if host is None else host
    if coordinator is not None and hosts is not None and host is not None:
        return HostPlace(coordinator, hosts, host, token=token)
    if hosts == 1 and coordinator is None and host in (None, 0):
        return None
    stated = {"--coordinator": coordinator, "--hosts": hosts, "--host": host}
    missing = [flag for flag, value in stated.items() if value is None]
    if len(missing) < len(stated):
        raise ValueError(
            f"{' and '.join(missing)} missing: one process of several needs --coordinator ADDRESS:PORT, --hosts COUNT "
            f"and --host NUMBER (or {COORDINATOR}, {HOSTS} and {HOST}), all or, on TPU and Slurm, none of them."
        )
    found = _detected(token)
    if found is None and required:
        raise ValueError(
            "--distributed finds neither a TPU slice nor a Slurm or Open MPI job: state --coordinator ADDRESS:PORT, "
            "--hosts COUNT and --host NUMBER."
        )
    return found


def _count(variable: str, environment: Mapping[str, str]) -> int | None:
    text = environment.get(variable)
    if text is None:
        return None
    if not text.isdecimal():
        raise ValueError(f"{variable} is {text!r}; it must be a whole number.")
    return int(text)


def _detected(token: str) -> HostPlace | None:
    """What JAX's own detection finds. It is asked by name: Kubernetes, which it also knows, needs more packages."""
    environments = [kind for kind in ClusterEnv._cluster_types if kind.name in _SEARCHED]  # pyright: ignore[reportPrivateUsage]
    for kind in environments:
        if kind.is_env_present():
            coordinator, hosts, host, devices = ClusterEnv.auto_detect_unset_distributed_params(
                None, None, None, None, kind.name, DETECTION_SECONDS
            )
            if coordinator is None or hosts is None or host is None:
                return None
            return HostPlace(coordinator, hosts, host, None if devices is None else tuple(devices), token)
    return None
