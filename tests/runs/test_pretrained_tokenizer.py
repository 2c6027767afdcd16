"""Image in, image out: any image becomes tokens, tokens become a picture, and what is neither is refused by name."""

import dataclasses
import pydoc
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import laminate
from laminate.data.any_image import file_bytes
from laminate.evals.psnr import psnr
from laminate.runs.load_tokenizer import load_tokenizer
from laminate.runs.pretrained_tokenizer import AT_ONCE
from laminate.types import split_buffers
from tests.experiments.decoders import OF_LATENTS, write_decoder
from tests.experiments.jobs import TINY, TINY_FSQ, write_generator, write_tokenizer

RNG = np.random.default_rng(5)
CAT = RNG.integers(0, 256, (19, 23, 3), np.uint8)
SUFFIXES = ("jpg", "png", "webp", "tif", "gif", "bmp")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("runs") / "tiny" / "tokenizer").parent


@pytest.fixture(scope="module")
def tokenizer(run) -> laminate.PretrainedTokenizer:
    return laminate.from_pretrained(run)


@pytest.fixture(scope="module")
def fsq(tmp_path_factory) -> laminate.PretrainedTokenizer:
    folder = tmp_path_factory.mktemp("fsq") / "saved"
    return laminate.from_pretrained(write_tokenizer(folder, recipe=TINY_FSQ))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("side", [(1, 1), (19, 23), (40, 7), (300, 1)])
def test_a_file_of_any_format_and_size_becomes_tokens_and_a_picture_again(tokenizer, tmp_path, suffix, side):
    path = tmp_path / f"cat.{suffix}"
    Image.fromarray(CAT).resize(side).save(path)
    tokens = tokenizer.encode_image(path)
    assert tokens.shape == tokenizer.token_shape == (3, 6) and tokens.dtype == jnp.float32
    assert np.isfinite(tokens).all()
    again = tokenizer.decode_image(tokens)
    again.save(tmp_path / "again.png")
    with Image.open(tmp_path / "again.png") as written:
        assert written.size == (16, 16) and written.mode == "RGB"
    with Image.open(path) as opened:
        np.testing.assert_allclose(tokenizer.encode_image(opened), tokens, atol=0.05)


def test_an_image_has_the_same_tokens_however_it_is_given(tokenizer, tmp_path):
    Image.fromarray(CAT).save(tmp_path / "cat.png")
    ways = [
        str(tmp_path / "cat.png"),
        tmp_path / "cat.png",
        (tmp_path / "cat.png").read_bytes(),
        Image.fromarray(CAT),
        CAT,
        CAT / 255.0,
        jnp.asarray(CAT),
        tokenizer.seen(CAT),
    ]
    wanted = tokenizer.encode_image(ways[0])
    for way in ways:
        np.testing.assert_array_equal(tokenizer.encode_image(way), wanted)
    batch = tokenizer.encode_image(ways)
    assert batch.shape == (8, 3, 6)
    np.testing.assert_allclose(batch, jnp.broadcast_to(wanted, batch.shape), atol=1e-5)


def test_images_of_a_batch_are_those_of_one_each_in_order_whatever_their_number(tokenizer):
    count = AT_ONCE + 5
    images = RNG.integers(0, 256, (count, 5, 9, 3), np.uint8)
    tokens = tokenizer.encode_image(images)
    assert tokens.shape == (count, 3, 6)
    for number in (0, 4, AT_ONCE - 1, AT_ONCE, count - 1):
        np.testing.assert_allclose(tokens[number], tokenizer.encode_image(images[number]), atol=1e-5)
    pictures = tokenizer.decode_image(tokens)
    assert isinstance(pictures, list) and len(pictures) == count
    one = tokenizer.decode_image(tokens[-1])
    assert np.abs(np.asarray(pictures[-1]).astype(int) - np.asarray(one)).max() <= 1
    assert len(tokenizer.decode_image([*tokens[:2]])) == len(tokenizer.decode_image(tokens[:2])) == 2
    assert isinstance(tokenizer.decode_image(tokens[:1]), list)


def test_the_tokens_are_the_normalised_latents_of_the_still_view_and_decode_undoes_that(tokenizer):
    features = tokenizer._encoding.teacher(jnp.asarray(tokenizer.seen(CAT), jnp.float32) / 255.0)
    latents = tokenizer.encode(features)
    np.testing.assert_allclose(tokenizer.encode_image(CAT), latents, atol=1e-5)
    np.testing.assert_allclose(latents, tokenizer.model.encode(features), atol=1e-6)
    raw = tokenizer.model.encode_raw(features)[0]
    np.testing.assert_allclose(tokenizer.normalization.inverse(latents), raw, atol=1e-5)
    np.testing.assert_allclose(tokenizer.decode(latents), tokenizer.model.decode(latents), atol=1e-6)
    pixels = tokenizer._encoding.teacher.pixels(tokenizer.decode(latents))
    shown = jnp.asarray(tokenizer.decode_image(latents), jnp.float32) / 255.0
    assert psnr(shown, pixels) > 50


def test_whole_numbers_are_the_tokens_of_a_codebook_there_and_back(fsq):
    tokens = fsq.encode_image([CAT, CAT[::-1].copy()])
    assert tokens.dtype == jnp.int32 and tokens.shape == (2, *fsq.token_shape) == (2, 3)
    assert fsq.codebook_size == 100 and 0 <= int(tokens.min()) and int(tokens.max()) < 100
    features = fsq._encoding.teacher(jnp.asarray(fsq.seen(CAT), jnp.float32) / 255.0)
    codes, aux = fsq.model.encode_raw(features)
    np.testing.assert_array_equal(tokens[0], aux.indices)
    rebuilt = fsq._encoding.teacher.pixels(fsq.model.decode_raw(codes).final)
    assert psnr(jnp.asarray(fsq.decode_image(tokens)[0], jnp.float32) / 255.0, rebuilt) > 50
    for kind in (np.int64, np.uint16):
        assert (
            fsq.decode_image(np.asarray(tokens[0], kind)).tobytes() == fsq.decode_image(tokens[0]).tobytes()
        )


def test_the_image_decoder_beside_it_makes_the_pictures_unless_told_otherwise(run, tmp_path):
    home = shutil.copytree(run.parent, tmp_path / "runs")
    own = laminate.from_pretrained(home / "tiny")
    write_decoder(home / "embedded-decoder" / "decoder", OF_LATENTS, home / "tiny")
    painted = laminate.from_pretrained(home / "tiny")
    assert own.decoder == "tiny itself" and painted.decoder == str(home / "embedded-decoder")
    tokens = own.encode_image(CAT)
    assert own.decode_image(tokens).tobytes() != painted.decode_image(tokens).tobytes()
    without = laminate.from_pretrained(home / "tiny", decoder="none")
    assert without.decode_image(tokens).tobytes() == own.decode_image(tokens).tobytes()
    named = laminate.from_pretrained(run, decoder=home / "embedded-decoder")
    assert named.decode_image(tokens).tobytes() == painted.decode_image(tokens).tobytes()


def test_the_round_trip_through_a_saved_folder_keeps_every_number(tokenizer, run, tmp_path):
    laminate.save_pretrained(tokenizer, tmp_path / "again")
    laminate.save_pretrained(laminate.load_pretrained(run), tmp_path / "loaded")
    for folder in ("again", "loaded"):
        saved = (tmp_path / folder / "model.safetensors").read_bytes()
        assert saved == (run / "tokenizer" / "model.safetensors").read_bytes()
    again = laminate.from_pretrained(tmp_path / "again")
    assert again.identity == tokenizer.identity and again.recipe == tokenizer.recipe
    np.testing.assert_array_equal(again.encode_image(CAT), tokenizer.encode_image(CAT))
    with pytest.raises(
        ValueError, match=r"FlatDino does not say how it is built: save_pretrained\(model, folder, rec"
    ):
        laminate.save_pretrained(tokenizer.model, tmp_path / "x")


def test_features_and_latents_of_another_shape_are_refused_and_batches_map(tokenizer):
    with pytest.raises(
        ValueError, match=r"\[patches, width\] = \[16, 48\], got \[9, 48\]\. Batches go through jax"
    ):
        tokenizer.encode(jnp.zeros((9, 48)))
    with pytest.raises(ValueError, match=r"got \[16, 16, 3\], which looks like an image: use encode_image"):
        tokenizer.encode(jnp.zeros((16, 16, 3)))
    with pytest.raises(ValueError, match=r"\[tokens, latent_dim\] = \[3, 6\], got \[2, 3, 6\]"):
        tokenizer.decode(jnp.zeros((2, 3, 6)))
    with pytest.raises(
        ValueError, match=r"features of one image, \[patches, width\] = \[16, 48\], got \[9, 48\]"
    ):
        tokenizer.model.encode(jnp.zeros((9, 48)))
    with pytest.raises(
        ValueError, match=r"latents of one image, \[latents, numbers\] = \[3, 6\], got \[3, 5\]"
    ):
        tokenizer.model.decode(jnp.zeros((3, 5)))
    features = jnp.asarray(RNG.normal(size=(2, 16, 48)), jnp.float32)
    latents = jax.jit(jax.vmap(tokenizer.encode))(features)
    assert latents.shape == (2, 3, 6) and jax.vmap(tokenizer.decode)(latents).shape == (2, 16, 48)


WRONG = {
    "integers": (np.zeros((3, 6), np.int32), r"takes \[3, 6\] float32, .* got int32 \[3, 6\]"),
    "another shape": (np.zeros((4, 6), np.float32), r"got float32 \[4, 6\]: give what its encode_image gave"),
    "too many axes": (np.zeros((1, 1, 3, 6), np.float32), r"got float32 \[1, 1, 3, 6\]"),
    "nothing": (np.zeros((0, 3, 6), np.float32), r"got float32 \[0, 3, 6\]"),
    "no numbers": (np.full((3, 6), np.nan, np.float32), "with a NaN or an infinity"),
}


@pytest.mark.parametrize("case", WRONG)
def test_tokens_of_another_kind_are_refused(tokenizer, case):
    tokens, expected = WRONG[case]
    with pytest.raises(ValueError, match=expected):
        tokenizer.decode_image(tokens)


def test_codes_beyond_the_codebook_and_floats_are_refused(fsq):
    for tokens in ([0, 100, 2], [-1, 0, 0]):
        with pytest.raises(ValueError, match=r"a codebook of 100, from 0 to 99; got -?\d+ to"):
            fsq.decode_image(np.array(tokens))
    with pytest.raises(ValueError, match=r"takes \[3\] whole numbers below 100, .* got float32 \[3\]"):
        fsq.decode_image(np.zeros(3, np.float32))


def test_what_is_no_image_is_refused_before_anything_is_computed(tokenizer, tmp_path):
    with pytest.raises(TypeError, match="got float; an image is a path"):
        tokenizer.encode_image(3.0)
    with pytest.raises(FileNotFoundError, match="there is no image"):
        tokenizer.encode_image(tmp_path / "cat.jpg")
    with pytest.raises(ValueError, match=r"image 1 of the batch: no readable image"):
        tokenizer.encode_image([CAT, b"\x89PNG"])


def test_a_teacher_whose_features_are_no_pixels_needs_a_decoder(run, tokenizer):
    blind = dataclasses.replace(load_tokenizer(run), source="blind")
    teacher = dataclasses.replace(blind.latent.teacher, name="dinov2-b", family="dinov2")
    blind = dataclasses.replace(
        blind,
        recipe=dataclasses.replace(blind.recipe, teacher=teacher),
        latent=dataclasses.replace(blind.latent, teacher=teacher),
    )
    without = laminate.PretrainedTokenizer(blind, tokenizer._choice, dtype=jnp.dtype(jnp.float32))
    with pytest.raises(
        ValueError, match="The features of the teacher dinov2-b are no pixels: give --decoder"
    ):
        without.decode_image(np.zeros((3, 6), np.float32))
    assert without.decode(jnp.zeros((3, 6))).shape == (16, 48)


def test_a_generator_and_a_decoder_are_refused_with_what_reads_them(run, tmp_path):
    generator = str(write_generator(tmp_path / "generator", run))
    with pytest.raises(
        ValueError, match=r"generator\.py trains, which belongs to the tokenizer tiny \(.*sample\.py --g"
    ):
        laminate.from_pretrained(generator)
    decoder = write_decoder(tmp_path / "decoder", OF_LATENTS, run)
    with pytest.raises(ValueError, match=r"decoder\.py trains, .*from_pretrained\(TOKENIZER, decoder='/"):
        laminate.from_pretrained(decoder)
    network = laminate.load_pretrained(generator).model
    assert jax.tree.leaves(split_buffers(network)[0])
    with pytest.raises(FileNotFoundError, match="There is no file or folder runs/nothing"):
        laminate.from_pretrained("runs/nothing")


def test_help_shows_what_the_package_offers_with_signatures_and_words():
    code = "import sys, laminate; assert 'jax' not in sys.modules; help(laminate)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for part in (
        "from_pretrained(",
        "source: str | os.PathLike[str]",
        "-> laminate.runs.pretrained_tokenizer.PretrainedTokenizer",
        "load_pretrained(",
        "save_pretrained(",
        "class PretrainedTokenizer",
        "encode_image(self, image",
        "decode_image(self, tokens",
        "squashed to a square of `latent.image_size` pixels",
        'tokens = tokenizer.encode_image("cat.jpg")',
    ):
        assert part in done.stdout, part
    assert "typing.Any" not in done.stdout


def test_what_a_tokenizer_says_of_itself_is_one_line(tokenizer, fsq):
    assert repr(tokenizer) == (
        "<tiny: 16 x 16 pixels to [3, 6] float32, teacher patches; images by tiny itself>"
    )
    assert "[3] whole numbers below 100" in repr(fsq)
    assert tokenizer.view == TINY.augment.still().text == "squashed to 16²"
    assert len(pydoc.render_doc(tokenizer)) > 1000
    assert file_bytes(tokenizer.seen(CAT)) == file_bytes(tokenizer.seen(tokenizer.seen(CAT)))
