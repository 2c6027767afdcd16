from pathlib import Path

import pytest

from laminate.data.record_writer import RecordWriter
from laminate.data.records import RecordFile, RecordFileError
from laminate.data.vet import vet_record_files

LIMIT = 2**27


def write(path: Path, records: list[bytes]) -> RecordFile:
    writer = RecordWriter(path)
    for record in records:
        writer.write(record)
    writer.close()
    return RecordFile(path, len(records))


def test_sound_files_pass(tmp_path: Path):
    files = [write(tmp_path / name, [b"one", b"two", b"three"]) for name in "ab"]
    for sample in (True, False):
        vet_record_files(files, sample=sample, memory_limit=LIMIT)


def test_a_record_bomb_is_refused_and_ends_only_the_child(tmp_path: Path):
    bomb = write(tmp_path / "bomb", [b"small", bytes(5 * LIMIT), b"small"])
    assert bomb.path.stat().st_size < 2**20
    with pytest.raises(RecordFileError, match=r"bomb.* (refused|memory|damaged)"):
        vet_record_files([bomb], sample=False, memory_limit=LIMIT)


def test_the_message_of_the_child_comes_through(tmp_path: Path):
    file = write(tmp_path / "short", [b"one"])
    with pytest.raises(RecordFileError, match="short holds 1 records and its metadata says 5"):
        vet_record_files([RecordFile(file.path, 5)], sample=True, memory_limit=LIMIT)
