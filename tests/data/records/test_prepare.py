import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from array_record.python import array_record_module

from laminate.data.check import check
from laminate.data.decode import decode_image
from laminate.data.faults import TooManyBadImagesError
from laminate.data.prepare import Options, prepare, tfds_name
from laminate.data.prepared import JOURNAL, MANIFEST
from laminate.data.records import RecordFileError
from laminate.data.sources import open_records
from laminate.storage.writing import UnwritableError

THREE = Options(shards=3)
ROOM = "Make room, and the same command goes on"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_prepared_records_are_the_images_of_the_source(image_folder: Path, tmp_path: Path):
    prepared = prepare(str(image_folder), tmp_path / "out", THREE)
    assert prepared.classes == ("cat", "dog", "emu")
    seen = {}
    for split, count in (("train", 30), ("validation", 3)):
        records = open_records(str(tmp_path / "out"), split)
        assert len(records) == records.manifest.count == count
        assert "held out" in records.manifest.source
        seen |= {records[i].key: records[i] for i in range(len(records))}
    assert len(seen) == 33
    for key, example in seen.items():
        assert example.image == (image_folder / key).read_bytes()
        assert prepared.classes[example.label] == key.split("/")[0]
    assert check(tmp_path / "out").faults == ()


def test_tfds_reads_a_prepared_folder_without_tensorflow(image_folder: Path, tmp_path: Path):
    import tensorflow_datasets as tfds

    prepare(str(image_folder), tmp_path / "out", THREE)
    builder = tfds.builder_from_directory(str(tmp_path / "out"))
    source = builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
    ours = open_records(str(tmp_path / "out"), "train")
    assert len(source) == len(ours) == 30
    for index in (0, 13, 29):
        theirs = source[index]
        assert (theirs["image"], theirs["label"], theirs["key"].decode()) == ours[index]
    assert builder.info.features["label"].names == ["cat", "dog", "emu"]
    decoded = builder.as_data_source("validation")[1]["image"]
    assert np.array_equal(
        decoded.shape, decode_image(open_records(str(tmp_path / "out"), "validation")[1].image).shape
    )
    assert "tensorflow" not in sys.modules


def test_the_bytes_do_not_depend_on_the_workers(image_folder: Path, tmp_path: Path):
    outs = [tmp_path / f"out{workers}" for workers in (1, 2, 5)]
    for workers, out in zip((1, 2, 5), outs, strict=True):
        prepare(str(image_folder), out, Options(shards=4, workers=workers))
    assert contents(outs[0]) == contents(outs[1]) == contents(outs[2])


def test_an_interrupted_preparation_goes_on_and_keeps_its_finished_shards(image_folder: Path, tmp_path: Path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    one = Options(shards=3, workers=1)
    prepare(str(image_folder), whole, one)
    done = 0

    def pull_the_plug(records: int) -> None:
        nonlocal done
        done += records
        if done == 23:  # the third shard of ten is half written
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(str(image_folder), out, one, on_records=pull_the_plug)
    assert not (out / MANIFEST).exists()
    with pytest.raises(FileNotFoundError, match="was interrupted: run the same 'prepare' command again"):
        open_records(str(out), "train")
    finished = {path: path.stat().st_mtime_ns for path in out.glob("*array_record*")}
    assert len(finished) == 2
    prepare(str(image_folder), out, one)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert contents(out) == contents(whole)


def test_a_shard_without_its_line_in_the_journal_is_written_again(image_folder: Path, tmp_path: Path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    prepare(str(image_folder), whole, THREE)
    shutil.copytree(whole, out)
    (out / JOURNAL).mkdir()
    (out / JOURNAL / "plan.json").write_text(
        json.dumps({"plan": json.loads((out / MANIFEST).read_text())["plan"]})
    )
    (out / MANIFEST).unlink()
    half = next(out.glob("*train*"))
    half.write_bytes(half.read_bytes()[:1000])
    prepare(str(image_folder), out, THREE)
    assert contents(out) == contents(whole)


def test_the_same_preparation_again_changes_nothing(image_folder: Path, tmp_path: Path):
    first = prepare(str(image_folder), tmp_path / "out", THREE)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert prepare(str(image_folder), tmp_path / "out", THREE) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_other_data_in_the_way_are_refused(image_folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    prepare(str(image_folder), out, THREE)
    with pytest.raises(FileExistsError, match="holds other prepared data"):
        prepare(str(image_folder), out, Options(shards=2))
    with pytest.raises(FileExistsError, match="is not empty and holds no prepared data"):
        prepare(str(image_folder), image_folder, THREE)
    (tmp_path / "begun" / JOURNAL).mkdir(parents=True)
    (tmp_path / "begun" / JOURNAL / "plan.json").write_text('{"plan": "another"}')
    with pytest.raises(FileExistsError, match="unfinished preparation of another source"):
        prepare(str(image_folder), tmp_path / "begun", THREE)


def test_bad_images_are_left_out_up_to_the_limit_and_named(
    image_folder: Path, tmp_path: Path, picture: Callable[..., bytes]
):
    (image_folder / "cat" / "03.jpg").write_bytes(picture(3)[:90])
    (image_folder / "dog" / "05.jpg").write_bytes(b"hello")
    with pytest.raises(
        TooManyBadImagesError, match=r"1 images cannot be used, more than the 0 allowed.*03|05"
    ):
        prepare(str(image_folder), tmp_path / "strict", Options())
    prepared = prepare(str(image_folder), tmp_path / "out", Options(max_bad=2))
    assert {skipped.key for skipped in prepared.skipped} == {"cat/03.jpg", "dog/05.jpg"}
    assert sum(shard.count for shard in prepared.shards) == 31
    assert check(tmp_path / "out").faults == ()


def test_a_bomb_is_refused_by_its_header(image_folder: Path, tmp_path: Path):
    from PIL import Image

    Image.new("L", (3000, 3000)).save(image_folder / "emu" / "bomb.png")
    with pytest.raises(TooManyBadImagesError, match=r"emu/bomb.png.*3000 x 3000"):
        prepare(str(image_folder), tmp_path / "out", Options(max_pixels=10**6, decode=False))


def test_a_failing_write_stops_everything_with_its_reason(image_folder: Path, tmp_path: Path, monkeypatch):
    class Full:
        def __init__(self, fails: str):
            self.fails = fails

        def write(self, record: bytes) -> None:
            self._fail("write")

        def close(self) -> None:
            self._fail("close")

        def _fail(self, call: str) -> None:
            if call in self.fails:
                raise RuntimeError(f"RESOURCE_EXHAUSTED: {os.strerror(errno.ENOSPC)}; {call}")

    for fails in ("write", "close", "write close"):
        monkeypatch.setattr(array_record_module, "ArrayRecordWriter", lambda *_, fails=fails: Full(fails))
        with pytest.raises(UnwritableError, match=r"partial cannot be written: .*is the disk full.* " + ROOM):
            prepare(str(image_folder), tmp_path / "out", THREE)
    monkeypatch.undo()
    assert len(prepare(str(image_folder), tmp_path / "out", THREE).shards) == 6


def test_a_disk_that_fills_up_is_one_line_code_1_and_the_same_command_goes_on(
    image_folder: Path, tmp_path: Path
):
    """A real one: no file of the process may grow beyond a few blocks."""
    command = [sys.executable, "-m", "laminate.data", "prepare", str(image_folder), str(tmp_path / "out")]
    for blocks in (1, 9):
        limited = ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", *command]
        done = subprocess.run(limited, capture_output=True, text=True, check=False)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert "cannot be written" in done.stderr and "same command goes on" in done.stderr
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert check(tmp_path / "out").faults == ()


def test_a_source_without_labels_is_prepared_without(tmp_path: Path, picture: Callable[..., bytes]):
    for number in range(13):
        path = tmp_path / "flat" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture(number, "PNG"))
    prepare(str(tmp_path / "flat"), tmp_path / "out", Options(held_out=0.0))
    records = open_records(
        str(tmp_path / "out"), "train"
    )  # holds out a part itself, the folder having no validation
    assert (len(records), records.manifest.classes, records[0].label) == (12, (), -1)
    assert check(tmp_path / "out").faults == ()


def test_a_prepared_folder_can_be_the_source_of_another(image_folder: Path, tmp_path: Path):
    prepare(str(image_folder), tmp_path / "one", THREE)
    prepare(str(tmp_path / "one"), tmp_path / "two", Options(shards=1))
    first, second = (open_records(str(tmp_path / name), "train") for name in ("one", "two"))
    assert [first[i] for i in range(30)] == [second[i] for i in range(30)]


def test_a_manifest_that_names_outside_files_is_refused(image_folder: Path, tmp_path: Path):
    prepare(str(image_folder), tmp_path / "out", THREE)
    path = tmp_path / "out" / MANIFEST
    path.write_text(
        path.read_text().replace('"animals-train.array_record-00000', '"../animals-train.array_record-00000')
    )
    with pytest.raises(RecordFileError, match="not in that folder: refused"):
        open_records(str(tmp_path / "out"), "train")
    path.write_text("{")
    with pytest.raises(RecordFileError, match=r"manifest.json is damaged"):
        open_records(str(tmp_path / "out"), "train")


@pytest.mark.parametrize(
    ("name", "plain"),
    [("My Photos", "my_photos"), ("2012-set", "images_2012_set"), ("...", "images"), ("a", "a")],
)
def test_names_become_names_that_tfds_accepts(name: str, plain: str):
    assert tfds_name(name) == plain


def damage_checksum(out: Path) -> None:
    path = next(out.glob("*train*"))
    content = bytearray(path.read_bytes())
    content[len(content) - 5] ^= 1
    path.write_bytes(bytes(content))


def damage_lengths(out: Path) -> None:
    path = out / "dataset_info.json"
    path.write_text(path.read_text().replace('"10"', '"11"', 1))


def damage_labels(out: Path) -> None:
    (out / "label.labels.txt").write_text("cat\ndog\nowl\n")


def damage_missing(out: Path) -> None:
    next(out.glob("*validation*")).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_checksum, "has changed: its SHA-256"),
        (damage_lengths, "states the shards"),
        (damage_labels, "names other classes"),
        (damage_missing, "is missing"),
    ],
)
def test_check_names_the_fault(
    image_folder: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
):
    prepare(str(image_folder), tmp_path / "out", THREE)
    damage(tmp_path / "out")
    faults = check(tmp_path / "out").faults
    assert any(message in fault for fault in faults), faults
