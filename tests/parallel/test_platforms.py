"""With libtpu installed, a machine without a TPU is not asked for one; what there is is found as ever."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from laminate.parallel import platforms
from laminate.parallel.platforms import may_have_tpu, skip_missing_tpu
from laminate.parallel.signs import computes_on_cpu, says_tpu

START = """
import sys, time
import jax
{before}
from laminate.parallel.mesh import local_mesh, prepare_devices
began = time.monotonic()
{start}
taken = time.monotonic() - began
with open("/proc/self/maps") as maps:
    loaded = "libtpu" in maps.read()
print(jax.default_backend(), loaded, taken)
"""
# A plugin as that of a GPU is one, as far as JAX's choice among platforms goes.
PLUGIN = """
from jax._src import xla_bridge
xla_bridge.register_backend_factory("plugin", xla_bridge.make_cpu_client, priority=200)
"""


def started(start: str, before: str = "", **variables: str) -> tuple[str, str]:
    """What a process without JAX_PLATFORMS says, on standard output and on standard error, when it starts devices."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JAX_", "TPU_")) and name != "XLA_FLAGS"
    }
    done = subprocess.run(
        [sys.executable, "-c", START.format(start=start, before=before)],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.skipif(may_have_tpu(), reason="there is a TPU")
@pytest.mark.skipif(find_spec("libtpu") is None, reason="libtpu is not installed")
@pytest.mark.parametrize("start", ["prepare_devices(None)", "local_mesh(None)"])
def test_where_there_is_no_tpu_libtpu_is_not_loaded_and_says_nothing(start):
    said, complained = started(start)
    backend, loaded, taken = said.split()
    assert (loaded, complained) == ("False", "")
    assert backend != "tpu" and float(taken) < 20.0


def test_the_plugin_of_another_accelerator_is_still_found_by_itself_and_goes_before_the_cpu():
    shown = "; print(*xla_bridge.backends(), xla_bridge.get_backend() is xla_bridge.backends()['plugin'])"
    said, _ = started("prepare_devices(None)" + shown, before=PLUGIN)
    *found, first = said.splitlines()[0].split()
    assert {"cpu", "plugin"} <= set(found) and first == "True"


@pytest.mark.parametrize(
    ("environment", "file", "tpu", "cpu"),
    [
        ({}, None, False, True),
        ({"TPU_SKIP_MDS_QUERY": "1", "TPU_LIBRARY_PATH": "/libtpu.so", "HOME": "/"}, "null", False, True),
        ({}, "vfio/vfio", False, True),
        ({}, "nvidia-caps", False, True),
        ({}, "nvidia0", False, False),
        ({}, "kfd", False, False),
        ({}, "accel0", True, False),
        ({}, "vfio/3", True, False),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, None, True, False),
        ({"JAX_FORCE_TPU_INIT": ""}, None, True, False),
        ({"JAX_PLATFORMS": "cpu"}, "nvidia0", False, True),
        ({"JAX_PLATFORMS": "cuda,cpu"}, None, False, False),
    ],
)
def test_a_device_file_or_a_variable_say_what_there_may_be(environment, file, tpu, cpu, tmp_path):
    if file is not None:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert says_tpu(environment, tmp_path) is tpu
    assert computes_on_cpu(environment, tmp_path) is cpu


@pytest.mark.parametrize(("chips", "said"), [(0, False), (4, False), (0, True)])
def test_a_chip_on_the_bus_is_as_good_as_what_the_machine_says(chips, said, monkeypatch):
    found = (chips, None)
    monkeypatch.setattr(platforms.hardware_utils, "num_available_tpu_chips_and_device_id", lambda: found)
    monkeypatch.setattr(platforms, "says_tpu", lambda: said)
    assert may_have_tpu() is (chips > 0 or said)


@pytest.mark.parametrize(
    ("named", "running", "present", "expected"),
    [("", False, False, 1), ("tpu", False, False, 0), ("", True, False, 0), ("", False, True, 0)],
)
def test_a_tpu_that_is_asked_for_in_use_or_there_is_left_alone(
    named, running, present, expected, monkeypatch
):
    registered = []
    monkeypatch.setattr(platforms, "register_backend_factory", lambda name, *_, **__: registered.append(name))
    monkeypatch.setattr(platforms.xla_bridge, "backends_are_initialized", lambda: running)
    monkeypatch.setattr(platforms, "may_have_tpu", lambda: present)
    monkeypatch.setattr(platforms, "_named", lambda: named)
    skip_missing_tpu()
    assert registered == ["tpu"] * expected
