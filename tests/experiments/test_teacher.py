"""A frozen network of one's own: trained, saved in half precision, and compressed by a tokenizer that shows it."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import laminate
from laminate.pretrained import hub
from laminate.recipes.families import from_json
from laminate.recipes.masked_autoencoder.recipe import embedded_teacher
from laminate.recipes.network import find_teacher
from laminate.train.export import named_weights
from tests.experiments.jobs import TINY_TEACHER, Job, fingerprints, metrics, one_line


@pytest.fixture
def taught(tmp_path, photos):
    return Job(tmp_path / "taught", photos, "teacher")


@pytest.fixture(autouse=True)
def folders(taught):
    taught.folder.mkdir()


def test_a_training_leaves_weights_of_half_the_size_pictures_and_a_report_and_names_the_next(taught, capsys):
    taught.main()
    said = capsys.readouterr().err.splitlines()
    assert f"report: {taught.run}/report.html (with curves.png, reconstructions.png)" in said
    assert f"next: python experiments/vae.py --teacher {taught.run}/teacher" in said[-1]
    measured = [line for line in metrics(taught.run) if "val/psnr" in line]
    assert [line["step"] for line in measured] == [3, 6] and 0.0 <= measured[-1]["val/knn"] <= 1.0
    saved = laminate.load_pretrained(taught.run)
    assert saved.config["metrics"].keys() == {"val/psnr", "val/knn"}
    numbers = sum(leaf.size for leaf in jax.tree.leaves(saved.model))
    assert (taught.run / "teacher" / "model.safetensors").stat().st_size < 2 * numbers + 8000
    assert {leaf.dtype for leaf in jax.tree.leaves(saved.model)} == {jnp.dtype(jnp.float32)}
    image = np.zeros((16, 16, 3), np.float32)
    features = saved.model(jnp.asarray(image))
    assert features.shape == (16, 16) and saved.model.pixels(features).shape == image.shape
    np.testing.assert_allclose(np.std(features, axis=1), 1.0, rtol=1e-2)


def test_a_resumed_training_is_an_uninterrupted_one_bit_for_bit(taught):
    taught.main()
    parts = taught.folder / "parts"
    taught.main("--stop-after", "3", run=parts)
    taught.main(run=parts)
    assert fingerprints(parts, 6) == fingerprints(taught.run, 6)


def test_a_frozen_half_is_that_of_before_bit_for_bit(taught):
    taught.main()
    kept = {"encoder": "vit", "decoder": "decoder"}
    for half, part in kept.items():
        tuned = taught.folder / half
        taught.main("--init-from", str(taught.run), "--freeze", half, "--seed", "1", run=tuned)
        before, after = (named_weights(laminate.load_pretrained(run).model) for run in (taught.run, tuned))
        for name, array in before.items():
            assert np.array_equal(array, after[name]) == name.startswith(part + "."), name


def test_losses_are_those_of_one_device_on_any_mesh_and_in_parts(taught):
    for mesh, more in (("1x1", ()), ("4x2", ()), ("2x1", ("--device-batch-size", "2"))):
        taught.main("--mesh", mesh, *more, "--stop-after", "4", run=taught.folder / mesh)
    one = taught.losses(taught.folder / "1x1")
    assert list(one) == [1, 2, 3, 4]
    for mesh in ("4x2", "2x1"):
        assert taught.losses(taught.folder / mesh) == pytest.approx(one, rel=1e-5)


def test_a_tokenizer_compresses_its_features_shows_them_and_refuses_other_weights(taught, job, capsys):
    taught.main()
    named = ("--teacher", str(taught.run / "teacher"))
    job.main("--teacher", str(taught.run), "--stop-after", "3")  # the run of it is the same
    job.main(*named)
    teacher = from_json((job.run / "recipe.json").read_text()).teacher
    assert (teacher.patches, teacher.dim, teacher.family) == (16, 16, "masked-autoencoder")
    assert "dB" in (job.run / "report.html").read_text()  # pixels, and no false colours
    tokenizer = laminate.from_pretrained(job.run)
    picture = tokenizer.decode_image(tokenizer.encode_image(np.zeros((30, 20, 3), np.uint8)))
    assert picture.size == (16, 16)

    taught.main("--seed", "1", "--fresh")
    capsys.readouterr()
    for arguments, said in (
        (named, "holds a run of another recipe: teacher.weights"),
        (("--recipe", str(job.run / "recipe.json")), "The weights of the teacher"),
    ):
        with pytest.raises(SystemExit) as left:
            job.main(*arguments)
        assert left.value.code == 2
        assert said in one_line(capsys.readouterr().err)


def test_what_is_no_teacher_is_refused_by_what_it_is(tokenizer, capsys):
    with pytest.raises(ValueError, match=r"holds what vae\.py trains, and no network that can be a teacher"):
        find_teacher(str(tokenizer))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overlap": 5}, r"overlap must lie in \[0, 4\], got 5"),
        ({"masked_patches": 1.5}, r"masked_patches must lie in \[0\.0, 1\.0\], got 1\.5"),
        ({"feature_noise": -0.1}, r"feature_noise must be at least 0\.0, got -0\.1"),
        ({"patch_size": 5, "overlap": 0}, "augment.image_size must be a multiple of patch_size 5, got 16"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY_TEACHER, **changes)


def test_the_network_in_the_package_is_that_of_the_default_recipe():
    stated = json.loads((find_teacher_folder() / "config.json").read_text())
    assert from_json(json.dumps(stated["recipe"])) == embedded_teacher()


def find_teacher_folder():

    return hub.locate("embedded").config.parent


def test_from_pretrained_says_what_a_teacher_is_for():
    with pytest.raises(ValueError, match=r"a frozen network and no tokenizer: .*vae\.py --teacher embedded"):
        laminate.from_pretrained("embedded")
