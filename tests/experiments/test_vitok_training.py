"""Autoencoders of images of any size: trained on any mesh, resumed, with frozen halves, and read by everyone else."""

import dataclasses
import json
from collections import Counter
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import laminate
from laminate.cli.command import flags_command
from laminate.cli.evaluate_flags import Reconstruct
from laminate.cli.roundtrip_flags import RoundtripFlags
from laminate.data.batch import stack
from laminate.data.patch_views import PatchView
from laminate.pretrained.keymaps.base import export
from laminate.pretrained.keymaps.vitok import autoencoder_slots
from laminate.recipes.generator.recipe import SharedModulation
from laminate.recipes.modules import model_shapes
from laminate.recipes.vitok.modules import MODULES, vitok
from laminate.runs.init_from import plan_start
from laminate.runs.pretrained import load_pretrained
from laminate.train.export import named_weights
from tests.experiments.jobs import TINY_VITOK, Job, compilations, experiment, fingerprints, metrics
from tests.experiments.test_shared_generator import SHARED

ONE_SHAPE = dataclasses.replace(
    TINY_VITOK, name="one-shape", augment=dataclasses.replace(TINY_VITOK.augment, budgets=(12,))
)
PIXELS_ALONE = dataclasses.replace(
    ONE_SHAPE,
    name="pixels",
    teacher=None,
    losses=dataclasses.replace(ONE_SHAPE.losses, ssim=0.0, perceptual=0.0),
)
SIZES = ((1, 1), (1, 400), (13, 9), (16, 16), (40, 57), (400, 1))


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory) -> tuple[Job, Counter[str]]:
    """A finished run of six steps with two validations, and what it compiled."""
    job = Job(tmp_path_factory.mktemp("vitok"), photos, "vitok")
    with compilations() as compiled:
        job.main()
    return job, compiled


@pytest.fixture(scope="module")
def trained(finished) -> Job:
    """A finished run of six steps."""
    return finished[0]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_training_says_how_many_shapes_it_has_and_leaves_weights_figures_and_pictures(trained):
    page = (trained.run / "report.html").read_text()
    assert "2 shapes of batches, a program for each: 7, 16 patches" in page
    assert "at most 7 patches" in page and "at most 16 patches" in page
    assert (trained.run / "reconstructions.png").stat().st_size > 1000
    lines = metrics(trained.run)
    assert [line["step"] for line in lines if "val/r2" in line] == [3, 6]
    empty = {round(line["train/padding"], 3) for line in lines if "train/padding" in line}
    assert len(empty) > 1, "batches of both budgets"
    terms = ("charbonnier_loss", "ssim_loss", "perceptual_loss")
    for line in lines:
        if "train/loss" in line:
            a, b, c = (line[f"train/{name}"] for name in terms)
            assert line["train/loss"] == pytest.approx(a + 0.1 * b + 500.0 * c, rel=1e-5)


def test_a_program_is_compiled_once_for_each_budget_and_each_question_as_the_header_says(finished):
    job, compiled = finished
    seen = {round(line["train/padding"], 3) for line in metrics(job.run) if "train/padding" in line}
    assert len(seen) > 1, "batches of both budgets"
    # The step in two shapes; whole images, those of the smaller budget, and the pictures of the report.
    assert (compiled["jit(step)"], compiled["jit(call)"]) == (2, 3)


def test_losses_are_those_of_one_device_on_any_mesh_and_in_parts(photos, tmp_path):
    job = Job(tmp_path, photos, "vitok")
    runs = {"1x1": (), "4x1": (), "1x4": (), "2x2": ("--device-batch-size", "1")}
    for mesh, more in runs.items():
        job.main("--mesh", mesh, "--stop-after", "3", *more, recipe=ONE_SHAPE, run=tmp_path / mesh)
    one, *others = (job.losses(tmp_path / mesh) for mesh in runs)
    assert list(one) == [1, 2, 3]
    for other in others:
        assert other == pytest.approx(one, rel=1e-5)


def test_a_stopped_run_goes_on_bit_for_bit_with_the_budgets_that_were_to_come(trained, tmp_path):
    parts = Job(tmp_path, trained.photos, "vitok")
    parts.main("--stop-after", "4")
    with compilations() as compiled:
        parts.main()
    assert compiled["jit(step)"] <= 2, "what is restored has the layout of what a step leaves"
    assert fingerprints(parts.run, 6) == fingerprints(trained.run, 6)


def test_a_frozen_encoder_is_that_of_before_bit_for_bit_and_has_no_optimiser(trained, tmp_path, capsys):
    tuned = Job(tmp_path, trained.photos, "vitok")
    tuned.main("--init-from", str(trained.run), "--freeze", "encoder", recipe=PIXELS_ALONE)
    before, after = (named_weights(load_pretrained(job.run).model) for job in (trained, tuned))
    for name, array in before.items():
        assert np.array_equal(array, after[name]) == (".encoder." in name), name
    saved = json.loads((tuned.run / "checkpoints" / "6" / "manifest.json").read_text())["leaves"]
    states = [name for name in saved if "opt_state" in name or name.startswith(".ema")]
    assert states and not any(".encoder." in name for name in states)
    with pytest.raises(SystemExit):
        tuned.main("--freeze", "encoder", run=tmp_path / "new")
    wider = dataclasses.replace(
        PIXELS_ALONE, encoder=dataclasses.replace(PIXELS_ALONE.encoder, mlp_factor=4.0)
    )
    begin = ("--init-from", str(trained.run), "--freeze", "encoder")
    with pytest.raises(SystemExit) as caught:
        tuned.main(*begin, recipe=wider, run=tmp_path / "new")
    assert caught.value.code == 2 and not (tmp_path / "new").exists()
    assert "what this training leaves as it is would be newly drawn: autoencoder.encoder" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("half", ["", "encoder", "decoder"])
def test_published_weights_begin_a_training_whole_and_by_halves(trained, tmp_path, half):
    model = load_pretrained(trained.run).model
    named = export(model.autoencoder, autoencoder_slots(model.autoencoder))
    of_encoder = ("patch_embed", "to_code", "encoder_blocks")
    kept = {
        name: array
        for name, array in named.items()
        if not half or name.startswith(of_encoder) == (half == "encoder")
    }
    save_file(
        {name: np.ascontiguousarray(array) for name, array in kept.items()}, tmp_path / "vitok.safetensors"
    )
    start = plan_start(tmp_path / "vitok.safetensors", model_shapes(TINY_VITOK))
    trained_there = named_weights(model)
    assert set(start.kept) == {name for name in trained_there if f".{half}" in name} and not start.unused
    for name, array in start.kept.items():
        np.testing.assert_array_equal(array, trained_there[name])
    other = dataclasses.replace(TINY_VITOK, encoder=dataclasses.replace(TINY_VITOK.encoder, heads=1))
    if half != "decoder":
        with pytest.raises(ValueError, match="has 2 attention heads, and this recipe has 1"):
            plan_start(tmp_path / "vitok.safetensors", model_shapes(other))


def test_three_lines_take_a_picture_of_any_size_there_and_back(trained):
    tokenizer = laminate.from_pretrained(trained.run)
    tokens = tokenizer.encode_image([noise(*size) for size in SIZES])
    again = tokenizer.decode_image(tokens)
    for size, one, picture in zip(SIZES, tokens, again, strict=True):
        rows, columns, channels = one.shape
        assert rows * columns <= 16 and channels == 5
        seen = tokenizer.seen(noise(*size))
        assert seen.size == picture.size == one.size[::-1]
        if size[0] * size[1] <= 256 and max(size) <= 16:
            assert np.array_equal(np.asarray(seen), noise(*size))
    alone = tokenizer.encode_image(noise(13, 9))
    np.testing.assert_allclose(alone, tokens[2], atol=2e-5)
    assert tokenizer.decode_image(np.asarray(alone)).size == (12, 16)  # whole patches: no size is told
    large = tokenizer.encode_image(noise(40, 57), room=150)
    assert large.shape == (10, 15, 5) and tokenizer.decode_image(large).size == (57, 40)
    np.testing.assert_array_equal(tokenizer.seen(noise(40, 57), room=150), noise(40, 57))
    for nothing in (0, -3):
        with pytest.raises(ValueError, match=r"room is for how many patches .* that of tiny-vitok.*, 16\."):
            tokenizer.encode_image(noise(13, 9), room=nothing)
    for wrong in (np.zeros((2, 2, 4), np.float32), np.full((1, 1, 5), np.nan), "tokens"):
        with pytest.raises(ValueError, match="decode_image"):
            tokenizer.decode_image(wrong)
    with pytest.raises(ValueError, match="an image decoder makes squares"):
        laminate.from_pretrained(trained.run, decoder="runs/decoder")


def test_one_command_takes_files_of_any_size_there_and_back(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    for size in SIZES[1:4]:
        Image.fromarray(noise(*size)).save(f"pictures/{size[0]}.png")
    roundtrip = experiment("roundtrip")
    roundtrip.main(RoundtripFlags(images=("pictures",), tokenizer=str(trained.run)))
    roundtrip.main(RoundtripFlags(decode=Path("roundtrip/tokens.npz")))
    assert Path("roundtrip/contact.png").stat().st_size > 500
    for size in SIZES[1:4]:
        there, back = (
            Path(folder, f"{size[0]}.png").read_bytes() for folder in ("roundtrip/pictures", "decoded")
        )
        assert there == back
    with Image.open("decoded/13.png") as picture:
        assert picture.size == (9, 13)


def test_a_generator_draws_the_latents_of_squares(trained, tmp_path, capsys):
    job = Job(tmp_path, trained.photos, "generator", trained.run)
    job.main()
    assert "decoded by tiny-vitok itself" in capsys.readouterr().err
    recipe = json.loads((job.run / "recipe.json").read_text())
    assert (recipe["tokens"], recipe["features"], recipe["augment"]["image_size"]) == (16, 5, 16)
    sample = experiment("sample")
    draw = partial(
        sample.SampleFlags, generator=str(job.run), total=2, steps=2, out=tmp_path / "out", mesh="1"
    )
    sample.main(draw())
    assert (tmp_path / "out" / "grid.png").stat().st_size > 500
    with pytest.raises(SystemExit):
        sample.main(draw(size=(8, 20)))
    assert "has places for 16 tokens alone" in capsys.readouterr().err


def test_a_transformer_of_vitok_draws_images_of_any_size_of_its_latents(trained, tmp_path):
    job = Job(tmp_path, trained.photos, "generator", trained.run)
    job.main(
        "--stop-after", "3", recipe=dataclasses.replace(SHARED, shared=SharedModulation(layer_scale=0.1))
    )
    sample = experiment("sample")

    def drawn(**flags):
        out = tmp_path / "out"
        sample.main(
            sample.SampleFlags(generator=str(job.run), total=3, steps=2, out=out, mesh="1", npz=True, **flags)
        )
        with np.load(out / "samples.npz") as file:
            return file["arr_0"]

    square = drawn()
    assert square.shape == (3, 16, 16, 3)
    np.testing.assert_array_equal(drawn(size=(16, 16)), square)
    assert drawn(size=(7, 33)).shape == (3, 7, 33, 3)
    with pytest.raises(ValueError, match="leave --size out"):
        sample.SampleFlags(size=(8, 8), check=True)


def test_reconstructions_are_measured_at_their_own_sizes_and_by_resolution(trained, tmp_path, capsys):
    folder = tmp_path / "shapes"
    for split, sizes in (("train", SIZES), ("val", ((13, 9), (12, 16), (16, 16), (1, 1), (5, 30)))):
        (folder / split).mkdir(parents=True)
        for number, size in enumerate(sizes):
            Image.fromarray(noise(*size)).save(folder / split / f"{number}.png")

    def measured(*arguments):
        common = ("--tokenizer", str(trained.run), "--data", str(folder), "--mesh", "1")
        flags = flags_command(
            None, Reconstruct, arguments=[*common, "--out", str(tmp_path / "out"), *arguments]
        )
        experiment("evaluate").main(flags)
        return json.loads((tmp_path / "out" / "evaluation.json").read_text())

    held = measured("--device-batch-size", "3")
    figures = {one["name"]: one["value"] for one in held["results"]}
    assert held["subject"]["resolutions"] == {"4x4": 1, "8x32": 1, "16x16": 3}
    assert {"ssim-vitok/8x32", "psnr/4x4", "fd@embedded/16x16", "fd@embedded"} <= set(figures)
    each = held["images"]["psnr"]
    np.testing.assert_allclose(figures["psnr"], np.mean(each), rtol=1e-6)
    tokenizer = laminate.from_pretrained(trained.run)
    for number, size in enumerate(((13, 9), (12, 16), (16, 16))):
        again = np.asarray(tokenizer.decode_image(tokenizer.encode_image(noise(*size))), np.float64)
        error = np.mean(np.square((again - noise(*size)) / 255.0))
        assert each[number] == pytest.approx(-10.0 * np.log10(error), abs=0.05)
    smaller = measured("--longest", "8")["results"]
    assert {one["protocol"]["view"].partition(";")[0] for one in smaller} == {"longest side 8"}
    capsys.readouterr()
    with pytest.raises(SystemExit):
        measured("--rounding", "nearest")
    assert "--rounding is for images of one size" in capsys.readouterr().err


def test_padding_changes_no_loss_of_an_image_whatever_its_size():
    """The same image with room for as many patches as it has, and for more."""
    recipe = TINY_VITOK
    model = vitok(recipe, key=jax.random.key(0))
    distance = jax.tree.map(jnp.asarray, MODULES.frozen(recipe))
    objective = experiment("vitok").make_objective(recipe, jnp.dtype(jnp.float32))

    @jax.jit
    @jax.vmap
    def losses(example):
        terms = objective(model, distance, example, step=None, key=jax.random.key(3))[1]
        return {name: term for name, term in terms.items() if name != "padding"}

    def examples(room: int) -> dict:
        view = PatchView(recipe.patch, room, shrink=False)
        images = [view.of(noise(*size), np.random.default_rng(0)) for size in ((9, 13), (16, 16), (1, 1))]
        return {name: jnp.asarray(rows) for name, rows in stack(images).items()}

    tight, wide = losses(examples(16)), losses(examples(27))
    for name, term in tight.items():
        np.testing.assert_allclose(wide[name], term, rtol=2e-5, err_msg=name)
    nothing = {name: jnp.zeros_like(rows) for name, rows in examples(16).items()}
    assert all(np.isfinite(term).all() for term in losses(nothing).values())
