"""A run folder belongs to one recipe and one process, and its metrics hold each step once."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from laminate.train.run_folder import RunFolder

NOBODY = 65534
RECIPE = {"seed": 7, "optim": {"rate": 0.1, "betas": (0.9, 0.99)}}


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def opened(path: Path, *, fresh: bool = False) -> RunFolder:
    folder = RunFolder(path)
    folder.open(RECIPE, fresh=fresh)
    return folder


def test_a_new_folder_gets_the_recipe_and_the_same_recipe_opens_it_again(tmp_path: Path) -> None:
    for _ in range(2):
        with opened(tmp_path / "runs/a") as folder:
            assert folder.read_recipe() == json.loads(json.dumps(RECIPE))
    assert sorted(path.name for path in (tmp_path / "runs/a").iterdir()) == ["lock", "recipe.json"]


def test_another_recipe_is_refused_with_the_fields_that_differ(tmp_path: Path) -> None:
    opened(tmp_path).close()
    other = {"seed": 8, "optim": {"rate": 0.2, "betas": (0.9, 0.99)}, "new": True}
    message = (
        r"another recipe: new: absent \(saved\), True \(now\); optim.rate: 0.1 .*; seed: 7 .*, 8 \(now\)"
    )
    with pytest.raises(ValueError, match=message):
        RunFolder(tmp_path).open(other)
    RunFolder(tmp_path).open(other, differences=lambda saved, now: [])


def test_a_relative_path_is_resolved_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = RunFolder("runs/a")
    monkeypatch.chdir("/")
    with folder:
        folder.open(RECIPE)
        folder.log(1, {"loss": 0.5})
    assert lines(tmp_path / "runs/a") == [{"step": 1, "loss": 0.5}]


def test_a_folder_below_a_file_cannot_be_written_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write to the run folder .*/file/run: Not a directory; choose"):
        RunFolder(tmp_path / "file/run").open(RECIPE)


def test_a_folder_without_permission_cannot_be_written_and_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    user = os.geteuid()
    if user == 0:  # who may write anywhere
        os.seteuid(NOBODY)
    try:
        with pytest.raises(OSError, match=r"cannot write to the run folder .*: Permission denied"):
            RunFolder(tmp_path / "run").open(RECIPE)
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_damaged_recipe_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(ValueError, match=r"recipe.json is damaged"):
        RunFolder(tmp_path).open(RECIPE)


def test_a_folder_without_a_recipe_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is no run folder: it holds no recipe.json"):
        RunFolder(tmp_path).read_recipe()


def test_metrics_are_on_the_disk_after_every_line(tmp_path: Path) -> None:
    with opened(tmp_path) as folder:
        for step in (1, 2):
            folder.log(step, {"loss": float("nan") if step == 2 else 0.5, "images": 3})
            assert len(lines(tmp_path)) == step
    assert lines(tmp_path) == [{"step": 1, "loss": 0.5, "images": 3}, {"step": 2, "loss": None, "images": 3}]


def test_after_a_rewind_the_file_has_each_step_once(tmp_path: Path) -> None:
    with opened(tmp_path) as folder:
        for step in range(1, 8):
            folder.log(step, {"loss": 1.0 / step})
        folder.log(4, {"validation/loss": 0.3})
    whole = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(whole + '{"step": 8, "lo')  # killed while it wrote
    with opened(tmp_path) as folder:
        folder.rewind_metrics(5)
        for step in range(6, 8):
            folder.log(step, {"loss": 1.0 / step})
    assert sorted(map(json.dumps, lines(tmp_path))) == sorted(
        map(json.dumps, map(json.loads, whole.splitlines()))
    )


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    with opened(tmp_path):
        with pytest.raises(OSError, match=rf"process {os.getpid()} trains in .* already; wait for it"):
            opened(tmp_path)
    opened(tmp_path).close()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import sys, time; from laminate.train.run_folder import RunFolder; f = RunFolder(sys.argv[1]);"
        "f.open({'seed': 7, 'optim': {'rate': 0.1, 'betas': [0.9, 0.99]}}); "
        "print('open', flush=True); time.sleep(99)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "open\n"
    with pytest.raises(OSError, match=f"process {child.pid} trains"):
        opened(tmp_path)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    opened(tmp_path).close()


def test_fresh_moves_the_earlier_run_aside_and_keeps_one(tmp_path: Path) -> None:
    for name in ("first", "second", "third"):
        with opened(tmp_path / "a", fresh=True) as folder:
            folder.log(1, {"loss": 0.5, "name": name})
    assert lines(tmp_path / "a")[0]["name"] == "third"
    assert lines(tmp_path / "a.previous")[0]["name"] == "second"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.previous"]


@pytest.mark.parametrize("name", ["a", "a.previous"])
def test_fresh_refuses_a_folder_that_is_no_run(tmp_path: Path, name: str) -> None:
    opened(tmp_path / "a").close()
    (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / name / "recipe.json").unlink(missing_ok=True)
    (tmp_path / name / "thesis.tex").write_text("mine")
    with pytest.raises(
        ValueError, match=r"--fresh: .* is no run folder .*'thesis.tex'.*; nothing was removed"
    ):
        opened(tmp_path / "a", fresh=True)
    assert (tmp_path / name / "thesis.tex").exists()


def test_fresh_in_an_absent_or_empty_folder_just_starts(tmp_path: Path) -> None:
    opened(tmp_path / "a", fresh=True).close()
    (tmp_path / "b").mkdir()
    opened(tmp_path / "b", fresh=True).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_fresh_does_not_move_a_folder_that_is_in_use(tmp_path: Path) -> None:
    with opened(tmp_path / "a"), pytest.raises(OSError, match="trains in"):
        opened(tmp_path / "a", fresh=True)


def test_other_processes_than_the_first_touch_nothing(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "a", primary=False) as folder:
        folder.open(RECIPE)
        folder.log(1, {"loss": 0.5})
        folder.rewind_metrics(0)
    assert not (tmp_path / "a").exists()


def test_the_module_does_not_import_jax() -> None:
    code = "import sys, laminate.train.run_folder, laminate.train.signals; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("limit", [0, 1, 40])
def test_metrics_that_do_not_fit_are_kept_whole_and_written_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """A disk that takes `limit` bytes and then no more, in the middle of a line too."""
    left, write = [limit], os.write

    def full(descriptor: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = write(descriptor, data[: left[0]])
        left[0] -= taken
        return taken

    with opened(tmp_path) as folder:
        monkeypatch.setattr(os, "write", full)
        folder.log(1, {"loss": 0.5})
        folder.log(2, {"loss": 0.25})
        assert "metrics.jsonl cannot be written: No space left" in str(folder.failure)
        text = folder.metrics_path.read_text()
        assert text == "" or text.endswith("\n")
        monkeypatch.setattr(os, "write", write)
        folder.log(3, {"loss": 0.125})
        assert folder.failure is None
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize("name", ["lock", "metrics.jsonl", "recipe.json.partial"])
def test_a_link_in_a_run_folder_leads_nowhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "victim").write_text("precious\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to("../victim")
    try:
        with opened(tmp_path / "run") as folder:
            folder.log(1, {"loss": 0.5})
            assert name != "metrics.jsonl" or "a link is in its place" in str(folder.failure)
    except OSError as error:
        assert name == "lock" and "a link is in its place" in str(error)
    assert (tmp_path / "victim").read_text() == "precious\n"


@pytest.mark.parametrize(
    "text",
    [
        b'{"step": NaN}',
        b"\xff\xfe",
        b'{"step": "2"}',
        b'{"step": true}',
        b"[" * 5000,
        b'{"step": 1e999}',
        b"7",
    ],
)
def test_lines_of_metrics_that_are_none_of_ours_are_dropped(tmp_path: Path, text: bytes) -> None:
    with opened(tmp_path) as folder:
        folder.log(1, {"loss": 0.5})
        with folder.metrics_path.open("ab") as file:
            file.write(text + b"\n")
        folder.log(2, {"loss": 0.5})
        folder.rewind_metrics(2)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


@pytest.mark.parametrize(
    "text", ["[" * 9000, '{"a": 1e400}', '{"a": Infinity}', '{"a": ' + "9" * 5000 + "}", '{"a": 1, "a": 2}']
)
def test_a_recipe_that_is_no_plain_json_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(ValueError, match=r"recipe.json is damaged"):
        RunFolder(tmp_path).open(RECIPE)
