import builtins
import io
import json
import pickle
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laminate.data.prepare import Options, prepare
from laminate.data.records import KeyedRecords, RecordError, RecordFileError, Records
from laminate.data.sources import open_records, open_splits

Picture = Callable[..., bytes]


def table(records: Records) -> dict[str, tuple[bytes, int]]:
    examples = [records[i] for i in range(len(records))]
    found = {example.key: (example.image, example.label) for example in examples}
    assert len(found) == len(records) == records.manifest.count
    return found


def both(spec: str) -> dict[str, tuple[bytes, int]]:
    return table(open_records(spec, "train")) | table(open_records(spec, "validation"))


def test_a_folder_gives_its_sub_folders_as_classes(image_folder: Path):
    (image_folder / "notes.txt").write_text("no image")
    (image_folder / ".hidden").mkdir()
    (image_folder / ".hidden" / "x.jpg").write_bytes(b"no image")
    found = both(str(image_folder))
    assert len(found) == 33
    for key, (image, label) in found.items():
        assert image == (image_folder / key).read_bytes()
        assert label == ["cat", "dog", "emu"].index(key.split("/")[0])
    manifest = open_records(str(image_folder), "train").manifest
    assert (manifest.name, manifest.classes) == ("animals", ("cat", "dog", "emu"))


def test_a_folder_of_mostly_loose_images_has_no_labels(tmp_path: Path, picture: Picture):
    (tmp_path / "set" / "more").mkdir(parents=True)
    for number in range(20):
        (tmp_path / "set" / f"{number}.PNG").write_bytes(picture(number, "PNG"))
    (tmp_path / "set" / "more" / "one.png").write_bytes(picture(99, "PNG"))
    records = open_splits(str(tmp_path / "set"), held_out=0.0)["train"]
    assert records.manifest.classes == () and len(records) == 21
    assert {records[i].label for i in range(len(records))} == {-1}


def test_train_and_val_folders_are_the_splits_with_the_same_classes(image_folder: Path, tmp_path: Path):
    root = tmp_path / "set"
    shutil.copytree(image_folder, root / "train")
    (root / "val" / "emu").mkdir(parents=True)
    shutil.copy(image_folder / "emu" / "02.jpg", root / "val" / "emu")
    validation = open_records(str(root), "validation")
    assert table(validation) == {"emu/02.jpg": ((image_folder / "emu" / "02.jpg").read_bytes(), 2)}
    assert len(open_records(str(root), "train")) == 33
    (root / "val" / "emu").rename(root / "val" / "owl")
    with pytest.raises(RecordFileError, match="class 'owl', which its train split has not"):
        open_records(str(root), "validation")


def test_a_fingerprint_follows_names_and_sizes(image_folder: Path):
    first = open_records(str(image_folder), "train").manifest.fingerprint
    assert open_records(str(image_folder), "train").manifest.fingerprint == first
    (image_folder / "cat" / "00.jpg").write_bytes(b"shorter")
    assert open_records(str(image_folder), "train").manifest.fingerprint != first


def test_what_is_not_there_is_said(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    for spec, message in (
        (str(tmp_path / "nowhere"), "no data at"),
        (str(tmp_path / "empty"), "no image in"),
        (str(tmp_path / "*.tar"), "no .tar file matches"),
        (f"tfds:mnist@{tmp_path}", "prepare it with 'tfds build mnist"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            open_records(spec, "train")
    with pytest.raises(ValueError, match="unknown split 'test'"):
        open_records("embedded", "test")
    with pytest.raises(ValueError, match="no embedded data set 'embedded:faces'"):
        open_records("embedded:faces", "train")


@pytest.mark.parametrize("sub_folder", ["", "train", "1.0.0"])
def test_record_files_without_what_describes_them_are_said_to_be_such(
    image_folder: Path, tmp_path: Path, sub_folder: str
):
    prepare(str(image_folder), tmp_path / "out")
    lost = tmp_path / "lost" / sub_folder
    lost.mkdir(parents=True)
    for path in (tmp_path / "out").glob("*.array_record*"):
        shutil.copy(path, lost)
    with pytest.raises(FileNotFoundError) as refusal:
        open_records(str(tmp_path / "lost"), "train")
    message = str(refusal.value)
    assert "holds 2 ArrayRecord files" in message and "no image" not in message
    assert "animals-train.array_record-00000-of-00001" in message
    assert "manifest.json" in message and "python -m laminate.data prepare SOURCE OUT" in message


def test_images_are_read_though_a_record_file_lies_beside_them(image_folder: Path):
    (image_folder / "old.array_record").write_bytes(b"left over")
    assert len(both(str(image_folder))) == 33


def test_a_vanished_image_is_named(image_folder: Path):
    records = open_records(str(image_folder), "train")
    shutil.rmtree(image_folder / "cat")
    with pytest.raises(RecordError, match=r"cat/.*jpg cannot be read"):
        records[0]


def pack(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_webdataset_shards_give_labels_and_splits(tmp_path: Path, picture: Picture):
    for shard in range(2):
        members: dict[str, bytes] = {}
        for i in range(5):
            members |= {
                f"./s{shard}/{i:03d}.jpg": picture(i),
                f"./s{shard}/{i:03d}.mask.png": picture(i, "PNG"),
                f"./s{shard}/{i:03d}.json": b"{}",
                f"./s{shard}/{i:03d}.cls": str(i % 3).encode(),
            }
        pack(tmp_path / f"train-{shard}.tar", members)
    pack(tmp_path / "val-0.tar", {"a.jpeg": picture(77), "a.cls": b"1\n"})
    pack(tmp_path / "test-0.tar", {"a.jpeg": picture(78), "a.cls": b"1\n"})
    for spec in (str(tmp_path), str(tmp_path / "*.tar")):
        train = open_records(spec, "train")
        assert train.manifest.classes == ("0", "1", "2")
        expected = {
            f"train-{s}.tar/s{s}/{i:03d}.jpg": (picture(i), i % 3) for s in range(2) for i in range(5)
        }
        assert table(train) == expected
        assert table(open_records(spec, "validation")) == {"val-0.tar/a.jpeg": (picture(77), 1)}
    again = pickle.loads(pickle.dumps(train))
    assert again[3] == train[3]


def test_folders_inside_a_tar_are_classes(tmp_path: Path, picture: Picture):
    pack(tmp_path / "set.tar", {f"top/{c}/{i}.a.jpg": picture(i) for c in ("yak", "owl") for i in range(6)})
    found = both(str(tmp_path / "set.tar"))
    assert found["set.tar/top/yak/3.a.jpg"] == (picture(3), 1)
    assert open_records(str(tmp_path / "set.tar"), "train").manifest.classes == ("owl", "yak")


def test_a_tar_without_folders_or_labels_has_no_classes(tmp_path: Path, picture: Picture):
    pack(tmp_path / "set.tar", {f"in/{i}.jpg": picture(i) for i in range(4)} | {"in/readme.txt": b"hello"})
    assert open_records(str(tmp_path / "set.tar"), "train").manifest.classes == ()


@pytest.mark.parametrize("name", ["../evil.jpg", "/etc/evil.jpg", "a/../../evil.jpg"])
def test_a_tar_member_that_leaves_its_folder_is_refused(tmp_path: Path, picture: Picture, name: str):
    pack(tmp_path / "set.tar", {"good.jpg": picture(1), name: picture(2)})
    with pytest.raises(RecordFileError, match="leaves its folder: refused"):
        open_records(str(tmp_path / "set.tar"), "train")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", "no whole, uncompressed tar file"),
        (lambda content: content[:700], "truncated|no whole"),
        (lambda content: content[: content.rindex(b"ustar")], "truncated|no whole"),
        (lambda content: b"\x1f\x8b" + content, "uncompressed"),
    ],
)
def test_a_damaged_tar_is_named(
    tmp_path: Path, picture: Picture, damage: Callable[[bytes], bytes], message: str
):
    path = pack(tmp_path / "set.tar", {f"{i}.jpg": picture(i) for i in range(3)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RecordFileError, match=f"set.tar.*({message})"):
        open_records(str(path), "train")


def test_a_label_missing_in_a_tar_is_named(tmp_path: Path, picture: Picture):
    pack(tmp_path / "set.tar", {"a.jpg": picture(1), "a.cls": b"0", "b.jpg": picture(2)})
    with pytest.raises(RecordFileError, match=r"none for b.jpg: add b.cls"):
        open_records(str(tmp_path / "set.tar"), "train")


@pytest.fixture
def tfds_folder(image_folder: Path, tmp_path: Path) -> Path:
    """A data set in TFDS's layout, without our manifest."""
    folder = tmp_path / "tfds" / "animals" / "1.0.0"
    prepare(str(image_folder), folder, Options(shards=2))
    (folder / "manifest.json").unlink()
    return folder


def test_tfds_data_are_read_without_tensorflow(tfds_folder: Path, image_folder: Path):
    records = open_records(f"tfds:animals@{tfds_folder.parents[1]}", "train")
    assert len(records) == 30 and records.manifest.classes == ("cat", "dog", "emu")
    sources = {path.read_bytes(): path.parent.name for path in image_folder.glob("*/*.jpg")}
    for image, label in table(records).values():
        assert sources[image] == records.manifest.classes[label]
    assert len(open_records(str(tfds_folder), "validation")) == 3
    assert pickle.loads(pickle.dumps(records))[7] == records[7]
    assert isinstance(records, KeyedRecords) and len(set(records.keys())) == 30
    assert "tensorflow" not in sys.modules


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_hostile_class_names_are_refused_and_not_imported(tfds_folder: Path, tmp_path: Path, monkeypatch):
    (tmp_path / "payload.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))

    def change(features: dict[str, Any]) -> None:
        features["featuresDict"]["features"]["image"]["pythonClassName"] = "payload.Image"

    edit(tfds_folder / "features.json", change)
    with pytest.raises(RecordFileError, match=r"'payload.Image'.*refused, never imported"):
        open_records(str(tfds_folder), "train")
    assert "payload" not in sys.modules


def hostile_template(info: dict[str, Any]) -> None:
    info["splits"][0]["filepathTemplate"] = "../../../{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


def hostile_name(info: dict[str, Any]) -> None:
    info["name"] = "../../secret"


def wrong_lengths(info: dict[str, Any]) -> None:
    info["splits"][0]["shardLengths"] = ["1000020"] * 2


def missing_lengths(info: dict[str, Any]) -> None:
    info["splits"][0]["shardLengths"] = ["15"]


def other_format(info: dict[str, Any]) -> None:
    info["fileFormat"] = "tfrecord"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (hostile_template, "can leave the folder: refused"),
        (hostile_name, "leaves the folder: refused"),
        (wrong_lengths, "holds 15 records and its metadata says 1000020"),
        (missing_lengths, "which its metadata does not know"),
        (other_format, "format 'tfrecord'.*--file_format=array_record"),
    ],
)
def test_metadata_are_not_trusted(tfds_folder: Path, change: Callable[[Any], None], message: str):
    edit(tfds_folder / "dataset_info.json", change)
    with pytest.raises(RecordFileError, match=message):
        open_records(str(tfds_folder), "train")


@pytest.mark.parametrize("spec", ["tfds:../x", "tfds:a/../b", "tfds:", "tfds:a:../1"])
def test_names_that_leave_the_data_folder_are_refused(spec: str, tmp_path: Path):
    with pytest.raises(ValueError, match="names no TFDS data set"):
        open_records(f"{spec}@{tmp_path}", "train")


@pytest.fixture
def parquet_folder(tmp_path: Path, picture: Picture) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    names = json.dumps(
        {"info": {"features": {"label": {"names": ["ant", "bee", "cod"], "_type": "ClassLabel"}}}}
    )
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for name, first, count in (
        ("train-00000-of-00002", 0, 7),
        ("train-00001-of-00002", 7, 6),
        ("test-0", 20, 3),
    ):
        rows = range(first, first + count)
        columns = {
            "image": [{"bytes": picture(i), "path": f"{i}.jpg"} for i in rows],
            "label": [i % 3 for i in rows],
        }
        kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        schema = pyarrow.schema(
            [("image", kind), ("label", pyarrow.int64())], {b"huggingface": names.encode()}
        )
        file = tmp_path / "hub" / "data" / f"{name}.parquet"
        parquet.write_table(pyarrow.Table.from_pydict(columns, schema), file, row_group_size=4)
    return tmp_path / "hub"


def test_parquet_rows_are_read_in_any_order(parquet_folder: Path, picture: Picture):
    whole = open_splits(str(parquet_folder), held_out=0.0)["train"]
    assert whole.manifest.classes == ("ant", "bee", "cod")
    for row in (12, 0, 7, 3, 11, 6):
        example = whole[row]
        assert (example.image, example.label) == (picture(row), row % 3)
    assert whole[9].key == "train-00001-of-00002.parquet#2"
    assert pickle.loads(pickle.dumps(whole))[5] == whole[5]
    assert isinstance(whole, KeyedRecords)
    assert list(whole.keys()) == [whole[i].key for i in range(13)]
    assert len(open_records(str(parquet_folder / "data" / "train-*.parquet"), "validation")) == 1


def test_a_damaged_parquet_file_is_named(parquet_folder: Path):
    path = parquet_folder / "data" / "train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RecordFileError, match=r"train-00001-of-00002.parquet is no whole parquet file"):
        open_records(str(parquet_folder), "train")


def test_missing_pyarrow_is_said_with_the_command(parquet_folder: Path, monkeypatch):
    genuine = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return genuine(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"pip install -e '.\[parquet\]'"):
        open_records(str(parquet_folder), "train")
