"""What is a split and what is a class, in folders and inside archives; nothing is guessed silently."""

import io
import os
import tarfile
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from laminate.data.options import AS_IT_SAYS, SourceOptions
from laminate.data.records import RecordFileError
from laminate.data.sources import open_splits
from laminate.data.sources.files import expand_braces
from laminate.data.sources.split_names import read_siblings

Picture = Callable[..., bytes]
CLASSES, SPLITS, UNLABELLED = (
    SourceOptions(classes=True),
    SourceOptions(split_folders=True),
    SourceOptions(unlabelled=True),
)


def fill(root: Path, folders: Sequence[str], picture: Picture, each: int = 10) -> Path:
    for place, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            (root / folder / f"{number}.jpg").write_bytes(picture(10 * place + number))
    return root


def tarred(root: Path, path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for file in sorted(root.rglob("*.jpg")):
            archive.add(file, file.relative_to(root).as_posix())
    return path


def seen(spec: Path, options: SourceOptions = AS_IT_SAYS) -> tuple[dict[str, int], tuple[str, ...]]:
    splits = open_splits(str(spec), held_out=0.0, options=options)
    return {split: len(records) for split, records in splits.items()}, splits["train"].manifest.classes


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (["bullet_train", "train_station", "car"], ("bullet_train", "car", "train_station")),
        (["bus", "car", "train"], ("bus", "car", "train")),  # CIFAR's class
        (["apple", "pear", "test"], ("apple", "pear", "test")),
        (["trainers", "sandals"], ("sandals", "trainers")),
        (["validated", "x"], ("validated", "x")),
    ],
)
@pytest.mark.parametrize("archive", [False, True])
def test_a_class_whose_name_speaks_of_training_is_a_class(
    tmp_path: Path, picture: Picture, folders: list[str], classes: tuple[str, ...], archive: bool
):
    source = fill(tmp_path / "set", folders, picture)
    source = tarred(source, tmp_path / "set.tar") if archive else source
    assert seen(source) == ({"train": 10 * len(folders)}, classes)


@pytest.mark.parametrize(
    ("folders", "counts"),
    [
        (["train/a", "train/b", "val/a"], {"train": 20, "validation": 10}),
        (["Training/a", "Valid/a"], {"train": 10, "validation": 10}),
        (["train/a", "validation/a", "test/a"], {"train": 10, "validation": 10}),
        (["train2017", "val2017"], {"train": 10, "validation": 10}),
        (["train_0/a", "train_1/a", "train_1/b", "val/a"], {"train": 30, "validation": 10}),
        (["train-00000-of-00002", "train-00001-of-00002"], {"train": 20}),
        (["set/images/train/a", "set/images/val/a"], {"train": 10, "validation": 10}),
    ],
)
@pytest.mark.parametrize("archive", [False, True])
def test_folders_are_splits_where_all_of_them_are(
    tmp_path: Path, picture: Picture, folders: list[str], counts: dict[str, int], archive: bool
):
    source = fill(tmp_path / "set", folders, picture)
    source = tarred(source, tmp_path / "set.tar") if archive else source
    found, classes = seen(source)
    assert found == counts
    inner = sorted({folder.split("/")[-1] for folder in folders if folder.endswith(("/a", "/b"))})
    assert classes == tuple(inner)


@pytest.mark.parametrize(
    ("folders", "as_classes"),
    [
        (["train", "train_extra"], 20),
        (["train2014", "train2017", "val2014"], 30),
        (["train", "val", "other"], 30),
        (["images_train", "images_val"], 20),
        (["val", "test"], 20),
        (["train", "training"], 20),
        (["train/a", "train/b", "extra"], 30),
        (["cat/train", "cat/val", "dog/train", "dog/val"], 40),
    ],
)
@pytest.mark.parametrize("archive", [False, True])
def test_two_readings_are_refused_with_both_and_the_flags_that_decide(
    tmp_path: Path, picture: Picture, folders: list[str], as_classes: int, archive: bool
):
    source = fill(tmp_path / "set", folders, picture)
    source = tarred(source, tmp_path / "set.tar") if archive else source
    with pytest.raises(RecordFileError, match="--classes") as refusal:
        seen(source)
    assert all(f"'{name}'" in str(refusal.value) for name in {folder.split("/")[0] for folder in folders})
    assert seen(source, CLASSES)[0] == {"train": as_classes}


def test_the_flag_for_splits_takes_those_that_speak_of_one_and_counts_the_rest(
    tmp_path: Path, picture: Picture
):
    root = fill(tmp_path / "set", ["train/a", "train_extra/a", "val/a", "test/a", "other"], picture)
    splits = open_splits(str(root), options=SPLITS)
    assert {split: len(records) for split, records in splits.items()} == {"train": 20, "validation": 10}
    left = {entry.reason: entry.count for entry in splits["train"].manifest.left_out}
    assert left == {"beside the folders of the splits": 10, "of a test split, which is not used": 10}
    with pytest.raises(RecordFileError, match=r"no folder in .* has the name of a split"):
        seen(fill(tmp_path / "plain", ["a", "b"], picture), SPLITS)
    with pytest.raises(ValueError, match="give one of them"):
        SourceOptions(split_folders=True, classes=True)


@pytest.mark.parametrize(
    ("names", "reading"),
    [
        (["train"], "splits"),
        (["train_a", "train_b"], "splits"),
        (["train-1", "train"], "unclear"),
        (["n01440764", "n01443537"], "plain"),
        (["my-train", "my-test"], "unclear"),
        (["val"], "unclear"),
    ],
)
def test_names_of_siblings_are_read_together(names: list[str], reading: str):
    assert read_siblings(names) == reading


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        (["bullet_train.tar", "car.tar"], {"train": 20}),
        (
            ["imagenet-train-0.tar", "imagenet-train-1.tar", "imagenet-val-0.tar"],
            {"train": 20, "validation": 10},
        ),
        (["train/0.tar", "train/1.tar", "val/0.tar"], {"train": 20, "validation": 10}),
        (["train/train-0.tar", "val/val-0.tar"], {"train": 10, "validation": 10}),
        (["train.tar", "test.tar"], {"train": 10}),
        (["train.tar", "extra.tar"], None),
        (["a_train.tar", "b_val.tar"], None),
        (["train2014.tar", "train2017.tar", "val2017.tar"], None),
        (["one/train-0.tar", "two/train-0.tar"], None),
    ],
)
def test_archives_are_splits_where_all_names_say_so(
    tmp_path: Path, picture: Picture, names: list[str], counts: dict[str, int] | None
):
    images = fill(tmp_path / "images", ["."], picture)
    for name in names:
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        tarred(images, tmp_path / "set" / name)
    if counts is not None:
        assert seen(tmp_path / "set")[0] == counts
        return
    with pytest.raises(RecordFileError, match=r"two ways.*--split-folders.*--classes"):
        seen(tmp_path / "set")
    assert seen(tmp_path / "set", CLASSES)[0] == {"train": 10 * len(names)}


def test_unlabelled_validation_images_take_the_classes_of_the_others(tmp_path: Path, picture: Picture):
    """ImageNet as it comes."""
    splits = open_splits(str(fill(tmp_path / "set", ["train/a", "train/b", "val"], picture)))
    assert splits["validation"].manifest.classes == ("a", "b") and splits["validation"][3].label == -1
    splits = open_splits(str(fill(tmp_path / "other", ["train", "val/a"], picture)))
    assert splits["validation"].manifest.classes == () == splits["train"].manifest.classes


def test_mixed_loose_images_and_class_folders_are_refused_with_both_readings(
    tmp_path: Path, picture: Picture
):
    root = fill(tmp_path / "set", ["a", "."], picture)
    with pytest.raises(
        RecordFileError, match=r"10 images itself and 10 in sub-folders.*--classes.*--unlabelled"
    ):
        seen(root)
    assert seen(root, CLASSES) == ({"train": 10}, ("a",))
    assert seen(root, UNLABELLED) == ({"train": 20}, ())


@pytest.mark.parametrize("archive", [False, True])
def test_one_name_in_two_codings_is_one_class(tmp_path: Path, picture: Picture, archive: bool):
    both = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    root = fill(tmp_path / "set", [*both, "tea"], picture)
    root = tarred(root, tmp_path / "set.tar") if archive else root
    assert seen(root) == ({"train": 30}, (both[0], "tea"))


def test_a_class_of_the_validation_split_may_be_coded_otherwise(tmp_path: Path, picture: Picture):
    both = [unicodedata.normalize(form, "Å") for form in ("NFC", "NFD")]
    root = fill(tmp_path / "set", [f"train/{both[1]}", f"val/{both[0]}"], picture)
    splits = open_splits(str(root))
    assert splits["train"].manifest.classes == splits["validation"].manifest.classes == (both[1],)
    assert splits["validation"][0].label == 0


@pytest.mark.parametrize("name", [b"\xff.jpg", b"caf\xe9/1.jpg", b"a/\xfe\xff.png"])
def test_a_name_that_is_not_utf_8_is_named(tmp_path: Path, picture: Picture, name: bytes):
    root = fill(tmp_path / "set", ["a", "b"], picture)
    path = os.path.join(os.fsencode(root), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(picture(1))
    (entry,) = open_splits(str(root))["train"].manifest.left_out
    assert entry.reason == "its name is not UTF-8" and entry.count == 1
    assert "\\x" in entry.first and entry.first.isprintable()


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("s-{000..002}.tar", ["s-000.tar", "s-001.tar", "s-002.tar"]),
        ("s-{9..11}.tar", ["s-9.tar", "s-10.tar", "s-11.tar"]),
        ("{a,b}-{0..1}.tar", ["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"]),
        ("s-{x}.tar", ["s-{x}.tar"]),
    ],
)
def test_braces_are_written_out_as_a_shell_does(spec: str, names: list[str]):
    assert expand_braces(spec) == names


def test_files_named_in_braces_are_read_and_a_missing_one_is_named(tmp_path: Path, picture: Picture):
    images = fill(tmp_path / "images", ["."], picture)
    for number in range(3):
        tarred(images, tmp_path / f"s-{number:03d}.tar")
    assert seen(tmp_path / "s-{000..002}.tar")[0] == {"train": 30}
    with pytest.raises(FileNotFoundError, match=r"2 of the files .* are missing, the first is .*s-003.tar"):
        seen(tmp_path / "s-{000..004}.tar")
    with pytest.raises(ValueError, match="is the range right"):
        expand_braces("{0..99999999}.tar")


def test_members_behind_the_first_end_mark_and_links_inside_are_read(tmp_path: Path, picture: Picture):
    parts: list[bytes] = []
    for name in "abc":
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            info = tarfile.TarInfo(f"{name}/0.jpg")
            info.size = len(picture(ord(name)))
            archive.addfile(info, io.BytesIO(picture(ord(name))))
            for kind, link, target in (
                (tarfile.LNKTYPE, f"{name}/1.jpg", f"{name}/0.jpg"),
                (tarfile.SYMTYPE, f"{name}/2.jpg", "0.jpg"),
                (tarfile.SYMTYPE, f"{name}/3.jpg", "../nowhere.jpg"),
            ):
                info = tarfile.TarInfo(link)
                info.type, info.linkname = kind, target
                archive.addfile(info)
        parts.append(stream.getvalue())
    (tmp_path / "all.tar").write_bytes(b"".join(parts) + bytes(2**21))
    records = open_splits(str(tmp_path / "all.tar"), held_out=0.0)["train"]
    assert len(records) == 9 and records.manifest.classes == ("a", "b", "c")
    assert all(records[i].image == picture(ord("abc"[records[i].label])) for i in range(9))
    assert [(e.reason, e.count) for e in records.manifest.left_out] == [
        ("link that leads nowhere in the archive", 3)
    ]
    (tmp_path / "all.tar").write_bytes(parts[0] + b"something else" * 100)
    with pytest.raises(RecordFileError, match=r"no whole, uncompressed tar file|truncated"):
        open_splits(str(tmp_path / "all.tar"))


@pytest.mark.parametrize(
    ("links", "read", "lost"),
    [
        ([("LNK", "a/1.jpg", "./a/0.jpg")], 2, 0),
        ([("SYM", "b/1.jpg", "../a/0.jpg")], 2, 0),
        ([("LNK", "a/2.jpg", "a/0.jpg"), ("LNK", "b/2.jpg", "a/2.jpg")], 3, 0),  # of a link
        ([("SYM", "a/1.jpg", "/etc/passwd.jpg")], 1, 1),
        ([("SYM", "a/1.jpg", "2.jpg"), ("SYM", "a/2.jpg", "1.jpg")], 1, 2),  # of each other
        ([("SYM", "a/1.jpg", "../../a/0.jpg"), ("LNK", "a/2.jpg", "a/0.jpg")], 2, 1),
    ],
)
@pytest.mark.parametrize("before", [False, True])
def test_links_of_a_tar_are_followed_inside_it_in_any_order(
    tmp_path: Path, picture: Picture, links: list[tuple[str, str, str]], read: int, lost: int, before: bool
):
    def write(archive: tarfile.TarFile) -> None:
        for kind, name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = getattr(tarfile, f"{kind}TYPE"), target
            archive.addfile(info)

    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        if before:
            write(archive)
        info = tarfile.TarInfo("a/0.jpg")
        info.size = len(picture(1))
        archive.addfile(info, io.BytesIO(picture(1)))
        if not before:
            write(archive)
    records = open_splits(str(tmp_path / "all.tar"), held_out=0.0)["train"]
    assert len(records) == read and sum(entry.count for entry in records.manifest.left_out) == lost
    assert all(records[i].image == picture(1) for i in range(read))


@pytest.mark.parametrize("archives", [2, 3, 7])
@pytest.mark.parametrize("padding", [0, 512, 2**16])
def test_archives_behind_one_another_are_one(tmp_path: Path, picture: Picture, archives: int, padding: int):
    """As `cat` joins them, with the zeros that some writers fill blocks up with."""
    parts: list[bytes] = []
    for number in range(archives):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            info = tarfile.TarInfo(f"c{number % 2}/{number}.jpg")
            info.size = len(picture(number))
            archive.addfile(info, io.BytesIO(picture(number)))
        parts.append(stream.getvalue() + bytes(padding))
    (tmp_path / "all.tar").write_bytes(b"".join(parts))
    records = open_splits(str(tmp_path / "all.tar"), held_out=0.0)["train"]
    found = {records[i].key.rpartition("/")[2]: records[i] for i in range(len(records))}
    assert len(found) == archives
    for number in range(archives):
        one = found[f"{number}.jpg"]
        assert one.image == picture(number) and records.manifest.classes[one.label] == f"c{number % 2}"


@pytest.mark.parametrize(
    ("members", "taken"),
    [
        (["v1.3.jpg", "v1.3.cls", "v1.4.jpg", "v1.4.cls"], ["v1.3.jpg", "v1.4.jpg"]),
        (["k.jpg", "k.mask.png", "k.cls"], ["k.jpg"]),
        (["k.image.jpg", "k.mask.png", "k.cls"], ["k.image.jpg"]),
        (["k.jpg", "k.mask.png", "k.json"], ["k.jpg"]),
        (["k.jpg", "k.depth.png"], ["k.jpg"]),
        (["a/k.jpg", "a/k.2.jpg"], ["a/k.jpg", "a/k.2.jpg"]),
        (["k.jpg", "._k.jpg", "__MACOSX/k.jpg", ".cache/k.jpg"], ["k.jpg"]),
        (["v1.3.jpg", "v1.3.json", "v1.jpg", "v1.json"], ["v1.3.jpg", "v1.jpg"]),
    ],
)
def test_of_the_members_of_a_tar_the_picture_of_each_sample_is_taken_and_the_others_counted(
    tmp_path: Path, picture: Picture, members: list[str], taken: list[str]
):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for name in members:
            data = b"0" if name.endswith((".cls", ".json")) else picture(1)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    records = open_splits(str(tmp_path / "set.tar"), held_out=0.0)["train"]
    assert [records[i].key.removeprefix("set.tar/") for i in range(len(records))] == taken
    assert sum(entry.count for entry in records.manifest.left_out) == len(members) - len(taken)


def test_several_pictures_of_a_sample_are_refused_unless_one_is_named(tmp_path: Path, picture: Picture):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for name in ("k.left.jpg", "k.right.jpg", "k.cls", "k.kind.txt"):
            data = b"1" if name.endswith(("cls", "txt")) else picture(1)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with pytest.raises(RecordFileError, match=r"left.jpg, right.jpg.*--image-key"):
        seen(tmp_path / "set.tar")
    for label_key in (None, "kind.txt"):
        chosen = SourceOptions(image_key="right.jpg", label_key=label_key)
        records = open_splits(str(tmp_path / "set.tar"), held_out=0.0, options=chosen)["train"]
        assert (records[0].key, records[0].label) == ("set.tar/k.right.jpg", 1)


@pytest.mark.parametrize(
    ("label", "message"),
    [("-1", "class numbers are 0 or more"), ("", "is empty"), ("10000000", "is it an id")],
)
def test_labels_of_a_tar_that_are_no_classes_are_refused(
    tmp_path: Path, picture: Picture, label: str, message: str
):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for name, data in (
            ("a.jpg", picture(1)),
            ("a.cls", label.encode()),
            ("b.jpg", picture(2)),
            ("b.cls", b"0"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with pytest.raises(RecordFileError, match=message):
        seen(tmp_path / "set.tar")
    assert seen(tmp_path / "set.tar", UNLABELLED) == ({"train": 2}, ())
