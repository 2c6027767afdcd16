"""Manifests, journals and metadata that somebody changed: a sentence with the file, never a traceback."""

import copy
import json
import random
import shutil
from pathlib import Path

import pytest

from laminate.data.check import check
from laminate.data.prepare import Options, prepare
from laminate.data.prepared import JOURNAL, MANIFEST, read_prepared
from laminate.data.records import RecordError, RecordFileError
from laminate.data.sources import open_records
from laminate.data.tfds_metadata import one_line

STRANGE = (None, True, -1, 0, 1.5, 2**63, "", "x" * 50, "\x00\n", [], {}, [[]], {"a": None}, 10**18)
LITERALS = ("NaN", "1e999", "1" + "0" * 400, "[" * 5000 + "]" * 5000, "-Infinity", '{"a": 1, "a": 2}')


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    from tests.data.records.conftest import encoded

    root = tmp_path_factory.mktemp("sound")
    for number in range(12):
        path = root / "images" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(number))
    prepare(str(root / "images"), root / "out", Options(shards=2))
    return root / "out"


def changed(tree, rng: random.Random):
    """`tree` with one value somewhere in it replaced, or one member removed."""
    tree = copy.deepcopy(tree)
    places = []

    def walk(node):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(tree)
    node, key = rng.choice(places)
    if rng.random() < 0.25:
        del node[key]
    else:
        node[key] = rng.choice(STRANGE)
    return tree


@pytest.mark.parametrize("name", [MANIFEST, "dataset_info.json", "features.json"])
@pytest.mark.parametrize("seed", range(4))
def test_changed_fields_are_read_or_refused_with_the_file(sound, tmp_path, name, seed, monkeypatch):
    monkeypatch.setattr(
        "laminate.data.sources.tfds.vet_record_files", lambda *_, **__: None
    )  # the files are sound
    out = tmp_path / "out"
    shutil.copytree(sound, out)
    if name != MANIFEST:
        (out / MANIFEST).unlink()
    rng, before = random.Random(seed), json.loads((sound / name).read_text())
    for _ in range(60):
        (out / name).write_text(json.dumps(changed(before, rng)))
        try:
            records = open_records(str(out), "train")
            records[0]
        except (RecordFileError, FileNotFoundError, ValueError) as error:
            assert isinstance(error, RecordError) or str(out) in str(error), repr(error)
            assert "\n" not in str(error)


@pytest.mark.parametrize("name", [MANIFEST, "dataset_info.json", "features.json"])
@pytest.mark.parametrize("literal", LITERALS)
def test_what_is_no_plain_json_is_refused_with_the_file(sound, tmp_path, name, literal):
    out = tmp_path / "out"
    shutil.copytree(sound, out)
    if name != MANIFEST:
        (out / MANIFEST).unlink()
    (out / name).write_text(f'{{"name": {literal}}}')
    with pytest.raises(RecordFileError, match=name):
        open_records(str(out), "train")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"shard": 7}', "[" * 5000, '{"shard": {"name": 1}, "skipped": []}']
)
def test_a_journal_that_cannot_be_read_is_written_again(sound, tmp_path, text):
    source, out = sound.parent / "images", tmp_path / "out"
    done = prepare(str(source), out, Options(shards=2))
    (out / JOURNAL).mkdir()
    (out / MANIFEST).rename(tmp_path / "manifest")
    plan = json.loads((tmp_path / "manifest").read_text())["plan"]
    (out / JOURNAL / "plan.json").write_text(json.dumps({"plan": plan}))
    for shard in done.shards:
        (out / JOURNAL / f"{shard.name}.json").write_text(text)
    assert prepare(str(source), out, Options(shards=2)).shards == done.shards


@pytest.mark.parametrize("label", [2, 7, -2, 2**40])
def test_a_label_outside_the_classes_is_a_bad_record_and_not_no_class(sound, tmp_path, label):
    from laminate.data.record_writer import RecordWriter
    from laminate.data.records import ArrayRecords, RecordFile
    from laminate.data.schema import Example, example_serializer
    from tests.data.records.conftest import encoded

    serialize = example_serializer(())
    with RecordWriter(tmp_path / "a.array_record") as writer:
        for value in (label, 1, -1):
            writer.write(serialize(Example(encoded(1), value, "key")))
    records = ArrayRecords(
        [RecordFile(tmp_path / "a.array_record", 3)], read_prepared(sound).manifest("train")
    )
    with pytest.raises(
        RecordError, match=rf"record 0 of .*a.array_record has the label {label}.*of the 2 classes"
    ):
        records[0]
    assert (records[1].label, records[2].label) == (1, -1)


NAMES = ("a\nb", "c\u2028d", "\x0ce", " f", "g\t", "h\\n", "i  j", "k\r", "\u00e9t\u00e9")


def test_names_of_classes_with_line_breaks_shift_no_label(tmp_path):
    import tensorflow_datasets as tfds

    from tests.data.records.conftest import encoded

    for label, name in enumerate(NAMES):
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "in" / name / f"{number}.png").write_bytes(encoded(10 * label + number, "PNG"))
    prepare(str(tmp_path / "in"), tmp_path / "out", Options(held_out=0.0))
    ours = open_records(str(tmp_path / "out"), "train", held_out=0.1)
    assert set(ours.manifest.classes) == set(NAMES) and check(tmp_path / "out").faults == ()
    feature = tfds.builder_from_directory(tmp_path / "out").info.features["label"]
    assert feature.names == [one_line(name) for name in ours.manifest.classes]
    assert len(set(feature.names)) == len(NAMES)
    lines = (tmp_path / "out" / "label.labels.txt").read_text().removesuffix("\n").split("\n")
    assert lines == feature.names and all(line == line.strip() != "" for line in lines)


@pytest.mark.parametrize("kind", ["link to a file", "dangling link"])
def test_a_lock_that_is_a_link_leads_nowhere(sound, tmp_path, kind):
    victim, out = tmp_path / "victim", tmp_path / "out"
    if kind == "link to a file":
        victim.write_text("precious")
    (out / JOURNAL).mkdir(parents=True)
    (out / JOURNAL / "lock").symlink_to(victim)
    with pytest.raises(OSError, match="a link is in its place, and nothing is written outside"):
        prepare(str(sound.parent / "images"), out, Options(shards=2))
    assert victim.read_text() == "precious" if kind == "link to a file" else not victim.exists()
