"""Checkpoints are whole or not there, give back the bits that were saved, and say what is wrong otherwise."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_state import POSITION, RECIPE, abstract, bits, mesh_of, shardings, state_of

import laminate
from laminate.train.checkpoint import Checkpoints
from laminate.train.manifest import CheckpointError, DamagedCheckpoint, MismatchedCheckpoint

STATE = state_of(3)


def saved(folder: Path, *steps: int, metrics: dict[int, float] | None = None, **options: Any) -> Path:
    with Checkpoints(folder, recipe=RECIPE, **options) as checkpoints:
        for step in steps:
            state = state_of(step)
            metric = (metrics or {}).get(step)
            assert checkpoints.save(step, state, position=POSITION | {"row": step}, metric=metric, wait=True)
    return folder


def reader(folder: Path) -> Checkpoints:
    return Checkpoints(folder, recipe=RECIPE)


def array_files(folder: Path) -> list[Path]:
    """The files that hold the values: the largest one of every `d` folder."""
    return sorted((folder / "state").rglob("d/*"), key=lambda path: -path.stat().st_size)


def flip(path: Path, position: float, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[int(position * (len(data) - 1))] ^= 1 << bit
    path.write_bytes(data)


@pytest.fixture
def slow_commit(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Saves complete only after this event is set."""
    gate = threading.Event()
    commit = Checkpoints._commit

    def late(self: Checkpoints, *args: Any) -> None:
        assert gate.wait(60)
        commit(self, *args)

    monkeypatch.setattr(Checkpoints, "_commit", late)
    return gate


class TestRoundTrip:
    def test_what_is_restored_is_bit_for_bit_what_was_saved(self, tmp_path: Path) -> None:
        saved(tmp_path, 5)
        restored = reader(tmp_path).restore(5, abstract(STATE))
        assert bits(restored.state) == bits(state_of(5))
        assert jax.tree.structure(restored.state) == jax.tree.structure(STATE)
        assert (restored.position, restored.step) == (POSITION | {"row": 5}, 5)

    def test_a_checkpoint_of_one_mesh_restores_on_any_other(self, tmp_path: Path) -> None:
        meshes = [mesh_of(shape) for shape in ((4, 2), (1, 1), (2, 4))]
        state = jax.device_put(state_of(9), shardings(STATE, meshes[0]))
        for i, (here, there) in enumerate(zip(meshes, [*meshes[1:], meshes[0]], strict=True)):
            with reader(tmp_path / str(i)) as checkpoints:
                checkpoints.save(1, state, position=POSITION, wait=True)
                assert state.params.weight.sharding.mesh == here
                state = checkpoints.restore(1, abstract(STATE, there)).state
            assert state.params.weight.sharding.mesh == there
            assert bits(state) == bits(state_of(9))

    def test_arrays_may_be_donated_as_soon_as_save_returns(self, tmp_path: Path) -> None:
        step = jax.jit(lambda s: jax.tree.map(lambda x: x + jnp.ones((), x.dtype), s), donate_argnums=0)
        for mesh in (mesh_of((1, 1)), mesh_of((2, 4))):
            params = jax.device_put(
                {"w": jnp.ones((512, 1024)), "b": jnp.ones((8,))}, jax.NamedSharding(mesh, jax.P("fsdp"))
            )
            folder = tmp_path / str(mesh.size)
            with reader(folder) as checkpoints:
                like = abstract(params)
                checkpoints.save(1, params, position={})
                for _ in range(5):
                    params = step(params)
                jax.block_until_ready(params)
                checkpoints.wait()
                restored = checkpoints.restore(1, like).state
            assert np.all(np.asarray(restored["w"]) == 1.0) and np.all(np.asarray(restored["b"]) == 1.0)

    def test_a_part_of_the_state_restores_alone(self, tmp_path: Path) -> None:
        saved(tmp_path, 4)
        part = reader(tmp_path).restore(4, abstract(STATE).params, within=".params").state
        assert bits(part) == bits(state_of(4).params)

    def test_restore_without_sharding_takes_the_first_device(self, tmp_path: Path) -> None:
        saved(tmp_path, 4)
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), STATE)
        assert reader(tmp_path).restore(4, like).state.step.devices() == {jax.devices()[0]}

    def test_the_files_hold_no_pickle_and_plain_orbax_reads_them(self, tmp_path: Path) -> None:
        from orbax.checkpoint import v1 as ocp

        saved(tmp_path, 4)
        like = {".params.weight": abstract(STATE).params.weight}
        context = ocp.Context()
        context.pytree.loading.partial_load = True
        with context:
            assert bits(ocp.load(tmp_path / "4", like)) == bits(state_of(4).params.weight)
        for path in tmp_path.rglob("*"):
            assert path.is_dir() or not path.read_bytes().startswith(b"\x80\x04")


class TestListing:
    def test_no_folder_and_an_empty_folder_have_no_steps(self, tmp_path: Path) -> None:
        for folder in (tmp_path, tmp_path / "absent"):
            checkpoints = reader(folder)
            assert (checkpoints.steps(), checkpoints.latest(), checkpoints.best()) == ([], None, None)
        assert not (tmp_path / "absent").exists()

    def test_last_best_and_protected_steps_stay(self, tmp_path: Path) -> None:
        metrics = {1: 0.5, 2: 0.1, 3: 0.9, 4: 0.7, 6: float("nan")}
        saved(tmp_path, *range(1, 7), metrics=metrics, keep_last=2, keep_best=1, protect=frozenset({3}))
        checkpoints = reader(tmp_path)
        assert checkpoints.steps() == [2, 3, 5, 6]
        assert (checkpoints.latest(), checkpoints.best()) == (6, 2)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3", "5", "6"]

    def test_best_is_the_newest_without_metrics(self, tmp_path: Path) -> None:
        assert reader(saved(tmp_path, 1, 2)).best() == 2

    def test_a_step_that_is_not_there_is_named_with_those_that_are(self, tmp_path: Path) -> None:
        saved(tmp_path, 1, 2)
        with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 7 in .*; there are: \[1, 2\]"):
            reader(tmp_path).restore(7, abstract(STATE))
        with pytest.raises(FileNotFoundError, match="no complete checkpoint"):
            reader(tmp_path / "absent").restore_newest_good(abstract(STATE))

    def test_a_step_that_is_complete_is_not_written_again(self, tmp_path: Path) -> None:
        with reader(tmp_path) as checkpoints:
            assert checkpoints.save(4, state_of(4), position=POSITION, wait=True)
            before = (tmp_path / "4/manifest.json").stat().st_mtime_ns
            assert checkpoints.save(4, state_of(4), position=POSITION, wait=True)
        assert (tmp_path / "4/manifest.json").stat().st_mtime_ns == before

    def test_a_step_of_an_abandoned_run_is_written_anew(self, tmp_path: Path) -> None:
        saved(tmp_path, 4)
        with reader(tmp_path) as checkpoints:
            assert checkpoints.save(4, state_of(8), position=POSITION, wait=True)
            assert bits(checkpoints.restore(4, abstract(STATE)).state) == bits(state_of(8))

    def test_a_reader_changes_nothing(self, tmp_path: Path) -> None:
        saved(tmp_path, 4)
        (tmp_path / "5.orbax-checkpoint-tmp").mkdir()
        before = sorted(map(str, tmp_path.rglob("*")))
        reader(tmp_path).restore_newest_good(abstract(STATE))
        assert sorted(map(str, tmp_path.rglob("*"))) == before


class TestFault1BitFlip:
    @pytest.mark.parametrize("position", [0.03, 0.21, 0.5, 0.77, 0.99])
    def test_a_flipped_bit_in_the_arrays_is_refused_with_folder_array_and_fix(
        self, tmp_path: Path, position: float
    ) -> None:
        saved(tmp_path, 5)
        flip(array_files(tmp_path / "5")[0], position, bit=4)
        with pytest.raises(
            DamagedCheckpoint, match=r"checkpoint .*/5 is damaged: .*; resume from an earlier one"
        ):
            reader(tmp_path).restore(5, abstract(STATE))

    def test_a_flipped_bit_in_a_large_file_is_found_by_the_fingerprint_and_the_array_is_named(
        self, tmp_path: Path
    ) -> None:
        state = {"w": jax.random.normal(jax.random.key(0), (700, 1024)), "b": jnp.ones(3)}
        with reader(tmp_path) as checkpoints:
            checkpoints.save(1, state, position={}, wait=True)
            flip(array_files(tmp_path / "1")[0], 0.5, bit=1)
            with pytest.raises(
                DamagedCheckpoint, match=r"the values of \['w'\] are not those that were saved"
            ):
                checkpoints.restore(1, abstract(state))

    def test_the_newest_good_step_is_taken_and_the_damaged_one_is_named(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        saved(tmp_path, 5, 6)
        flip(array_files(tmp_path / "6")[0], 0.4, bit=0)
        checkpoints = reader(tmp_path)
        restored = checkpoints.restore_newest_good(abstract(STATE))
        assert restored.step == 5 and bits(restored.state) == bits(state_of(5))
        assert "step 6 is passed over" in caplog.text and checkpoints.latest() == 5

    def test_all_damaged_is_an_error(self, tmp_path: Path) -> None:
        saved(tmp_path, 5, 6)
        for step in "56":
            flip(array_files(tmp_path / step)[0], 0.4, bit=0)
        with pytest.raises(DamagedCheckpoint, match=r"checkpoint .*/5 is damaged"):
            reader(tmp_path).restore_newest_good(abstract(STATE))

    def test_training_on_after_a_fall_back_replaces_the_damaged_step(self, tmp_path: Path) -> None:
        saved(tmp_path, 5, 6)
        flip(array_files(tmp_path / "6")[0], 0.4, bit=0)
        with reader(tmp_path) as checkpoints:
            checkpoints.restore_newest_good(abstract(STATE))
            checkpoints.save(6, state_of(6), position=POSITION, wait=True)
        assert reader(tmp_path).restore_newest_good(abstract(STATE)).step == 6

    def test_any_damaged_or_shortened_file_is_named(self, tmp_path: Path) -> None:
        saved(tmp_path / "whole", 5)
        names = [p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*") if p.is_file()]
        for i, name in enumerate(names):
            for damage in ("flip", "shorten"):
                folder = tmp_path / f"{damage}{i}"
                shutil.copytree(tmp_path / "whole", folder)
                data = (folder / name).read_bytes()
                if not data:
                    continue
                changed = bytes([data[0] ^ 1]) + data[1:] if damage == "flip" else data[: len(data) // 2]
                (folder / name).write_bytes(changed)
                with pytest.raises(DamagedCheckpoint, match=name.name):
                    reader(folder).restore(5, abstract(STATE))

    def test_a_changed_number_in_the_manifest_is_refused(self, tmp_path: Path) -> None:
        path = saved(tmp_path, 5) / "5/manifest.json"
        path.write_text(path.read_text().replace('"row": 5', '"row": 4'))
        with pytest.raises(DamagedCheckpoint, match=r"manifest.json was changed after it was written"):
            reader(tmp_path).restore(5, abstract(STATE))


class TestFault2HalfDeletedAndEmptyFolders:
    def test_an_empty_step_folder_is_never_listed_and_is_cleaned_up(self, tmp_path: Path) -> None:
        saved(tmp_path, 5)
        (tmp_path / "9").mkdir()
        checkpoints = reader(tmp_path)
        assert (checkpoints.steps(), checkpoints.latest()) == ([5], 5)
        checkpoints.clean_up()
        assert not (tmp_path / "9").exists()

    def test_a_half_deleted_step_is_never_listed(self, tmp_path: Path) -> None:
        saved(tmp_path, 5, 6)
        names = [path.relative_to(tmp_path / "6") for path in (tmp_path / "6").rglob("*") if path.is_file()]
        for name in names:
            copy = tmp_path / "copy"
            shutil.copytree(tmp_path / "6", copy / "6")
            (copy / "6" / name).unlink()
            assert reader(copy).steps() == []
            shutil.rmtree(copy)
        assert reader(tmp_path).steps() == [5, 6]

    def test_a_deletion_that_is_killed_anywhere_leaves_no_listed_step(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        saved(tmp_path, 1, keep_last=1)
        monkeypatch.setattr(
            "laminate.train.manifest.remove_tree", lambda place: None
        )  # killed after the manifest
        with Checkpoints(tmp_path, recipe=RECIPE, keep_last=1) as checkpoints:
            checkpoints.save(2, state_of(2), position=POSITION, wait=True)
        assert (tmp_path / "1/state").exists() and reader(tmp_path).steps() == [2]
        monkeypatch.undo()
        reader(tmp_path).clean_up()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["2"]

    def test_cleaning_up_leaves_foreign_files_alone(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "7").mkdir()
        (tmp_path / "7/notes.txt").write_text("mine")
        (tmp_path / "notes").mkdir()
        reader(tmp_path).clean_up()
        assert (tmp_path / "7/notes.txt").exists() and (tmp_path / "notes").exists()
        assert "7 is no complete checkpoint and is ignored" in caplog.text


def run_child(body: str, folder: Path, **options: Any) -> subprocess.Popen[str]:
    """A process that imports the test state and runs `body` with `folder`."""
    head = """
        import os, resource, sys
        from pathlib import Path
        from laminate.train.checkpoint import Checkpoints
        from laminate.train.manifest import CheckpointError
        from training_state import POSITION, RECIPE, abstract, bits, state_of
        folder = Path(sys.argv[1])
        """
    # The checkout under test, and not what may be installed.
    sources = [str(Path(laminate.__file__).parents[1]), str(Path(__file__).parent)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sources)}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(body), str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


class TestFault3KilledInMidSave:
    def test_the_last_acknowledged_step_survives_kill_9_and_the_rest_is_cleaned_up(
        self, tmp_path: Path
    ) -> None:
        body = """
            with Checkpoints(folder, recipe=RECIPE, keep_last=2) as checkpoints:
                for step in range(1, 500):
                    state = state_of(step, width=40_000)
                    print("begin", step, flush=True)
                    checkpoints.save(step, state, position=POSITION | {"row": step}, wait=True)
                    print("saved", step, flush=True)
            """
        like = abstract(state_of(0, width=40_000))
        for round_, delay in enumerate((0.0, 0.02, 0.05)):
            child = run_child(body, tmp_path)
            assert child.stdout is not None
            wanted = 3
            last = 0
            for line in child.stdout:
                word, number = line.split()
                last = int(number) if word == "saved" else last
                if word == "begin" and int(number) == wanted:
                    break
            time.sleep(delay)
            child.send_signal(signal.SIGKILL)
            out, _ = child.communicate()
            last = max(
                [last, *(int(line.split()[1]) for line in out.splitlines() if line.startswith("saved"))]
            )
            checkpoints = reader(tmp_path)
            assert last in checkpoints.steps(), (round_, last, checkpoints.steps())
            for step in checkpoints.steps():
                restored = checkpoints.restore(step, like)
                assert (
                    bits(restored.state) == bits(state_of(step, width=40_000))
                    and restored.position["row"] == step
                )
        checkpoints.clean_up()
        assert [path.name for path in tmp_path.iterdir() if not path.name.isdecimal()] == []
        assert sorted(int(path.name) for path in tmp_path.iterdir()) == checkpoints.steps()

    def test_the_first_save_cleans_up_what_a_killed_one_left(self, tmp_path: Path) -> None:
        (tmp_path / "8.orbax-checkpoint-tmp/state").mkdir(parents=True)
        (tmp_path / "7/state").mkdir(parents=True)
        (tmp_path / "7/manifest.json.partial").write_text("{")
        saved(tmp_path, 9)
        assert [path.name for path in tmp_path.iterdir()] == ["9"]


class TestFault4DiskFull:
    LIMIT = """
        with Checkpoints(folder, recipe=RECIPE) as checkpoints:
            checkpoints.save(1, state_of(1), position=POSITION, wait=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
            big = state_of(2, width=40_000)
        """

    def test_a_forced_save_says_so_at_once_and_frees_the_space(self, tmp_path: Path) -> None:
        body = (
            self.LIMIT
            + """
            try:
                checkpoints.save(2, big, position=POSITION, wait=True)
            except CheckpointError as error:
                print(error)
            assert checkpoints.failures == 1 and checkpoints.steps() == [1], (checkpoints.failures)
            assert os.listdir(folder) == ["1"], os.listdir(folder)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            checkpoints.save(3, big, position=POSITION, wait=True)
            assert checkpoints.failures == 0 and checkpoints.steps() == [1, 3]
        """
        )
        child = run_child(body, tmp_path)
        out, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
        assert "the checkpoint of step 2 was not written" in out and "File too large" in out
        assert bits(reader(tmp_path).restore(1, abstract(STATE)).state) == bits(state_of(1))

    def test_a_background_save_is_reported_at_the_next_call_and_counted(self, tmp_path: Path) -> None:
        body = (
            self.LIMIT
            + """
            for step in (2, 3, 4):
                assert checkpoints.save(step, big, position=POSITION)
                while checkpoints.settle() < step - 1:
                    pass
            assert checkpoints.failures == 3 and checkpoints.steps() == [1]
            try:
                checkpoints.wait()
            except CheckpointError as error:
                print(error)
            assert os.listdir(folder) == ["1"], os.listdir(folder)
        """
        )
        child = run_child(body, tmp_path)
        out, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
        assert "the checkpoint of step 4 was not written" in out
        assert err.count("free space or mend the folder") == 3

    def test_a_full_tmpfs_is_named(self, tmp_path: Path) -> None:
        if os.geteuid() != 0 or shutil.which("mount") is None:
            pytest.skip("mounting a small file system needs root")
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "none", tmp_path], capture_output=True
        ).returncode:
            pytest.skip("this machine does not allow mounts")
        body = """
            with Checkpoints(folder, recipe=RECIPE) as checkpoints:
                checkpoints.save(1, state_of(1), position=POSITION, wait=True)
                try:
                    checkpoints.save(2, state_of(2, width=40_000), position=POSITION, wait=True)
                except CheckpointError as error:
                    print(error)
                assert os.listdir(folder) == ["1"] and checkpoints.steps() == [1]
            """
        try:
            child = run_child(body, tmp_path)
            out, err = child.communicate(timeout=60)
        finally:
            subprocess.run(["umount", tmp_path], check=True)
        assert child.returncode == 0, err
        assert "No space left on device" in out

    def test_an_error_in_the_last_save_is_not_swallowed_by_close(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("laminate.train.checkpoint.write_manifest", fail)
        checkpoints = reader(tmp_path)
        checkpoints.save(1, STATE, position=POSITION)
        with pytest.raises(CheckpointError, match=r"step 1 was not written to .*No space left on device"):
            checkpoints.close()
        assert list(tmp_path.iterdir()) == []


class TestFault5SaveWhileSaving:
    def test_a_save_during_a_save_is_skipped_and_logged_and_a_forced_one_waits(
        self, tmp_path: Path, slow_commit: threading.Event, caplog: pytest.LogCaptureFixture
    ) -> None:
        with reader(tmp_path) as checkpoints:
            assert checkpoints.save(1, state_of(1), position=POSITION)
            assert not checkpoints.save(2, state_of(2), position=POSITION)
            assert "step 2: checkpoint skipped" in caplog.text
            assert checkpoints.steps() == []
            threading.Timer(0.3, slow_commit.set).start()
            assert checkpoints.save(3, state_of(3), position=POSITION, wait=True)
            assert checkpoints.steps() == [1, 3]

    @pytest.mark.parametrize("primary", [True, False])
    def test_all_hosts_skip_if_one_is_busy_and_one_says_so(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, primary: bool
    ) -> None:
        with Checkpoints(tmp_path, recipe=RECIPE, primary=primary, any_host=lambda flag: True) as checkpoints:
            assert not checkpoints.save(1, STATE, position=POSITION)
            checkpoints._any_host = lambda flag: flag
        assert ("step 1: checkpoint skipped" in caplog.text) == primary

    def test_save_blocks_for_much_less_time_than_the_whole_save_takes(
        self, tmp_path: Path, slow_commit: threading.Event
    ) -> None:
        with reader(tmp_path) as checkpoints:
            begin = time.monotonic()
            checkpoints.save(1, STATE, position=POSITION)
            assert time.monotonic() - begin < 5.0 and checkpoints.steps() == []
            slow_commit.set()


class TestFault6RelativePath:
    def test_a_relative_path_is_resolved_at_the_start(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path)
        with Checkpoints("runs/a", recipe=RECIPE) as checkpoints:
            monkeypatch.chdir(tmp_path / "elsewhere")
            checkpoints.save(1, STATE, position=POSITION, wait=True)
        assert (tmp_path / "runs/a/1/manifest.json").exists() and not (tmp_path / "elsewhere/runs").exists()


def other_dtype(state: Any) -> Any:
    return eqx.tree_at(lambda s: s.params.weight, state, jax.ShapeDtypeStruct((8, 24), jnp.bfloat16))


def other_shape(state: Any) -> Any:
    return eqx.tree_at(lambda s: s.params.weight, state, jax.ShapeDtypeStruct((8, 25), jnp.float32))


class TestFault7AnotherStateOrRecipe:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                other_dtype,
                r"\.params\.weight is float32\[8, 24\] in the checkpoint but bfloat16\[8, 24\] here",
            ),
            (
                other_shape,
                r"\.params\.weight is float32\[8, 24\] in the checkpoint but float32\[8, 25\] here",
            ),
            (lambda s: s.params, r"\.half is not in the checkpoint; .*in the checkpoint only"),
        ],
        ids=["dtype", "shape", "names"],
    )
    def test_other_arrays_are_refused_by_name_without_a_cast(
        self, tmp_path: Path, change: Callable[[Any], Any], message: str
    ) -> None:
        saved(tmp_path, 5)
        with pytest.raises(MismatchedCheckpoint, match=message):
            reader(tmp_path).restore(5, change(abstract(STATE)))

    def test_another_recipe_is_refused_with_the_fields_that_differ(self, tmp_path: Path) -> None:
        saved(tmp_path, 5)
        other = {**RECIPE, "optim": {"rate": 0.2}, "new": 1}
        with pytest.raises(
            MismatchedCheckpoint, match=r"new: absent .*; optim.rate: 0.1 \(saved\), 0.2 \(now\)"
        ):
            Checkpoints(tmp_path, recipe=other).restore_newest_good(abstract(STATE))

    def test_the_caller_says_which_differences_matter(self, tmp_path: Path) -> None:
        saved(tmp_path, 5)
        checkpoints = Checkpoints(tmp_path, recipe={"seed": 8}, differences=lambda saved, now: [])
        assert checkpoints.restore(5, abstract(STATE)).step == 5
        assert Checkpoints(tmp_path, recipe=None).restore(5, abstract(STATE)).step == 5

    def test_a_mismatch_is_no_damage_so_no_other_step_is_tried(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        saved(tmp_path, 5, 6)
        with (
            caplog.at_level(logging.WARNING),
            pytest.raises(MismatchedCheckpoint, match=r"checkpoint .*/6 holds"),
        ):
            reader(tmp_path).restore_newest_good(other_dtype(abstract(STATE)))
        assert "passed over" not in caplog.text

    def test_a_leaf_that_is_no_array_is_refused(self, tmp_path: Path) -> None:
        with reader(tmp_path) as checkpoints, pytest.raises(ValueError, match=r"leaf \['rate'\] is a float"):
            checkpoints.save(1, {"rate": 0.1}, position=POSITION)

    def test_a_manifest_of_a_later_format_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("laminate.train.manifest._VERSION", 2)
        saved(tmp_path, 5)
        monkeypatch.undo()
        with pytest.raises(MismatchedCheckpoint, match="format version 2, this program reads 1"):
            reader(tmp_path).restore(5, abstract(STATE))


def _foreign(folder: Path, kind: str) -> None:
    place = folder / "7"
    if kind == "file":
        place.write_text("mine")
    elif kind == "dangling link":
        place.symlink_to("nowhere")
    else:
        (folder.parent / "elsewhere").mkdir()
        (folder.parent / "elsewhere/mine").write_text("mine")
        place.symlink_to("../elsewhere")


@pytest.mark.parametrize("kind", ["file", "dangling link", "link to a folder"])
def test_what_stands_in_the_place_of_a_checkpoint_is_named_and_never_touched(
    tmp_path: Path, kind: str
) -> None:
    folder = saved(tmp_path / "checkpoints", 5)
    _foreign(folder, kind)
    for name in ("007", "٣", "8.bak", ".DS_Store"):
        (folder / name).mkdir()
    with reader(folder) as checkpoints:
        assert checkpoints.steps() == [5]
        checkpoints.clean_up()
        assert not checkpoints.save(7, STATE, position=POSITION)
        with pytest.raises(
            CheckpointError, match=r"step 7 was not written .*7 is a file or a link.*steps: \[5\]"
        ):
            checkpoints.wait()
        assert checkpoints.save(8, STATE, position=POSITION, wait=True)
        assert checkpoints.steps() == [5, 8]
    if kind == "link to a folder":
        assert (tmp_path / "elsewhere/mine").read_text() == "mine"
    assert {"7", "007", "٣", "8.bak", ".DS_Store"} <= {entry.name for entry in folder.iterdir()}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("leaves", []),
        ("leaves", {"a": {"shape": [-1], "dtype": "float32", "fingerprint": 0}}),
        ("leaves", {"a": {"shape": "7", "dtype": "float32", "fingerprint": 0}}),
        ("files", {"../../x": {"size": 1}}),
        ("files", {"x": {"crc32": 1}}),
        ("files", {"x": 7}),
        ("step", "5"),
        ("metric", "low"),
        ("position", None),
        ("recipe", 7),
        ("version", [1]),
    ],
)
def test_a_manifest_with_a_field_of_another_type_is_named_though_its_checksum_is_right(
    tmp_path: Path, field: str, value: Any
) -> None:
    path = saved(tmp_path, 5) / "5/manifest.json"
    body = json.loads(path.read_text()) | {field: value}
    del body["checksum"]
    checksum = zlib.crc32(json.dumps(body, sort_keys=True).encode())
    path.write_text(json.dumps(body | {"checksum": checksum}))
    with pytest.raises(CheckpointError, match=field):
        reader(tmp_path).restore(5, abstract(STATE))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"step": 1e999}', '{"step": ' + "9" * 4500 + "}", "[]", '"x"', "NaN"]
)
def test_a_manifest_that_is_no_plain_json_is_a_damaged_checkpoint(tmp_path: Path, text: str) -> None:
    (saved(tmp_path, 5) / "5/manifest.json").write_text(text)
    with pytest.raises(DamagedCheckpoint, match=r"manifest.json cannot be read"):
        reader(tmp_path).restore(5, abstract(STATE))


def test_only_the_primary_process_writes_manifests(tmp_path: Path) -> None:
    names: list[str] = []
    with Checkpoints(tmp_path, recipe=RECIPE, primary=False, barrier=names.append) as checkpoints:
        checkpoints.save(1, STATE, position=POSITION, wait=True)
    assert not (tmp_path / "1/manifest.json").exists() and names == ["checkpoint", "checkpoint"]


def test_the_manifest_says_what_the_checkpoint_holds(tmp_path: Path) -> None:
    manifest = json.loads((saved(tmp_path, 5, metrics={5: 0.25}) / "5/manifest.json").read_text())
    assert (manifest["step"], manifest["metric"], manifest["recipe"]) == (5, 0.25, RECIPE)
    assert manifest["leaves"][".params.weight"]["shape"] == [8, 24]
    assert manifest["leaves"][".key"]["dtype"] == "key<fry>"
