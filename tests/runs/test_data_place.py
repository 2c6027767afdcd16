"""The data of a run, as its folder notes them."""

from etils import epath

from laminate.data.options import SourceOptions
from laminate.recipes.families import usual_data
from laminate.recipes.flatdino.family import VAE
from laminate.recipes.run_names import data_label
from laminate.recipes.vitok.family import VITOK
from laminate.runs.data_place import DataPlace, find_data, note_data


def test_several_sources_are_noted_from_the_root_and_names_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b").mkdir()
    (tmp_path / "recipe.json").write_text("{}")
    reading = SourceOptions(min_size=64)
    for given, noted in {
        "photos,embedded:emoji,tfds:cats": f"{tmp_path}/photos,embedded:emoji,tfds:cats",
        "x-{0,1}.tar,hf://org/set/y-{0..3}.tar": f"{tmp_path}/x-{{0,1}}.tar,hf://org/set/y-{{0..3}}.tar",
        "a,b": f"{tmp_path}/a,b",
        "embedded:any-size": "embedded:any-size",
    }.items():
        note_data(epath.Path(tmp_path), DataPlace(given, reading, "0" * 32, "a-012345"))
        found = find_data(str(tmp_path))
        assert found is not None and (found.source, found.reading) == (noted, reading)


def test_what_a_training_takes_by_default_has_no_label():
    sizes, emoji = (usual_data(family.names.recipe(family.names.default)) for family in (VITOK, VAE))
    assert (sizes, emoji) == ("embedded:any-size,embedded:emoji", "embedded:emoji")
    assert data_label(sizes, "abcdef0", usual=sizes) == data_label("embedded", "abcdef0", usual=emoji) == ""
    assert data_label(emoji, "abcdef0", usual=sizes) == "emoji-abcdef"


def test_what_an_earlier_version_noted_as_embedded_are_the_photographs(tmp_path):
    (tmp_path / "recipe.json").write_text("{}")
    (tmp_path / "data.json").write_text('{"source": "embedded", "reading": {}, "fingerprint": "00"}')
    found = find_data(str(tmp_path))
    assert found is not None and (found.source, found.label) == ("embedded:photographs", "")
