"""Drawing: the same images in any batch and on any mesh, the files that are asked for, and what is refused."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from laminate.cli.command import flags_command
from laminate.cli.sample_flags import SampleFlags
from laminate.parallel.mesh import build_mesh
from laminate.recipes.image_decoder.recipe import for_features
from laminate.recipes.network import TeacherConfig
from laminate.runs.devices import open_devices
from laminate.runs.load_tokenizer import load_tokenizer
from laminate.runs.open_sampler import open_sampler, sampler_params
from laminate.runs.pretrained import load_pretrained
from tests.experiments.decoders import OF_FEATURES, OF_LATENTS, write_decoder
from tests.experiments.jobs import TINY, TINY_DIT, Job, experiment, write_generator, write_tokenizer
from tests.pretrained import checkpoints

SEEING = TeacherConfig("tiny/dinov2", 16, 16, 12, depth=2, family="dinov2", weights="ab" * 32)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A tokenizer and a generator on it."""
    folder = tmp_path_factory.mktemp("trained")
    tokenizer = write_tokenizer(folder / "tokenizer")
    return tokenizer, write_generator(folder / "generator", tokenizer)


@pytest.fixture
def drawn(places, tmp_path):
    """Draws with some flags; the folder of the files."""

    def draw(*arguments, name="out"):
        experiment("sample").main(flags(places, "--out", str(tmp_path / name), *arguments))
        return tmp_path / name

    return draw


def flags(places, *arguments):
    tokenizer, generator = places
    common = ("--generator", str(generator), "--tokenizer", str(tokenizer), "--mesh", "1")
    return flags_command(None, SampleFlags, arguments=[*common, "--device-batch-size", "3", *arguments])


def pixels(folder):
    with np.load(folder / "samples.npz") as file:
        return file["arr_0"], file["labels"]


def test_an_image_depends_on_its_seed_and_number_alone(drawn):
    images, labels = pixels(drawn("--total", "7", "--npz"))
    assert images.shape == (7, 16, 16, 3)
    assert labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert len(np.unique(images.reshape(7, -1), axis=0)) == 7
    meshed, _ = pixels(drawn("--total", "7", "--npz", "--mesh", "2x2", name="mesh"))
    np.testing.assert_array_equal(meshed, images)
    batched, _ = pixels(drawn("--total", "7", "--npz", "--device-batch-size", "7", name="batch"))
    # Another batch may be multiplied in another order, which moves a pixel on the edge by one.
    assert np.abs(batched.astype(int) - images).max() <= 1
    other, _ = pixels(drawn("--total", "7", "--npz", "--seed", "1", name="seed"))
    assert (other != images).mean() > 0.5


@pytest.mark.parametrize("stored", ["bfloat16", "int8"])
def test_weights_in_less_memory_draw_nearly_the_same_images(drawn, stored, capsys):
    exact, near = (
        pixels(drawn("--total", "3", "--npz", *more, name=name))[0].astype(int)
        for name, more in (("exact", ()), (stored, ("--stored", stored)))
    )
    assert 0 < np.abs(near - exact).max() < 0.1 * np.ptp(exact)
    assert f"weights in {stored}" in " ".join(capsys.readouterr().err.split())


def test_files_are_those_that_are_asked_for(drawn):
    folder = drawn(
        "--classes", "dogs", "0", "--per-class", "2", "--png", "--interpolate", "spherical", "--frames", "3"
    )
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        *("grid.png", "interpolation.png", "interpolation.webp"),
        *("class_0001_dogs/000000.png", "class_0001_dogs/000001.png"),
        *("class_0000_cats/000002.png", "class_0000_cats/000003.png"),
    }
    with Image.open(folder / "interpolation.webp") as moving:
        assert moving.n_frames == 4  # there and back
        assert moving.size == (48, 16)  # a way of each of four images to the next


def test_a_check_says_what_the_samples_are_before_they_are_drawn_what_is_wrong_with_the_data(
    places, drawn, photos, tmp_path, capsys
):
    folder = drawn("--check", "--data", str(photos), "--per-class", "3")
    said = " ".join(capsys.readouterr().err.split())
    assert "Check of 6 samples by features of the embedded network" in said
    assert "classifier fitted on 22 training images; right about" in said and "nan" not in said
    found = json.loads((folder / "check.json").read_text())
    assert set(found["right"]) == {"cats", "dogs"} and 0.0 <= found["check/right"] <= 1.0

    bad = shutil.copytree(photos, tmp_path / "bad")
    for broken in ("00.png", "02.png"):
        (bad / "cats" / broken).write_bytes(b"no image")
    for allowed, code in (("1", 1), ("2", 0)):
        arguments = ("--check", "--data", str(bad), "--max-bad-images", allowed, "--total", "2")
        if code:
            with pytest.raises(SystemExit) as caught:
                drawn(*arguments, name="bad")
            assert caught.value.code == code and not (tmp_path / "bad" / "grid.png").exists()
        else:
            drawn(*arguments, name="good")


def test_solvers_differ_and_guidance_acts_inside_its_interval(drawn):
    common = ("--total", "2", "--npz", "--steps", "5")
    plain, _ = pixels(drawn(*common, "--scale", "1", name="plain"))
    for name, more, same in (
        ("none", ("--scale", "3", "--interval", "0.999", "1"), True),
        ("guided", ("--scale", "3", "--interval", "0", "1"), False),
        ("heun", ("--scale", "1", "--solver", "heun"), False),
        ("shift", ("--scale", "1", "--shift", "9"), False),
    ):
        other, _ = pixels(drawn(*common, *more, name=name))
        assert (other == plain).all() == same, name


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--steps", "0"], "--steps must be at least 1"),
        (["--shift", "0"], "--shift must be greater than 0"),
        (["--scale", "-1"], "--scale must be at least 0"),
        (["--interval", "0.5", "1.5"], "--interval runs from low to high in [0, 1]"),
        (["--interval", "0.6", "0.4"], "--interval runs from low to high in [0, 1]"),
        (["--per-class", "2", "--total", "4"], "Give --per-class or --total, not both"),
        (["--solver", "adaptive", "--steps", "5"], "--solver adaptive chooses its steps itself"),
        (["--classes", "birds"], "there is no class 'birds'. It has cats, dogs; numbers are 0 to 1"),
        (["--classes", "2"], "class 2 does not exist, there are 0 to 1"),
        (["--classes", "-1"], "class -1 does not exist"),
        (["--total", "1"], "1 samples cannot be balanced over 2 classes"),
        (["--channels", "7"], "a token has 6 numbers"),
        (["--weights", "raw"], "shares averaged weights alone"),
        (["--generator", "runs/absent"], "There is no file or folder runs/absent"),
        (["--check", "--data", "embedded"], "draws 2 classes and --data embedded:emoji has 10"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(places, tmp_path, capsys, arguments, expected):
    with pytest.raises(SystemExit) as caught:
        experiment("sample").main(flags(places, "--out", str(tmp_path / "out"), *arguments))
    assert caught.value.code == 2
    assert expected in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_another_tokenizer_is_refused_and_guidance_without_a_null_class(places, tmp_path, capsys):
    other = write_tokenizer(tmp_path / "other", seed=5)
    wide = write_tokenizer(tmp_path / "wide", recipe=dataclasses.replace(TINY, tokens=5))
    bare = write_generator(
        tmp_path / "bare", places[0], recipe=dataclasses.replace(TINY_DIT, class_dropout=0.0)
    )
    for chosen, more, expected in (
        (places, ("--tokenizer", str(other)), "belongs to the tokenizer tiny with the hash"),
        (places, ("--tokenizer", str(wide)), "is for 3 tokens of 6 numbers, and the tokenizer"),
        (places, ("--tokenizer", str(places[1])), "holds what generator.py trains and no tokenizer"),
        (places, ("--generator", str(places[0])), "holds what vae.py trains and no generator"),
        ((places[0], bare), ("--scale", "2"), "guidance needs classes and a null class"),
    ):
        with pytest.raises(SystemExit) as caught:
            experiment("sample").main(flags(chosen, *more, "--out", str(tmp_path / "out")))
        assert caught.value.code == 2
        assert expected in capsys.readouterr().err


def test_checkpoints_are_drawn_from_and_guide(places, tmp_path, photos, capsys):
    job = Job(tmp_path, photos, "generator", places[0])
    job.main("--stop-after", "2")
    step = job.run / "checkpoints" / "2"
    common = ("--total", "2", "--npz", "--generator", str(step))
    sample = experiment("sample")
    for name, more in (("ema", ()), ("raw", ("--weights", "raw")), ("auto", ("--auto", str(places[1])))):
        sample.main(flags(places, "--out", str(tmp_path / name), *common, *more))
    images = {name: pixels(tmp_path / name)[0] for name in ("ema", "raw", "auto")}
    assert (images["auto"] != images["ema"]).any()
    without = dataclasses.replace(
        TINY_DIT, name="without", optimizer=dataclasses.replace(TINY_DIT.optimizer, ema_decay=None)
    )
    job.main("--stop-after", "1", recipe=without, run=tmp_path / "without")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        sample.main(flags(places, "--generator", str(tmp_path / "without"), "--out", str(tmp_path / "no")))
    assert "has no averaged weights" in capsys.readouterr().err


def test_a_sample_that_is_not_finite_is_named_with_its_step(places, tmp_path, monkeypatch, capsys):
    sample = experiment("sample")
    opened = sample.open_sampler

    def broken(*given, **named):
        found = opened(*given, **named)
        sampler = found.sampler
        sampler._network = jax.tree.map(lambda leaf: leaf * np.float32(1e30), sampler._network)
        return found

    monkeypatch.setattr(sample, "open_sampler", broken)
    with pytest.raises(SystemExit) as caught:
        sample.main(flags(places, "--out", str(tmp_path / "out"), "--total", "2"))
    assert caught.value.code == 1
    assert "image 0 is not finite at step 1 of 4 steps" in capsys.readouterr().err


@pytest.fixture(scope="module")
def decoder(places, tmp_path_factory):
    return write_decoder(tmp_path_factory.mktemp("decoder") / "saved", OF_LATENTS, places[0])


def drawn_through(places, *arguments):
    """Raw latents of four samples, and their images."""
    given = flags(places, "--total", "4", *arguments)
    sample = experiment("sample")
    mesh = build_mesh(open_devices(given)[0])
    opened = open_sampler(str(places[1]), given, mesh=mesh, precision="auto", device_batch_size=3)
    labels, params = sample.make_labels(given, opened.recipe), sampler_params(opened.recipe, given, seed=0)
    batches = list(opened.sampler.draw(labels, params))
    latents, images = (np.concatenate([getattr(b, name) for b in batches]) for name in ("latents", "images"))
    normalization = load_tokenizer(places[0]).model.normalization
    return latents * np.asarray(normalization.std.value) + np.asarray(normalization.mean.value), images


def test_a_decoder_decodes_the_raw_latents_alike_on_any_mesh(places, decoder):
    raw, images = drawn_through(places, "--decoder", str(decoder))
    decoded = jax.jit(lambda model, raw: jax.vmap(model)(raw))(load_pretrained(decoder).model, raw)
    assert ((decoded < 0) | (decoded > 1)).mean() > 0.02  # and is clipped
    np.testing.assert_allclose(images, np.clip(decoded, 0, 1), atol=1e-5)
    other, meshed = drawn_through(places, "--decoder", str(decoder), "--mesh", "2x2")
    np.testing.assert_array_equal(other, raw)
    np.testing.assert_array_equal(meshed, images)


def test_a_decoder_of_features_decodes_those_that_the_tokenizer_gives_back(places, tmp_path):
    decoder = write_decoder(tmp_path / "decoder", OF_FEATURES)
    raw, images = drawn_through(places, "--decoder", str(decoder))

    @jax.jit
    def decode(tokenizer, model, raw):
        return jax.vmap(lambda z: model(tokenizer.decode_raw(z).final))(raw)

    decoded = decode(load_tokenizer(places[0]).model, load_pretrained(decoder).model, raw)
    np.testing.assert_allclose(images, np.clip(decoded, 0, 1), atol=1e-5)


def test_the_run_beside_the_tokenizer_decodes_if_it_is_of_this_one(places, decoder, drawn, tmp_path, capsys):
    tokenizer = shutil.copytree(places[0], tmp_path / "runs" / "tiny")
    beside = tmp_path / "runs" / "embedded-decoder"
    common = ("--total", "2", "--npz", "--tokenizer", str(tokenizer))
    found = {}

    def draw(name, *more):
        found[name], _ = pixels(drawn(*common, *more, name=name))
        return capsys.readouterr().err

    beside.mkdir(parents=True)
    assert f"decoded by tiny itself ({beside} has not ended); mesh" in draw("alone")
    shutil.copytree(decoder, beside / "decoder")
    assert f"decoded by {beside}; mesh" in draw("beside")
    assert "decoded by tiny itself; mesh" in draw("none", "--decoder", "none")
    shutil.rmtree(beside)
    other = write_tokenizer(tmp_path / "other", seed=5)
    write_decoder(beside / "decoder", OF_LATENTS, other)
    assert f"decoded by tiny itself ({beside} is of another one); mesh" in draw("other")
    np.testing.assert_array_equal(found["beside"], pixels(drawn(*common, "--decoder", str(decoder)))[0])
    assert (found["beside"] != found["alone"]).mean() > 0.5
    for name in ("none", "other"):
        np.testing.assert_array_equal(found[name], found["alone"])
    (beside / "decoder" / "config.json").write_text("{")
    with pytest.raises(SystemExit):
        drawn(*common)
    assert "--decoder none goes on without it" in capsys.readouterr().err


def test_features_that_are_no_pixels_are_decoded_by_published_and_other_decoders(tmp_path, capsys):
    tokenizer = write_tokenizer(tmp_path / "tokenizer", recipe=dataclasses.replace(TINY, teacher=SEEING))
    places = tokenizer, write_generator(tmp_path / "generator", tokenizer)
    published = checkpoints.write(tmp_path / "published", checkpoints.decoder_weights(), checkpoints.DECODER)
    for source, side in ((published, 8), (write_decoder(tmp_path / "ours", OF_LATENTS, tokenizer), 16)):
        out = tmp_path / f"out-{side}"
        more = ("--interpolate", "linear", "--frames", "2") if side == 8 else ()
        given = flags(places, "--decoder", str(source), "--total", "2", "--npz", "--out", str(out), *more)
        experiment("sample").main(given)
        images, _ = pixels(out)
        assert images.shape == (2, side, side, 3)
        assert images.std() > 1
    with Image.open(tmp_path / "out-8" / "interpolation.webp") as moving:
        assert moving.size == (8, 8)  # one way
    others = dataclasses.replace(SEEING, weights="cd" * 32)
    for source, expected in (
        ("none", "The features of the teacher tiny/dinov2 are no pixels: give --decoder"),
        (write_decoder(tmp_path / "patches", OF_FEATURES), "decodes the features of the teacher patches"),
        (write_decoder(tmp_path / "others", for_features(OF_FEATURES, others)), "weights cdcdcdcdcdcd"),
    ):
        with pytest.raises(SystemExit) as caught:
            experiment("sample").main(flags(places, "--decoder", str(source), "--out", str(tmp_path / "no")))
        assert caught.value.code == 2
        assert expected in capsys.readouterr().err


def test_what_is_no_decoder_of_this_tokenizer_is_refused(places, tmp_path, capsys):
    other = write_decoder(tmp_path / "other", OF_LATENTS, write_tokenizer(tmp_path / "tokenizer", seed=5))
    published = checkpoints.write(tmp_path / "rae", checkpoints.decoder_weights(), checkpoints.DECODER)
    (tmp_path / "empty").mkdir()
    for source, expected in (
        (other, "belongs to the tokenizer tiny with the hash"),
        (write_decoder(tmp_path / "nobody", OF_LATENTS), "does not say which tokenizer's latents it reads"),
        (published, "--decoder: the features of `patches` are pixels already"),
        (places[0], "holds what vae.py trains and no image decoder: give the run of decoder.py"),
        (places[1], "holds what generator.py trains and no image decoder"),
        (tmp_path / "absent", "There is no file or folder"),
        (tmp_path / "empty", "holds no weights"),
    ):
        with pytest.raises(SystemExit) as caught:
            experiment("sample").main(flags(places, "--decoder", str(source), "--out", str(tmp_path / "no")))
        assert caught.value.code == 2
        assert expected in capsys.readouterr().err
        assert not (tmp_path / "no").exists()
