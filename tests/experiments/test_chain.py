"""From a folder of one's own photographs to samples: each command names the next one, and remembers the rest."""

import dataclasses
import json
import shlex
import shutil
from pathlib import Path

import pytest

from laminate.cli.command import training_command
from laminate.cli.encode_flags import EncodeFlags
from laminate.cli.sample_flags import SampleFlags
from laminate.data.options import AS_IT_SAYS, SourceOptions
from laminate.data.sources.embedded import DEFAULT, PHOTOGRAPHS
from laminate.recipes.families import to_json
from laminate.recipes.flags import RunFlags
from laminate.recipes.flatdino.family import VAE
from laminate.recipes.flatdino.presets import photographs_vae
from laminate.recipes.generator.family import GENERATOR
from laminate.recipes.image_decoder.family import IMAGE_DECODER
from laminate.runs.data_place import FILE, DataPlace, find_data, note_data, with_data
from laminate.runs.load_decoder import find_decoder
from laminate.runs.load_tokenizer import load_tokenizer
from tests.experiments.jobs import (
    RECIPES,
    TINY,
    TINY_DIT,
    Job,
    experiment,
    one_line,
    write_photos,
    write_tokenizer,
)

SCRIPTS = {"vae.py": VAE, "decoder.py": IMAGE_DECODER, "generator.py": GENERATOR}
SHORT = ("--mesh", "1", "--log-every", "3", "--data-workers", "1")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A folder of its own, in which the default recipes are those of seconds."""
    monkeypatch.chdir(tmp_path)
    for family in SCRIPTS.values():
        recipe = dataclasses.replace(RECIPES[family.name], name=family.names.default)
        monkeypatch.setitem(family.names.presets, family.names.default, lambda recipe=recipe: recipe)
    return tmp_path


def typed(command: str) -> None:
    """What a person types, in this process."""
    program, script, *arguments = shlex.split(command, comments=True)
    assert program == "python" and script.startswith("experiments/")
    name = script.removeprefix("experiments/")
    family = SCRIPTS[name]
    experiment(family.name).main(*training_command(None, family, arguments=[*arguments, *SHORT]))


def words(said: str) -> str:
    """What was said, as wide as it is."""
    return " ".join(said.split())


def following(said: str) -> dict[str, str]:
    """The commands that a training names, by script."""
    lines = [line.partition(": ")[2] for line in said.splitlines() if line.startswith(("next: ", "or: "))]
    return {shlex.split(line)[1].removeprefix("experiments/"): line for line in lines}


def test_own_photographs_become_samples_with_one_flag_a_command_and_each_names_the_next(photos, here, capsys):
    shutil.copytree(photos, here / "my pets")
    typed("python experiments/vae.py --data 'my pets'")
    said = capsys.readouterr().err
    (tokenizer,) = Path("runs").iterdir()
    label = find_data(str(tokenizer)).label
    assert tokenizer.name == f"{VAE.names.default}-on-{label}" and label.startswith("my-pets-")
    assert f"FlatDINO β-VAE {VAE.names.default} on {label} teacher" in words(said)
    assert f"# {tokenizer.name}\n" in (tokenizer / "tokenizer" / "README.md").read_text()

    typed(following(said)["decoder.py"])
    said = capsys.readouterr().err
    assert f"Image decoder {IMAGE_DECODER.names.default} on {tokenizer.name} reads" in words(said)
    assert f"the data of {tokenizer} devices" in words(said)
    decoder = Path("runs") / f"{IMAGE_DECODER.names.default}-on-{label}"

    typed(following(said)["generator.py"])
    said = capsys.readouterr().err
    assert f"tokenizer: {tokenizer}; samples: decoded by {decoder}\n" in said
    assert f"the data of {tokenizer} devices" in words(said)
    generator = Path("runs") / f"{GENERATOR.names.default}-on-{label}"
    assert {path.name for path in Path("runs").iterdir()} == {
        path.name for path in (tokenizer, decoder, generator)
    }

    command = following(said)["sample.py"]
    assert command == f"python experiments/sample.py --generator {generator}  # images"
    flags = SampleFlags(generator=str(generator), check=True, per_class=2, steps=2, mesh="1")
    experiment("sample").main(flags)
    said = capsys.readouterr().err
    assert f"data: {here / 'my pets'}, those of {generator}\n" in said
    assert f"4 images of {generator.name}: " in said
    assert f"latents of {tokenizer}, decoded by {decoder}; mesh" in said and "Check of 4 samples" in said

    # The same commands again find the same runs.
    typed(f"python experiments/generator.py --run-dir {generator}")
    assert f"complete: all 6 steps are in {here / generator}" in capsys.readouterr().err


def test_own_images_at_the_small_size_are_offered_larger_ones_and_the_embedded_ones_are_not(
    photos, here, capsys
):
    small = "16 x 16 pixels, which is small for photographs. Larger: --image-size 128 or 256; --experiment photos-128 ("
    typed(f"python experiments/vae.py --data {photos} --stop-after 1")
    assert small in words(capsys.readouterr().err)
    typed("python experiments/vae.py --stop-after 1")
    assert "small for photographs" not in words(capsys.readouterr().err)
    typed(f"python experiments/vae.py --data {photos} --stop-after 1 --image-size 128 --run-dir larger")
    said = words(capsys.readouterr().err)
    assert "teacher patches: 1024 patches of 48 numbers" in said and "small for photographs" not in said


def opened(*arguments: str, name: str = "vae", photos: Path) -> Path:
    """The folder of a run that is stopped after its first step."""
    job = Job(Path.cwd(), photos, name)
    flags, recipe = training_command(
        None, SCRIPTS[f"{name}.py"], arguments=["--stop-after", "1", "--no-checkpoint", *SHORT, *arguments]
    )
    before = set(Path("runs").iterdir()) if Path("runs").exists() else set()
    experiment(name).main(flags, recipe)
    (made,) = set(Path("runs").iterdir()) - before
    assert job.photos == photos
    return made


def test_runs_of_one_recipe_on_different_data_do_not_meet(photos, here):
    other = write_photos(here / "pictures", classes=("birds", "boats"), each=9)
    first, second = (opened("--data", str(data), photos=photos) for data in (photos, other))
    assert first.name != second.name and {first.name.rpartition("-")[0], second.name.rpartition("-")[0]} == {
        f"{VAE.names.default}-on-pictures"
    }
    assert find_data(str(first)).source == str(photos) and find_data(str(second)).source == str(other)


def test_a_run_of_these_data_under_the_name_of_the_recipe_alone_goes_on(photos, here, capsys):
    """As earlier versions named all."""
    made = opened("--data", str(photos), photos=photos)
    shutil.move(made, here / "runs" / VAE.names.default)
    (here / "runs" / VAE.names.default / FILE).unlink()
    typed(f"python experiments/vae.py --data {photos} --stop-after 2")
    assert [path.name for path in Path("runs").iterdir()] == [VAE.names.default]


def test_a_run_that_goes_on_takes_its_data_and_says_whether_they_have_changed(photos, here, capsys):
    data = shutil.copytree(photos, here / "mine")
    write_tokenizer(here / "elsewhere" / "saved")
    run = ("--tokenizer", "elsewhere/saved", "--run-dir", "a")
    typed(f"python experiments/generator.py --data mine {shlex.join(run)} --stop-after 2")
    capsys.readouterr()
    typed("python experiments/generator.py --run-dir a --stop-after 3")
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "the data of a devices" in said
        and "resumed at step 2" in said
        and "tokenizer: elsewhere/saved" in said
    )
    (data / "cats" / "00.png").unlink()
    with pytest.raises(SystemExit):
        typed("python experiments/generator.py --run-dir a")
    assert "run.data" in one_line(capsys.readouterr().err)


def test_where_nothing_says_what_a_tokenizer_of_other_data_was_trained_on_the_data_are_asked_for(
    here, photos
):
    loaded = load_tokenizer(write_tokenizer(here / "saved"))
    flags = RunFlags()
    assert with_data(flags, TINY_DIT, loaded)[0].data == with_data(flags, TINY, None)[0].data == DEFAULT
    of_photographs = dataclasses.replace(loaded, recipe=photographs_vae())
    assert with_data(flags, TINY_DIT, of_photographs)[0].data == PHOTOGRAPHS
    elsewhere = dataclasses.replace(loaded, data_label="pets-012345")
    with pytest.raises(
        ValueError, match=r"was trained on pets-012345, and no data\.json beside it says where that is: g"
    ):
        with_data(flags, TINY_DIT, elsewhere)
    given = RunFlags(data=str(photos))
    assert with_data(given, TINY_DIT, elsewhere) == (given, None)


def test_latents_are_made_of_what_their_tokenizer_was_trained_on(photos, here, capsys):
    write_tokenizer(here / "runs" / "mine" / "tokenizer")
    note_data(
        load_path(here / "runs" / "mine"), DataPlace(str(photos), AS_IT_SAYS, "0123456789", "photos-012345")
    )
    flags = EncodeFlags(out=here / "latents", what="latents", tokenizer="runs/mine", mesh="1", data_workers=1)
    experiment("encode").main(flags)
    said = capsys.readouterr().err
    assert f"data: {photos}, those of runs/mine\n" in said and "train 22, validation 2" in said


def test_data_are_noted_from_the_root_with_how_they_are_read(here):
    reading = SourceOptions(classes=True, max_pixels=1000)
    for source, noted in (
        ("mine", str(here / "mine")),
        ("shards/x-{0..3}.tar", str(here / "shards/x-{0..3}.tar")),
        ("tfds:cats@/data", "tfds:cats@/data"),
        ("embedded:emoji", "embedded:emoji"),
    ):
        run = here / "runs" / "a"
        run.mkdir(parents=True, exist_ok=True)
        note_data(load_path(run), DataPlace(source, reading, "0123456789", "a-012345"))
        found = find_data("runs/a")
        assert (found.source, found.reading, found.fingerprint) == (noted, reading, "0123456789")
        assert found.label == "a-012345"
        assert find_data("runs/a/checkpoints/3") == find_data("runs/a")
    (run / FILE).write_text('{"source": "x", "reading": {"evil": 1}, "fingerprint": "y"}')
    with pytest.raises(ValueError, match="reading has a field 'evil'"):
        find_data("runs/a")
    (run / FILE).write_text('{"source": 3}')
    with pytest.raises(ValueError, match=r"data\.json: source must be a text"):
        find_data("runs/a")


def load_path(folder: Path):
    from etils import epath

    return epath.Path(folder)


def test_the_newest_decoder_of_a_tokenizer_is_found_beside_it_whatever_its_name(here):
    from tests.experiments.decoders import OF_LATENTS, write_decoder

    write_tokenizer(here / "runs" / "mine" / "tokenizer")
    loaded = load_tokenizer("runs/mine")
    assert find_decoder(None, loaded).said == "tiny itself"
    other = write_tokenizer(here / "other", seed=3)
    write_decoder(here / "runs" / "a" / "decoder", OF_LATENTS, other)
    (here / "runs" / "b" / "decoder").mkdir(parents=True)
    (here / "runs" / "b" / "decoder" / "config.json").write_text("{")
    assert find_decoder(None, loaded).said == "tiny itself"
    for name in ("d", "c"):
        write_decoder(here / "runs" / name / "decoder", OF_LATENTS, here / "runs" / "mine")
    assert find_decoder(None, loaded).said == "runs/c"
    assert find_decoder(None, load_tokenizer("runs/mine/tokenizer")).said == "tiny itself"
    (here / "runs" / "mine" / "recipe.json").write_text(to_json(TINY))
    assert find_decoder(None, load_tokenizer("runs/mine/tokenizer")).said == "runs/c"
    write_decoder(here / "runs" / "embedded-decoder" / "decoder", OF_LATENTS, here / "runs" / "mine")
    assert find_decoder(None, loaded).said == "runs/embedded-decoder"


def test_the_label_of_the_data_is_part_of_the_name_of_a_tokenizer_and_of_its_card(here):
    folder = write_tokenizer(here / "saved")
    config = json.loads((folder / "config.json").read_text())
    assert config["data"]["label"] == "" and load_tokenizer(folder).identity.name == "tiny"
    for label, name in (("pets-012345", "tiny-on-pets-012345"), ("../x", "tiny"), (3, "tiny")):
        config["data"]["label"] = label
        (folder / "config.json").write_text(json.dumps(config))
        assert load_tokenizer(folder).identity.name == name
    del config["data"]
    (folder / "config.json").write_text(json.dumps(config))
    assert load_tokenizer(folder).identity.name == "tiny"
