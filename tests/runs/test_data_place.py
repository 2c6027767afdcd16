"""The data of a run, as its folder notes them."""

from etils import epath

from laminate.data.options import AS_IT_SAYS, SourceOptions
from laminate.recipes.run_names import data_label
from laminate.runs.data_place import find_data, note_data


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
        note_data(epath.Path(tmp_path), given, reading, "0" * 32)
        found = find_data(str(tmp_path))
        assert found is not None and (found.source, found.reading) == (noted, reading)
    note_data(epath.Path(tmp_path), "embedded", AS_IT_SAYS, "0" * 32)


def test_what_a_training_takes_by_default_has_no_label():
    assert data_label("embedded:any-size", "abcdef0") == data_label("embedded", "abcdef0") == ""
    assert data_label("embedded:emoji", "abcdef0") == "emoji-abcdef"
