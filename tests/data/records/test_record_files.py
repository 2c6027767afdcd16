import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.data.record_writer import RecordWriter
from laminate.data.records import (
    ArrayRecords,
    Example,
    RecordError,
    RecordFile,
    RecordFileError,
    Records,
    RecordsManifest,
    hold_out,
)
from laminate.data.schema import example_serializer

CLASSES = ("ant", "bee", "cod")


def write(path: Path, records: list[bytes]) -> RecordFile:
    writer = RecordWriter(path)
    for record in records:
        writer.write(record)
    writer.close()
    return RecordFile(path, len(records), path.stat().st_size)


def examples(count: int) -> list[Example]:
    return [Example(bytes([i]) * (i + 1), i % 3, f"key {i}") for i in range(count)]


def manifest(count: int, classes: tuple[str, ...] = CLASSES) -> RecordsManifest:
    return RecordsManifest("things", "train", count, classes, "a test", "f")


@pytest.fixture
def shards(tmp_path: Path) -> list[RecordFile]:
    serialize = example_serializer(CLASSES)
    whole = [serialize(example) for example in examples(12)]
    return [write(tmp_path / f"shard-{i}", part) for i, part in enumerate((whole[:5], [], whole[5:]))]


def test_records_run_through_the_files_in_order(shards: list[RecordFile]):
    records = ArrayRecords(shards, manifest(12))
    assert isinstance(records, Records)
    assert [records[i] for i in range(len(records))] == examples(12)
    assert records[-1] == examples(12)[-1]
    with pytest.raises(IndexError):
        records[12]


def test_records_are_picklable_after_use_and_readable_from_threads(shards: list[RecordFile]):
    records = ArrayRecords(shards, manifest(12))
    records[3]
    again = pickle.loads(pickle.dumps(records))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(again.__getitem__, list(range(12)) * 9)) == examples(12) * 9


def test_plain_grain_reads_the_files(shards: list[RecordFile]):
    import grain

    source = grain.sources.ArrayRecordDataSource([str(shards[0].path), str(shards[2].path)])
    serialize = example_serializer(CLASSES)
    assert [source[i] for i in range(len(source))] == [serialize(example) for example in examples(12)]


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda content: b"", "is empty .0 bytes."),
    "truncated": (lambda content: content[: len(content) // 2], "is truncated: it has"),
    "appended": (lambda content: content + b"more", "is too long: it has"),
    "foreign": (lambda content: b"not a record file".ljust(len(content)), "is no ArrayRecord file"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_when_the_set_is_opened(shards: list[RecordFile], damage: str):
    mend, message = DAMAGES[damage]
    path = shards[2].path
    path.write_bytes(mend(path.read_bytes()))
    with pytest.raises(RecordFileError, match=f"shard-2 {message}.*(again|convert)"):
        ArrayRecords(shards, manifest(12))


def test_a_missing_file_is_named(shards: list[RecordFile]):
    shards[0].path.unlink()
    with pytest.raises(RecordFileError, match="shard-0 is missing"):
        ArrayRecords(shards, manifest(12))


@pytest.mark.parametrize("damage", ["empty", "truncated", "foreign"])
def test_damage_is_found_without_a_stated_size_too(shards: list[RecordFile], damage: str):
    path = shards[2].path
    path.write_bytes(DAMAGES[damage][0](path.read_bytes()))
    with pytest.raises(RecordFileError, match="shard-2"):
        ArrayRecords([RecordFile(path, 7)], manifest(7))[0]


def test_a_wrong_count_is_named(shards: list[RecordFile]):
    records = ArrayRecords([RecordFile(shards[0].path, 6)], manifest(6))
    with pytest.raises(RecordFileError, match="holds 5 records and its metadata says 6"):
        records[0]


def test_one_damaged_record_leaves_the_others_readable(tmp_path: Path):
    serialize = example_serializer(CLASSES)
    # Incompressible images of 100 kB, so that the middle of the file lies inside one of them.
    whole = [
        Example(bytes((i * j * 7919 >> 3) % 251 for j in range(100_000)), 1, f"{i}") for i in range(1, 6)
    ]
    file = write(tmp_path / "shard", [serialize(example) for example in whole])
    content = bytearray(file.path.read_bytes())
    middle = (
        content.index(whole[2].image[40_000:40_040]) if whole[2].image[40_000:40_040] in content else 40_000
    )
    content[middle : middle + 8] = b"\0" * 8
    file.path.write_bytes(bytes(content))
    records = ArrayRecords([file], manifest(5))
    sound, broken = [], []
    for index in range(5):
        try:
            sound.append(records[index] == whole[index])
        except RecordError as error:
            broken.append(str(error))
    assert sound == [True] * 4
    assert len(broken) == 1 and "of " + str(file.path) in broken[0] and "damaged" in broken[0]


def test_a_record_that_is_no_example_names_file_and_number(tmp_path: Path):
    file = write(tmp_path / "odd", [example_serializer(CLASSES)(examples(1)[0]), b"plain text"])
    records = ArrayRecords([file], manifest(2))
    assert records[0] == examples(1)[0]
    with pytest.raises(RecordError, match=r"record 1 of .*odd: the record is no tf.train.Example"):
        records[1]


class Named:
    def __init__(self, names: list[str]):
        self.manifest = manifest(len(names))
        self._names = names

    def keys(self) -> list[str]:
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index, /) -> Example:
        return Example(b"", 0, self._names[index])


@given(names=st.lists(st.text("abcdef", max_size=6), min_size=2, max_size=80, unique=True), data=st.data())
def test_held_out_parts_are_disjoint_whole_and_independent_of_the_order(
    names: list[str], data: st.DataObject
):
    records = Named(names)
    train, validation = (
        [part[i].key for i in range(len(part))]
        for part in (hold_out(records, split) for split in ("train", "validation"))
    )
    assert not set(train) & set(validation)
    assert sorted(train + validation) == sorted(names)
    assert len(validation) == max(1, round(0.1 * len(names)))
    shuffled = hold_out(Named(data.draw(st.permutations(names))), "validation")
    assert {shuffled[i].key for i in range(len(shuffled))} == set(validation)


def test_held_out_parts_say_so_and_differ_in_fingerprint():
    parts = [hold_out(Named(list("abcdefghij")), split).manifest for split in ("train", "validation")]
    assert "0.1 held out" in parts[0].source
    assert [part.count for part in parts] == [9, 1]
    assert parts[0].fingerprint != parts[1].fingerprint
    with pytest.raises(ValueError, match="between 0 and 1"):
        hold_out(Named(["a", "b"]), "train", 1.5)
    with pytest.raises(ValueError, match="only 1 images"):
        hold_out(Named(["a"]), "train")
