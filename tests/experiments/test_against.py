"""`evaluate.py reconstruct --against`: published autoencoders and runs of one's own on the same images, and a generator
of such latents."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import laminate
from laminate.cli.command import flags_command
from laminate.cli.encode_flags import EncodeFlags
from laminate.cli.evaluate_flags import Reconstruct
from laminate.cli.sample_flags import SampleFlags
from laminate.evals.psnr import psnr
from laminate.recipes.augment import SquashConfig
from laminate.recipes.families import from_json
from tests.experiments.jobs import TINY_DIT, Job, experiment, one_line
from tests.pretrained.published_autoencoders import write_autoencoder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("published")
    for name in ("sd", "flux2"):
        write_autoencoder(home / name, name)
    return home


def reconstruct(**flags) -> None:
    experiment("evaluate").main(Reconstruct(device_batch_size=2, **flags))


def test_tokenizers_stand_in_one_table_and_one_picture_and_images_are_those_of_the_run(
    tokenizer, folders, photos, tmp_path, capsys
):
    places = tuple(str(place) for place in (folders / "sd", folders / "flux2", tokenizer))
    reconstruct(against=places, data=str(photos), out=tmp_path / "out", mesh="1")
    held = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    said = capsys.readouterr().out
    assert list(held["tokenizers"]) == ["sd", "flux2", "tiny"]
    for label, one in held["tokenizers"].items():
        assert {"psnr", "ssim", "fd@embedded", "parameters", "gigaflops", "images_per_second"} <= set(one)
        assert one["gigaflops"] > 0 and one["images_per_second"] > 0
        assert any(line.startswith(label) for line in said.splitlines())
        named = {result["name"]: result["value"] for result in held["results"]}
        assert named[f"psnr/{label}"] == one["psnr"]
    sd, flux2, own = held["tokenizers"].values()
    # Of 16 x 16 pixels: 8 x 8 latents of 3, 4 x 4 of 8, and 3 tokens of 6.
    assert [one["latent_numbers"] for one in (sd, flux2, own)] == [192, 128, 18]
    assert sd["numbers_per_pixel"] == 0.75 and sd["bits_per_pixel"] == 12.0
    with Image.open(tmp_path / "out" / "evaluation.png") as picture:
        assert picture.width > 4 * 96 and picture.height > 4 * 96
    assert sd["psnr"] == pytest.approx(by_hand(folders / "sd", photos), abs=0.1)


def by_hand(folder: Path, photos: Path) -> float:
    """The mean PSNR of the held-out photographs, each through what a person calls."""
    from laminate.data.sources import open_records

    tokenizer, records = laminate.from_pretrained(folder), open_records(str(photos), "validation")
    see = SquashConfig(16).transform()
    found = []
    for record in records:
        seen = see(record.image, np.random.default_rng(0))["image"]
        again = np.asarray(tokenizer.decode_image(tokenizer.encode_image(seen)))
        found.append(float(psnr(*(jnp.asarray(one, jnp.float32) / 255.0 for one in (again, seen)))))
    return float(np.mean(found))


def test_tokenizers_of_other_sizes_are_refused_in_one_line(tokenizer, folders, photos, tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        reconstruct(
            against=(str(tokenizer), str(folders / "sd")),
            image_size=24,
            data=str(photos),
            out=tmp_path / "out",
        )
    assert left.value.code == 2
    assert "of 16 x 16, and --image-size 24 was asked for" in one_line(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_decoder_reads_the_latents_of_squares_of_the_side_that_is_asked_for(folders, photos, tmp_path):
    job = Job(tmp_path, photos, "decoder", folders / "flux2")
    job.main("--image-size", "12", "--stop-after", "2")
    recipe = from_json((job.run / "recipe.json").read_text())
    assert (recipe.tokens, recipe.latent_dim, recipe.image_size) == (9, 8, 12)
    assert list(job.losses(name="recon_loss")) == [1, 2]


def test_a_generator_is_trained_on_cached_latents_of_a_published_autoencoder_and_drawn_from(
    folders, photos, tmp_path, capsys
):
    place, latents = str(folders / "flux2"), tmp_path / "latents"
    experiment("encode").main(
        EncodeFlags(
            out=latents,
            what="latents",
            tokenizer=place,
            data=str(photos),
            image_size=8,
            mesh="1",
            host_batch_size=4,
            data_workers=1,
        )
    )
    other = write_autoencoder(tmp_path / "other", "flux2", batch_norm_eps=1e-2)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        Job(tmp_path, latents, "generator", other).main("--image-size", "8", recipe=TINY_DIT)
    assert "speaks those of another one" in capsys.readouterr().err
    job = Job(tmp_path, latents, "generator", folders / "flux2")
    job.main("--image-size", "8", recipe=TINY_DIT)
    losses = job.losses()
    assert list(losses) == [1, 2, 3, 4, 5, 6] and np.isfinite(list(losses.values())).all()
    recipe = laminate.load_pretrained(job.run).recipe
    assert (recipe.tokens, recipe.latent_dim, recipe.grid) == (4, 8, (2, 2))
    out = tmp_path / "drawn"
    arguments = ["--generator", str(job.run), "--mesh", "1", "--total", "3", "--npz", "--out", str(out)]
    experiment("sample").main(flags_command(None, SampleFlags, arguments=arguments))
    with np.load(out / "samples.npz") as file:
        assert file["arr_0"].shape == (3, 8, 8, 3) and len(np.unique(file["arr_0"])) > 9
