"""A frozen network of one's own: trained, saved in half precision, and compressed by a tokenizer that shows it."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import laminate
from laminate.cli.command import training_command
from laminate.pretrained import hub
from laminate.pretrained.tensors import weights_hash
from laminate.recipes.families import from_json
from laminate.recipes.masked_autoencoder.family import MASKED_AUTOENCODER
from laminate.recipes.masked_autoencoder.recipe import SeenThrough, embedded_teacher
from laminate.recipes.modules import network_identity
from laminate.recipes.network import find_teacher
from laminate.train.export import named_weights
from tests.experiments.jobs import TINY_TEACHER, Job, experiment, fingerprints, metrics, one_line

KNOWN_BY = "8db54da6827ab678ab9f0c0a4011721e21ffaf149da65501fb22e2d34db113c2"
"""The hash of the network whose encoder the one in the package has."""


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


def test_a_decoder_learns_what_tokenizers_give_back_and_the_features_are_known_as_before(taught, job):
    taught.main()
    other = job.folder / "other"
    job.main("--teacher", str(taught.run))
    job.main("--teacher", str(taught.run), "--seed", "1", run=other)
    beside = ("--init-from", str(taught.run), "--freeze", "encoder", "--tokenizer", str(job.run), str(other))
    whole, parts = taught.folder / "whole", taught.folder / "parts"
    taught.main(*beside, run=whole)
    taught.main(*beside, "--stop-after", "3", run=parts)
    taught.main(*beside, run=parts)
    assert fingerprints(parts, 6) == fingerprints(whole, 6)

    before, after = (laminate.load_pretrained(run) for run in (taught.run, whole))
    arrays = named_weights(after.model)
    for name, array in named_weights(before.model).items():
        assert np.array_equal(array, arrays[name]) == name.startswith("vit."), name
    named = [one.name for one in after.recipe.tokenizers]
    assert named == [f"{run}/tokenizer" for run in (job.run, other)]
    assert network_identity(str(whole)) == network_identity(str(taught.run)) == after.recipe.features != ""
    measured = [line for line in metrics(whole) if "val/psnr" in line]
    assert all(line["val/rebuilt_psnr"] < line["val/psnr"] for line in measured)
    report = (whole / "report.html").read_text()
    for number in (1, 2):
        assert f"seen through tokenizer {number}" in report and (whole / f"rebuilt-{number}.png").exists()

    image = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    own, again = (laminate.from_pretrained(job.run, decoder=decoder) for decoder in ("none", str(whole)))
    tokens = own.encode_image(image)
    shown = np.asarray(again.decode_image(tokens), np.float32)
    np.testing.assert_allclose(shown, 255.0 * after.model.pixels(own.decode(tokens)), atol=1.0)
    assert np.abs(shown - np.asarray(own.decode_image(tokens), np.float32)).max() > 1.0


def test_what_tokenizers_give_back_is_seen_of_a_share_of_the_images(taught, job):
    taught.main()
    job.main("--teacher", str(taught.run))
    frozen = ("--init-from", str(taught.run), "--freeze", "encoder")
    still = ("--set", "feature_noise=0", "--set", "masked_images=0", "--stop-after", "2")
    losses = {}
    for share in (0.0, 0.5, 1.0):
        run = taught.folder / f"share{share}"
        beside = ("--tokenizer", str(job.run), "--set", f"rebuilt_images={share}")
        taught.main(*frozen, *still, *beside, run=run)
        losses[share] = taught.losses(run)[1]
    exact = taught.folder / "exact"
    taught.main(*frozen, *still, run=exact)
    assert losses[0.0] == taught.losses(exact)[1] != losses[1.0]
    assert losses[0.5] not in (losses[0.0], losses[1.0])
    on_a_mesh = taught.folder / "mesh"
    taught.main(*frozen, *still, "--tokenizer", str(job.run), "--mesh", "2x2", run=on_a_mesh)
    assert taught.losses(on_a_mesh)[1] == pytest.approx(losses[0.5], rel=1e-5)


def test_a_tokenizer_of_other_features_or_weights_is_refused(taught, job, tokenizer, capsys):
    taught.main()
    changed, refused = taught.folder / "changed", taught.folder / "refused"
    taught.main("--seed", "1", run=changed)
    job.main("--teacher", str(changed))
    frozen, beside = (
        ("--init-from", str(taught.run), "--freeze", "encoder"),
        ("--tokenizer", str(job.run)),
    )
    of_others = "take a tokenizer of the network that --init-from names"
    for arguments, said in (
        (beside, "add --freeze encoder"),
        ((*frozen, *beside), of_others),
        ((*frozen, "--tokenizer", str(tokenizer)), of_others),
        ((*frozen, "--tokenizer", str(taught.run / "teacher")), "take a run of vae.py or fsq.py"),
        ((*frozen, "--tokenizer", str(taught.folder / "nothing")), "nothing"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            taught.main(*arguments, run=refused)
        assert left.value.code == 2 and said in one_line(capsys.readouterr().err)
    assert not refused.exists()
    for foreign in (job.run, tokenizer):
        with pytest.raises(ValueError, match="give a decoder that was trained on that teacher"):
            laminate.from_pretrained(foreign, decoder=str(taught.run))

    own = ("--init-from", str(changed), "--freeze", "encoder")
    taught.main(*own, *beside, "--stop-after", "3", run=refused)
    job.main("--teacher", str(changed), "--seed", "2", "--fresh")
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        taught.main("--recipe", str(refused / "recipe.json"), *own, run=refused)
    assert left.value.code == 2 and "The weights of the tokenizer" in one_line(capsys.readouterr().err)


def test_features_are_known_by_a_hash_only_while_their_encoder_stays(taught, capsys):
    run = taught.folder / "a=1"  # as runs of --set are called
    taught.main(run=run)
    tuned, again = taught.folder / "tuned", taught.folder / "again"
    taught.main("--init-from", str(run), "--freeze", "encoder", run=tuned)
    assert network_identity(str(tuned)) == network_identity(str(run))
    recipe = ("--recipe", str(tuned / "recipe.json"))
    taught.main(*recipe, "--set", "freeze=nothing", "--init-from", str(tuned), run=again)
    assert network_identity(str(again)) != network_identity(str(run))
    for arguments, said in (
        (recipe, "--freeze encoder keeps a half that is trained already"),
        ((*recipe, "--set", "encoder.norm_eps=1e-3", "--init-from", str(run)), "its recipe has another one"),
        ((*recipe, "--set", "latent_noise=1", "--init-from", str(run)), "give one by --tokenizer"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            taught.main(*arguments, run=taught.folder / "refused")
        assert left.value.code == 2 and said in one_line(capsys.readouterr().err)


def test_a_frozen_encoder_that_begins_without_a_known_network_takes_no_tokenizer(taught, job, capsys):
    taught.main()
    job.main("--teacher", str(taught.run))
    capsys.readouterr()
    unknown = ("--restore", str(taught.run), "--freeze", "encoder")
    with pytest.raises(SystemExit) as left:
        taught.main(*unknown, "--tokenizer", str(job.run), run=taught.folder / "refused")
    assert left.value.code == 2
    assert "compresses features of a network that is known" in one_line(capsys.readouterr().err)


def test_a_run_that_was_restored_with_a_frozen_half_goes_on_by_its_folder_alone(taught):
    taught.main()
    first, tuned = taught.folder / "first", taught.folder / "tuned"
    taught.main("--init-from", str(taught.run), "--freeze", "decoder", "--stop-after", "3", run=first)
    taught.main("--restore", str(first), "--freeze", "decoder", "--stop-after", "4", run=tuned)
    recipe = (tuned / "recipe.json").read_text()
    arguments = ["--data", str(taught.photos), "--run-dir", str(tuned), "--mesh", "1"]
    experiment("teacher").main(*training_command(None, MASKED_AUTOENCODER, arguments=arguments))
    assert (tuned / "recipe.json").read_text() == recipe and fingerprints(tuned, 6)


def test_a_run_whose_beginning_is_gone_goes_on(taught):
    taught.main()
    gone, tuned = taught.folder / "gone", taught.folder / "tuned"
    taught.run.rename(gone)
    frozen = ("--init-from", str(gone), "--freeze", "encoder")
    taught.main(*frozen, "--stop-after", "3", run=tuned)
    gone.rename(taught.run)
    taught.main(*frozen, "--recipe", str(tuned / "recipe.json"), run=tuned)
    assert network_identity(str(tuned)) == network_identity(str(taught.run))


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
        ({"latent_noise": -0.1}, r"latent_noise must be at least 0\.0, got -0\.1"),
        ({"rebuilt_images": 1.5}, r"rebuilt_images must lie in \[0\.0, 1\.0\], got 1\.5"),
        ({"tokenizers": (SeenThrough("one"),)}, "tokenizers one compress .*--freeze encoder"),
        ({"feature_noise": -0.1}, r"feature_noise must be at least 0\.0, got -0\.1"),
        ({"patch_size": 5, "overlap": 0}, "augment.image_size must be a multiple of patch_size 5, got 16"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY_TEACHER, **changes)


def test_the_network_in_the_package_is_that_of_the_default_recipe_its_decoder_trained_again():
    stated = from_json(json.dumps(json.loads((find_teacher_folder() / "config.json").read_text())["recipe"]))
    beside_tokenizers = dataclasses.replace(
        embedded_teacher(),
        name=stated.name,
        masked_images=0.0,
        latent_noise=0.6,
        freeze="encoder",
        tokenizers=stated.tokenizers,
        features=KNOWN_BY,
    )
    assert stated == beside_tokenizers
    names = [one.name for one in stated.tokenizers]
    assert names == ["runs/embedded-vae/tokenizer", "runs/embedded-fsq/tokenizer"]


def test_its_features_are_known_by_the_hash_that_runs_on_them_have_and_its_encoder_is_that_of_then():
    weights = hub.load("embedded").weights
    encoder = {name: array for name, array in weights.items() if name.startswith("vit.")}
    assert weights_hash(encoder) == "f1f38e59fc47f10096606aae4285e8f6762ace06d86f477b4de03b2b4c319531"
    assert network_identity("embedded") == find_teacher("embedded").weights == KNOWN_BY


def find_teacher_folder():
    return hub.locate("embedded").config.parent


def test_from_pretrained_says_what_a_teacher_is_for():
    with pytest.raises(ValueError, match=r"a frozen network and no tokenizer: .*vae\.py --teacher embedded"):
        laminate.from_pretrained("embedded")
