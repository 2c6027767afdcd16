"""Each question about a tokenizer is answered by numbers that are right, a picture, and a line."""

import json

import numpy as np
import pytest
from etils import epath
from PIL import Image

from laminate.recipes.latent import LatentSpec, LoadedTokenizer, TokenizerId
from laminate.recipes.network import patch_teacher
from laminate.runs.analyses.latents import dimension, latent_statistics, mutual_information, total_correlation
from laminate.runs.analyses.patches import diffusability, redundancy_of_patches, require_flatdino
from laminate.runs.analyses.pictures import interpolate, mask, noise
from laminate.runs.analyses.results import write_finding, write_page
from laminate.runs.analyses.subject import Seen, Subject, decibels

TOKENS, DIM, SIDE = 4, 6, 16
RNG = np.random.default_rng(0)
WAY = RNG.normal(size=(TOKENS * DIM, SIDE * SIDE * 3)).astype(np.float32) / 60


class Linear(Subject):
    """Decodes by one matrix, so that what has to come out is known."""

    def __init__(self) -> None:
        latent = LatentSpec(TOKENS, DIM, SIDE, teacher=patch_teacher(SIDE, 4))
        self.loaded = LoadedTokenizer(None, None, latent, "a run", TokenizerId("linear", "0" * 64))
        self.batch = 7

    def pixels(self, raw: np.ndarray) -> np.ndarray:
        return (raw.reshape(len(raw), -1) @ WAY + 0.5).reshape(-1, SIDE, SIDE, 3)

    def features(self, raw: np.ndarray) -> np.ndarray:
        return patches(self.pixels(raw))

    def denormalised(self, latents: np.ndarray) -> np.ndarray:
        return latents


def patches(images: np.ndarray) -> np.ndarray:
    cut = images.reshape(len(images), 4, 4, 4, 4, 3)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(len(images), 16, 48)


def seen(count: int = 240) -> Seen:
    """Tokens 0 and 1 say the same, the others are independent."""
    latents = RNG.normal(size=(count, TOKENS, DIM)).astype(np.float32)
    latents[:, 1] = latents[:, 0] + 0.1 * latents[:, 1]
    images = Linear().pixels(latents)
    return Seen(images, latents, latents, patches(images))


SEEN = seen()
SUBJECT = Linear()
QUESTIONS = (
    latent_statistics,
    dimension,
    total_correlation,
    mutual_information,
    redundancy_of_patches,
    noise,
    mask,
    diffusability,
)


@pytest.mark.parametrize("ask", QUESTIONS)
def test_an_answer_is_a_json_a_picture_and_a_line(ask, tmp_path) -> None:
    found = ask(SUBJECT, SEEN, 0)
    out = epath.Path(tmp_path)
    write_finding(out, "answer", found, SUBJECT, SEEN)
    held = json.loads((tmp_path / "answer.json").read_text())
    assert held["summary"] and "\n" not in held["summary"]
    assert held["images"] == 240 and held["tokenizer"]["sha256"] == "0" * 64
    assert held["numbers"].keys() == {str(name) for name in found.numbers}
    with Image.open(tmp_path / "answer.png") as picture:
        assert picture.width > 300 and picture.height > 200


def test_tokens_that_say_the_same_are_the_pair_that_shares_most() -> None:
    numbers = mutual_information(SUBJECT, SEEN, 0).numbers
    for name in ("gaussian_nats", "ksg_nats"):
        off = np.where(np.eye(TOKENS, dtype=bool), -np.inf, numbers[name])
        assert set(np.unravel_index(np.nanargmax(off), off.shape)) == {0, 1}
    shared = total_correlation(SUBJECT, SEEN, 0).numbers
    assert shared["total_correlation_nats"][-1] > shared["of_independent_gaussians_nats"][-1] + 1
    # Of too few images, components take the place of numbers, and that is said.
    few = total_correlation(SUBJECT, seen(40), 0)
    assert few.numbers["components_of_a_token"] == 2 and "too few for 24 numbers" in few.remarks[0]


def test_dimension_is_that_of_the_latents_and_no_more() -> None:
    numbers = dimension(SUBJECT, SEEN, 0).numbers
    assert numbers["latents"]["pca_99"] <= TOKENS * DIM and numbers["images"]["pca_99"] <= TOKENS * DIM
    assert numbers["tokens"]["points"] == 240 * TOKENS


def test_noise_costs_more_the_stronger_it_is_and_nothing_at_zero() -> None:
    numbers = noise(SUBJECT, SEEN, 0).numbers
    assert numbers["psnr"][0] > 50 and (np.diff(numbers["psnr"]) < 0).all()
    again = noise(SUBJECT, SEEN, 0).numbers
    np.testing.assert_array_equal(numbers["psnr"], again["psnr"])


def test_a_masked_token_costs_what_it_carried() -> None:
    silent = Seen(SEEN.images, SEEN.raw, SEEN.latents.copy(), None)
    silent.latents[:, 2] = 0.0
    numbers = mask(SUBJECT, silent, 0).numbers
    assert numbers["psnr_mean"].argmax() == 2
    np.testing.assert_allclose(numbers["psnr_without_token"][2], 100, rtol=1e-3)
    assert np.delete(numbers["psnr_mean"], 2).max() < 60


@pytest.mark.parametrize("way", ["linear", "spherical"])
def test_a_way_moves_and_its_pairs_are_those_of_the_seed(way, tmp_path) -> None:
    found = interpolate(SUBJECT, SEEN, 3, way)
    write_finding(epath.Path(tmp_path), "interpolate", found, SUBJECT, SEEN)
    with Image.open(tmp_path / "interpolate.webp") as moving:
        assert moving.n_frames == 2 * 24 - 2
    np.testing.assert_array_equal(found.numbers["pairs"], interpolate(SUBJECT, SEEN, 3, way).numbers["pairs"])


def test_one_page_holds_the_answers_of_this_tokenizer_alone(tmp_path) -> None:
    out = epath.Path(tmp_path)
    write_finding(out, "noise", noise(SUBJECT, SEEN, 0), SUBJECT, SEEN)
    other = Linear()
    other.loaded = LoadedTokenizer(None, None, SUBJECT.loaded.latent, "b", TokenizerId("other", "1" * 64))
    write_finding(out, "mask", mask(other, SEEN, 0), other, SEEN)
    page = write_page(out, SUBJECT, ("noise", "mask")).read_text()
    assert "Noise" in page and "Mask" not in page


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ValueError, match="looks into FlatDINO's registers, and a run is a NoneType"):
        require_flatdino(SUBJECT, "attention")
    with pytest.raises(ValueError, match="compresses images themselves"):
        redundancy_of_patches(SUBJECT, Seen(SEEN.images, SEEN.raw, SEEN.latents, None), 0)
    np.testing.assert_allclose(
        decibels(np.full((2, 4, 4, 3), 0.6), np.full((2, 4, 4, 3), 0.5)), 20, rtol=1e-6
    )


def odd(kind: str) -> Seen:
    """Images that an answer is hard to have from."""
    latents = {
        "few": RNG.normal(size=(8, TOKENS, DIM)),
        "constant": np.ones((9, TOKENS, DIM)),
        "copies": np.repeat(RNG.normal(size=(3, TOKENS, DIM)), 4, axis=0),
        "a dead token": RNG.normal(size=(40, TOKENS, DIM)) * np.asarray([1, 0, 1, 1])[:, None],
        "far off": RNG.normal(size=(40, TOKENS, DIM)) + 50,
    }[kind].astype(np.float32)
    images = SUBJECT.pixels(latents)
    return Seen(images, latents, latents, patches(images))


@pytest.mark.parametrize("kind", ["few", "constant", "copies", "a dead token", "far off"])
def test_odd_images_have_an_answer_or_one_clear_line(kind, tmp_path) -> None:
    some = odd(kind)
    for ask in QUESTIONS:
        if kind == "constant" and ask is dimension:
            with pytest.raises(ValueError, match="the latents, tokens of these 9 images are all the same"):
                ask(SUBJECT, some, 0)
            continue
        found = ask(SUBJECT, some, 0)
        if kind == "constant":
            write_finding(epath.Path(tmp_path), "odd", found, SUBJECT, some)
        if ask in (mutual_information, dimension):
            assert any("copies of others" in one for one in found.remarks) == (kind in ("constant", "copies"))


def test_what_never_varies_shares_nothing() -> None:
    shared = mutual_information(SUBJECT, odd("constant"), 0).numbers
    assert shared["ksg_mean_nats"] == 0.0 and abs(shared["gaussian_mean_nats"]) < 1e-9
    outside = latent_statistics(SUBJECT, odd("far off"), 0)
    assert outside.numbers["dead"] == 0
