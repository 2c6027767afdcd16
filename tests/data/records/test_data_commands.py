import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from laminate.data.__main__ import main
from laminate.data.contact_sheet import contact_sheet
from laminate.data.prepare import Options, prepare
from laminate.data.sources import open_records


def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "laminate.data", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_prepare_check_and_show_from_the_shell(image_folder: Path, tmp_path: Path):
    done = run("prepare", image_folder, tmp_path / "out", "--shards", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "train: 30 images, 3 classes, 2 files" in done.stdout
    done = run("check", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert "33 records, sound" in done.stdout


@pytest.mark.parametrize("args", [("prepare", "nowhere", "out"), ("check", "nowhere"), ("show", "nowhere")])
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(
    args: tuple[str, ...], capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(list(args)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and "nowhere" in captured.err
    assert not list(tmp_path.iterdir())


def test_faults_make_check_exit_with_1(image_folder: Path, tmp_path: Path, capsys):
    prepare(str(image_folder), tmp_path / "out", Options())
    next((tmp_path / "out").glob("*train*")).write_bytes(b"")
    assert main(["check", str(tmp_path / "out")]) == 1
    assert "is empty (0 bytes)" in capsys.readouterr().out


def test_show_writes_a_contact_sheet(image_folder: Path, tmp_path: Path):
    (image_folder / "cat" / "03.jpg").write_bytes(b"no image")
    assert main(["show", str(image_folder), "--out", str(tmp_path / "sheet.png"), "--count", "13"]) == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > sheet.height > 200


def test_a_contact_sheet_shows_every_record_in_the_order_of_the_classes_and_the_unreadable_in_red(
    image_folder: Path,
):
    (image_folder / "cat" / "03.jpg").write_bytes(b"no image")
    records = open_records(str(image_folder), "train")
    (bad,) = (i for i in range(len(records)) if records[i].key == "cat/03.jpg")
    sheet = np.asarray(contact_sheet(records, len(records), columns=6))
    good = sorted((i for i in range(len(records)) if i != bad), key=lambda i: records[i].label)
    for place, index in enumerate([*good, bad]):  # a cell is 112 pixels wide and high, over a caption of 18
        top, left = 6 + place // 6 * 136, 6 + place % 6 * 118
        cell, caption = (
            sheet[top : top + 112, left : left + 112],
            sheet[top + 113 : top + 130, left : left + 112],
        )
        assert (caption < 128).any()
        if index == bad:
            assert (cell == (200, 40, 40)).all()
            continue
        with Image.open(io.BytesIO(records[index].image)) as picture:
            size = (112, max(1, round(picture.height * 112 / picture.width)))
            shown = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.NEAREST)).astype(int)
        first = (112 - len(shown)) // 2
        assert np.abs(cell[first : first + len(shown)] - shown).mean() < 8  # two decoders of JPEG
        assert (cell[:first] == 255).all() and (cell[first + len(shown) :] == 255).all()


def test_left_out_images_are_listed(image_folder: Path, tmp_path: Path, capsys):
    (image_folder / "cat" / "[03].jpg").write_bytes(b"no image")
    assert main(["prepare", str(image_folder), str(tmp_path / "out"), "--max-bad", "1"]) == 0
    assert "left out cat/[03].jpg: no readable image" in capsys.readouterr().out


def test_a_killed_preparation_leaves_nothing_half_and_goes_on(image_folder: Path, tmp_path: Path):
    big, out = tmp_path / "big", tmp_path / "out"
    for copy in range(40):
        target = big / f"{copy:02d}"
        target.mkdir(parents=True)
        for path in image_folder.glob("*/*.jpg"):
            os.link(path, target / f"{path.parent.name}{path.name}")
    command = [sys.executable, "-m", "laminate.data", "prepare", str(big), str(out), "--shards", "40"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(out.glob(".prepare/*train*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (out / "manifest.json").exists()
    finished = {path.stem: path for path in out.glob(".prepare/*train*.json")}
    times = {name: (out / name).stat().st_mtime_ns for name in finished}
    assert 3 <= len(times) < 80
    done = run("prepare", big, out, "--shards", "40")
    assert (done.returncode, done.stderr) == (0, "")
    assert {name: (out / name).stat().st_mtime_ns for name in times} == times
    assert len(open_records(str(out), "train")) == 1188
    assert run("check", out).returncode == 0
