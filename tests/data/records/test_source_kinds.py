"""What kind of source a folder is, which features are read, and what is left out of it: counted, and never a guess."""

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from laminate.data.__main__ import main
from laminate.data.options import AS_IT_SAYS, SourceOptions
from laminate.data.prepare import Options, prepare
from laminate.data.records import RecordError, RecordFileError
from laminate.data.sources import open_splits
from laminate.data.sources import tar as tar_source

Picture = Callable[..., bytes]


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def tar(path: Path, names: list[str], picture: Picture) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for number, name in enumerate(names):
            data = picture(number) if name.endswith(".jpg") else b"{}"
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def parquet(path: Path, columns: dict[str, list[Any]], features: dict[str, Any] | None = None) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table(columns)
    if features is not None:
        stated = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({b"huggingface": stated.encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    pytest.importorskip("pyarrow.parquet").write_table(table, path)
    return path


def train(spec: Path, options: SourceOptions = AS_IT_SAYS) -> Any:
    return open_splits(str(spec), held_out=0.0, options=options)["train"]


def left(records: Any) -> dict[str, int]:
    return {entry.reason: entry.count for entry in records.manifest.left_out}


@pytest.mark.parametrize(
    ("stray", "reason"),
    [
        ("preview.png", "beside class folders"),
        ("all.tar", "archive beside images"),
        ("rows.parquet", "parquet file without images"),
        ("metadata.parquet", "parquet file without images"),
        ("old.array_record-00000-of-00001", "record file without its metadata"),
        ("images.zip", "packed archive, which is not read (unpack it)"),
        ("data.arrow", "Arrow file beside images"),
        ("dataset_info.json", "no image (.json)"),
        ("a/label.parquet", "parquet file without images"),
    ],
)
def test_one_stray_file_does_not_decide_what_a_folder_is(
    image_folder: Path, picture: Picture, stray: str, reason: str
):
    if stray.endswith(".parquet"):
        parquet(image_folder / stray, {"file_name": ["a"], "label": [1]})
    elif stray.endswith(".tar"):
        tar(image_folder / stray, ["a/0.jpg"], picture)
    else:
        put(image_folder / stray, picture(1, "PNG") if stray.endswith("png") else b"{}")
    records = train(image_folder)
    assert len(records) == 33 and records.manifest.classes == ("cat", "dog", "emu")
    assert sum(left(records).values()) == 1
    assert reason in left(records) or (
        reason.startswith("parquet") and "parquet file beside images" in left(records)
    )


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_preview_beside_archives_is_the_stray(tmp_path: Path, picture: Picture, kind: str):
    for number in range(3):
        if kind == "tar":
            tar(tmp_path / f"{number}.tar", ["a/0.jpg", "b/0.jpg"], picture)
        else:
            parquet(tmp_path / f"{number}.parquet", {"image": [picture(1), picture(2)]})
    put(tmp_path / "preview.png", picture(1, "PNG"))
    put(tmp_path / "README.md", b"hello")
    records = train(tmp_path)
    assert len(records) == 6
    assert left(records) == {f"image beside {kind} files": 1, "no image (.md)": 1}


def test_what_is_mixed_is_refused_with_what_is_there(image_folder: Path, picture: Picture):
    for number in range(10):
        tar(image_folder / f"{number}.tar", ["a/0.jpg"], picture)
    with pytest.raises(RecordFileError, match=r"33 images, 10 tar files, and none of these is most"):
        train(image_folder)
    assert len(train(image_folder / "*.tar")) == 10
    parquet(image_folder / "other" / "a.parquet", {"image": [picture(1)]})
    tar(image_folder / "other" / "a1.tar", ["0.jpg"], picture)
    with pytest.raises(RecordFileError, match=r"1 tar files, 1 parquet files"):
        train(image_folder / "other")


def test_img2datasets_folder_is_its_tars(tmp_path: Path, picture: Picture):
    for shard in ("00000", "00001"):
        tar(
            tmp_path / f"{shard}.tar",
            [f"{shard}{i}.{end}" for i in range(4) for end in ("jpg", "json", "txt")],
            picture,
        )
        parquet(tmp_path / f"{shard}.parquet", {"url": ["u"]})
        put(tmp_path / f"{shard}_stats.json", b"{}")
    records = train(tmp_path)
    assert len(records) == 8
    assert left(records) == {"no image (.json)": 10, "no image (.txt)": 8, "parquet file without images": 2}


@pytest.mark.parametrize(
    "files",
    [
        ["state.json", "data-00000-of-00001.arrow"],
        ["dataset_dict.json", "train/data-0.arrow", "train/state.json"],
        ["x.arrow"],
    ],
)
def test_arrow_files_are_refused_with_how_to_get_parquet(tmp_path: Path, files: list[str]):
    put(tmp_path / "dataset_info.json", b'{"features": {}}')
    for name in files:
        put(tmp_path / name, b"ARROW1")
    with pytest.raises(RecordFileError, match=r"save_to_disk.*load_from_disk.*to_parquet"):
        train(tmp_path)


@pytest.mark.parametrize("names", [["set.tar.gz"], ["a.zip", "b.zip"], ["x.tfrecord-00000-of-00001"]])
def test_packed_files_are_named_with_what_to_do(tmp_path: Path, names: list[str]):
    for name in names:
        put(tmp_path / name, b"packed")
    with pytest.raises(FileNotFoundError, match=r"no image in .*which are not read; (unpack|write)"):
        train(tmp_path)


@pytest.mark.parametrize(
    "layout",
    [
        "plain_text/train-00000-of-00001",
        "default/train/0000",
        "data/train-00000-of-00001",
        "en/partial-train/0000",
        "deep/er/x",
    ],
)
def test_parquet_is_found_where_the_hub_keeps_it(tmp_path: Path, picture: Picture, layout: str):
    parquet(tmp_path / f"{layout}.parquet", {"img": [picture(i) for i in range(6)], "label": [0, 1] * 3})
    test = layout.replace("train", "test")
    if test != layout:
        parquet(tmp_path / f"{test}.parquet", {"img": [picture(9)], "label": [0]})
    records = train(tmp_path)
    assert len(records) == 6 and records.manifest.classes == ("0", "1")
    assert left(records) == ({"file of a test split, which is not used": 1} if test != layout else {})


def test_two_configurations_of_the_hub_are_not_mixed(tmp_path: Path, picture: Picture):
    for config in ("full", "small"):
        parquet(tmp_path / config / "train-0.parquet", {"image": [picture(1)] * 3})
    with pytest.raises(RecordFileError, match=r"full/train-0.parquet, small/train-0.parquet.*two ways"):
        train(tmp_path)
    assert len(train(tmp_path / "small")) == 3


def image_type(*names: str) -> dict[str, Any]:
    return {name: {"_type": "Image"} for name in names}


@pytest.mark.parametrize(
    ("columns", "features", "options", "expected"),
    [
        (["annotation", "image"], image_type("annotation", "image"), {}, "image"),
        (["photo_of_it"], image_type("photo_of_it"), {}, "photo_of_it"),
        (["left", "right"], image_type("left", "right"), {}, None),
        (["left", "right"], image_type("left", "right"), {"image_key": "right"}, "right"),
        (["jpg", "png"], {}, {}, None),
        (["image"], {}, {"image_key": "picture"}, None),
    ],
)
def test_the_image_column_is_the_usual_one_or_the_one_that_is_named(
    tmp_path: Path,
    picture: Picture,
    columns: list[str],
    features: dict[str, Any],
    options: dict[str, str],
    expected: str | None,
):
    data = {name: [picture(place)] for place, name in enumerate(columns)}
    parquet(tmp_path / "a.parquet", data, features)
    if expected is None:
        with pytest.raises(RecordFileError, match="--image-key"):
            train(tmp_path, SourceOptions(**options))
    else:
        assert train(tmp_path, SourceOptions(**options))[0].image == picture(columns.index(expected))


@pytest.mark.parametrize(
    ("labels", "features", "options", "message"),
    [
        ({"label": [0, 3 * 10**8]}, {}, {}, "is it an id"),
        ({"label": [-1, 0]}, {}, {}, "-1, which is no class number"),
        ({"label": ["a", "b"]}, {}, {}, "no integers"),
        ({"label": [0.5, 1.0]}, {}, {}, "no integers"),
        ({"label": [0, 7]}, {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}, {}, "only 2 classes"),
        (
            {"one": [0, 1], "two": [0, 1]},
            {n: {"_type": "ClassLabel", "names": ["a", "b"]} for n in ("one", "two")},
            {},
            "one, two.*--label-key",
        ),
        ({"label": [0, 1]}, {}, {"label_key": "taxon"}, "no such column"),
    ],
)
def test_labels_that_are_no_class_numbers_are_refused_in_one_sentence(
    tmp_path: Path,
    picture: Picture,
    labels: dict[str, list[Any]],
    features: dict[str, Any],
    options: dict[str, str],
    message: str,
):
    parquet(tmp_path / "a.parquet", {"image": [picture(0), picture(1)], **labels}, features)
    with pytest.raises(RecordFileError, match=message) as refusal:
        train(tmp_path, SourceOptions(**options))
    assert len(str(refusal.value)) < 500
    assert train(tmp_path, SourceOptions(unlabelled=True)).manifest.classes == ()


def test_a_row_without_a_label_is_an_image_without_one(tmp_path: Path, picture: Picture):
    parquet(tmp_path / "a.parquet", {"image": [picture(i) for i in range(3)], "label": [0, None, 1]})
    records = train(tmp_path)
    assert [records[i].label for i in range(3)] == [0, -1, 1]
    assert records.manifest.notes == ("1 rows of 3 have no label",)
    parquet(tmp_path / "a.parquet", {"image": [picture(0)], "fine": [1], "label": [0]})
    assert train(tmp_path, SourceOptions(label_key="fine"))[0].label == 1


@pytest.mark.parametrize("first", ["image", "label"])
@pytest.mark.parametrize("swapped", [False, True])
def test_shards_that_differ_are_refused_by_name(tmp_path: Path, picture: Picture, first: str, swapped: bool):
    whole: dict[str, list[Any]] = {"image": [picture(0)], "label": [0]}
    shards = [
        whole,
        {name: column for name, column in whole.items() if name != first} | {"img": [picture(0)]},
    ]
    for name, columns in zip("ab", reversed(shards) if swapped else shards, strict=True):
        parquet(tmp_path / f"{name}.parquet", columns)
    with pytest.raises(
        RecordFileError, match=r"[ab].parquet has no column '(label|image|img)', which .*[ab].parquet has"
    ):
        train(tmp_path)


@pytest.mark.parametrize(
    ("first", "second"),
    [(["x", "y"], ["y", "x"]), (["x", "y"], ["x", "y", "z"]), (["x", "y", "z"], ["x", "y"]), (["x"], ["X"])],
)
def test_shards_that_name_their_classes_differently_are_refused(
    tmp_path: Path, picture: Picture, first: list[str], second: list[str]
):
    for name, names in (("a", first), ("b", second)):
        features = {"label": {"_type": "ClassLabel", "names": names}}
        parquet(tmp_path / f"{name}.parquet", {"image": [picture(0)], "label": [0]}, features)
    with pytest.raises(RecordFileError, match=r"b.parquet names the classes of 'label' differently"):
        train(tmp_path)


@pytest.mark.parametrize("silent", ["a", "b"])
def test_a_shard_that_names_no_classes_beside_one_that_does_is_refused(
    tmp_path: Path, picture: Picture, silent: str
):
    features = {"label": {"_type": "ClassLabel", "names": ["x", "y"]}}
    for name in "ab":
        stated = None if name == silent else features
        parquet(tmp_path / f"{name}.parquet", {"image": [picture(0)], "label": [1]}, stated)
    with pytest.raises(RecordFileError, match=r"[ab].parquet names the classes of 'label' differently"):
        train(tmp_path)


@pytest.fixture
def tfds_folder(image_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "tfds" / "animals" / "1.0.0"
    prepare(str(image_folder), folder, Options(shards=2))
    (folder / "manifest.json").unlink()
    return folder


def rename(folder: Path, changes: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "features.json"
    content = json.loads(path.read_text())
    changes(content["featuresDict"]["features"])
    path.write_text(json.dumps(content))


def test_of_several_features_the_usual_ones_are_read(tfds_folder: Path):
    def coarse(features: dict[str, Any]) -> None:
        features |= {"annotation": features["image"], "a_coarse_label": features["label"]}

    rename(tfds_folder, coarse)
    assert train(tfds_folder).manifest.classes == ("cat", "dog", "emu")
    (tfds_folder / "a_coarse_label.labels.txt").write_text("pet\nbird\nother\n")
    chosen = train(tfds_folder, SourceOptions(label_key="a_coarse_label"))
    assert chosen.manifest.classes == ("pet", "bird", "other")
    with pytest.raises(RecordError, match="no feature 'annotation'"):
        train(tfds_folder, SourceOptions(image_key="annotation"))[0]


@pytest.mark.parametrize(("feature", "flag"), [("image", "--image-key"), ("label", "--label-key")])
def test_several_features_without_a_usual_name_are_refused_with_the_list(
    tfds_folder: Path, feature: str, flag: str
):
    def change(features: dict[str, Any]) -> None:
        features |= {"one": features[feature], "two": features.pop(feature)}

    rename(tfds_folder, change)
    with pytest.raises(RecordFileError, match=f"several features.*one, two.*{flag}"):
        train(tfds_folder)


def test_classes_without_names_are_numbers_and_absurd_ones_refused(tfds_folder: Path):
    (tfds_folder / "label.labels.txt").unlink()
    assert train(tfds_folder).manifest.classes == ("0", "1", "2")
    for absurd in ("30000000000", "0", "x"):
        rename(tfds_folder, lambda f, absurd=absurd: f["label"]["classLabel"].update(numClasses=absurd))
        with pytest.raises(RecordFileError, match="names none"):
            train(tfds_folder)
    assert train(tfds_folder, SourceOptions(unlabelled=True)).manifest.classes == ()


def awkward(root: Path, picture: Picture) -> int:
    """A folder of 30 awkward files (and some good ones) in two classes; how many there are."""
    for number in range(6):
        put(root / "a" / f"{number}.jpg", picture(number))
        put(root / "b" / f"{number}.png", picture(number, "PNG"))
    stream = io.BytesIO()
    Image.effect_noise((64, 48), 90).convert("RGB").save(stream, "JPEG")
    big = io.BytesIO()
    Image.new("L", (3000, 2000)).save(big, "PNG")
    for name, data in {
        "a/browser.jfif": picture(20),
        "a/scan.tif": picture(21, "TIFF"),
        "a/scan.TIFF": picture(22, "TIFF"),
        "a/old.JPE": picture(23),
        "a/moved.bmp": picture(24, "BMP"),
        "a/really_png.jpg": picture(25, "PNG"),
        "a/few_bytes_missing.jpg": stream.getvalue()[:-2],
        "a/phone.heic": b"heic",
        "a/new.avif": b"avif",
        "a/raw.CR2": b"raw",
        "a/0.txt": b"a caption",
        "a/0.json": b"{}",
        "a/no_suffix": picture(1),
        "a/Thumbs.db": b"db",
        "a/.DS_Store": b"store",
        "a/._0.jpg": b"\0\5\26\7",
        "a/__MACOSX/0.jpg": b"\0",
        "a/.hidden/0.jpg": picture(1),
        "a/0.mask.png": picture(1, "PNG"),
        "b/empty.jpg": b"",
        "b/half.jpg": picture(2)[:90],
        "b/text.png": b"hello",
        "b/huge.png": big.getvalue(),
        "preview.png": picture(3, "PNG"),
        "backup.tar": b"tar",
        "images.zip": b"zip",
        "README.md": b"# hello",
    }.items():
        put(root / name, data)
    os.symlink("/nowhere/x.jpg", root / "b" / "dangling.jpg")
    os.symlink("loop.jpg", root / "b" / "loop.jpg")
    put(Path(os.fsdecode(os.fsencode(root / "b") + b"/caf\xe9.jpg")), picture(1))
    os.mkfifo(root / "b" / "pipe.jpg")
    os.symlink("..", root / "b" / "up")
    return sum(len(files) for _, _, files in os.walk(root)) + 1  # the link to a folder


def test_prepare_accounts_for_every_file_of_an_awkward_folder(tmp_path: Path, picture: Picture, capsys):
    count = awkward(tmp_path / "in", picture)
    assert count == 12 + 32
    args = [
        "prepare",
        str(tmp_path / "in"),
        str(tmp_path / "out"),
        "--max-pixels",
        "1000000",
        "--val-fraction",
        "0.2",
    ]
    assert main(args) == 0
    lines = capsys.readouterr().out.splitlines()
    table = {}
    for line in lines:
        if line.startswith(("taken", "left out:  ", "all ")) or (
            line.startswith("left out: ") and "  " in line
        ):
            name, number = (part.strip() for part in line.split("  ", 1))
            table[name] = int(number.split()[0])
    total = table.pop("all")
    assert total == sum(table.values()) == count
    assert table["taken"] == 12 + 7
    reasons = {name.removeprefix("left out: "): number for name, number in table.items()}
    assert reasons["image in a format that is not read (.heic)"] == reasons["no image (.md)"] == 1
    assert reasons["file of the system (AppleDouble and the like)"] == 2 and reasons["hidden"] == 2
    assert reasons["link that leads nowhere"] == 2 and reasons["no regular file"] == 1
    assert reasons["damaged, or no image"] == 2 and reasons["empty file"] == 1
    assert reasons["more pixels than allowed (--max-pixels)"] == 1
    assert reasons["its name is not UTF-8"] == reasons["link that leads back to its own folder"] == 1
    assert any("1 of those taken lack their last few bytes" in line for line in lines)
    assert "classes: 'a', 'b'" in lines
    assert main(["check", str(tmp_path / "out")]) == 0
    checked = capsys.readouterr().out
    assert "left out: no image (.md)" in checked and "19 records, sound" in checked
    assert "1 of those taken lack their last few bytes" in checked


@pytest.mark.parametrize("locked", ["cat", "dog"])
def test_a_folder_that_may_not_be_read_is_named(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch, locked: str
):
    genuine = os.scandir

    def refusing(path: Path) -> Any:
        if Path(path).name == locked:
            raise PermissionError(13, "Permission denied")
        return genuine(path)

    monkeypatch.setattr(os, "scandir", refusing)
    records = train(image_folder)
    assert records.manifest.locked == (locked,) and len(records) == 22


def test_options_that_say_how_a_source_is_read_are_refused_for_data_that_have_been(
    image_folder: Path, tmp_path: Path
):
    prepare(str(image_folder), tmp_path / "out", Options())
    with pytest.raises(ValueError, match=r"--label-key says how a source is read"):
        train(tmp_path / "out", SourceOptions(label_key="x"))
    assert train(tmp_path / "out", SourceOptions(max_pixels=99)).manifest.max_pixels == 99


def test_no_archive_is_gone_through_twice(tmp_path: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch):
    for split in ("train", "val"):
        tar(
            tmp_path / f"{split}-0.tar",
            [f"{name}/{number}.jpg" for name in "ab" for number in range(3)],
            picture,
        )
    seen: list[str] = []
    scan = tar_source.scan
    monkeypatch.setattr(
        tar_source,
        "scan",
        lambda number, path, options: seen.append(path.name) or scan(number, path, options),
    )
    splits = open_splits(str(tmp_path))
    assert splits["validation"].manifest.classes == splits["train"].manifest.classes == ("a", "b")
    assert sorted(seen) == ["train-0.tar", "val-0.tar"]
