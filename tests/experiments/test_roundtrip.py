"""Files to tokens and pictures, and from the tokens back: any image, and nothing is lost, hidden or overwritten."""

import json
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import laminate
from laminate.analysis.sample_files import picture_names
from laminate.cli.roundtrip_flags import RoundtripFlags
from laminate.data.image_files import find_images
from laminate.evals.psnr import psnr
from laminate.recipes.flatdino.family import VAE
from laminate.runs.new_folder import new_folder
from laminate.runs.token_file import read_tokens
from tests.experiments.jobs import (
    ROOT,
    TINY_FSQ,
    TINY_PRODUCT_FSQ,
    experiment,
    one_line,
    tree,
    write_tokenizer,
)

CAT = np.random.default_rng(2).integers(0, 256, (21, 34, 3), np.uint8)


@pytest.fixture(scope="module")
def fsq(tmp_path_factory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("fsq") / "saved", recipe=TINY_FSQ)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def roundtrip(*images: object, **flags: object) -> None:
    experiment("roundtrip").main(RoundtripFlags(images=tuple(map(str, images)), **flags))


def write_kinds(folder: Path) -> list[str]:
    """One picture of every kind that people have, by the names of their files."""
    folder.mkdir()
    colours = Image.fromarray(CAT)
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = Image.fromarray(np.dstack([CAT, np.full((21, 34), 40, np.uint8)]))
    kinds = {
        "phone.jpg": (colours, {"exif": exif}),
        "gray.png": (colours.convert("L"), {}),
        "palette.gif": (colours.quantize(16), {}),
        "alpha.png": (alpha, {}),
        "alpha.webp": (alpha, {}),
        "ink.tif": (colours.convert("CMYK"), {}),
        "deep.png": (Image.fromarray(CAT[:, :, 0].astype(np.uint16) * 256), {}),
        "one.png": (colours.resize((1, 1)), {}),
        "line.webp": (colours.resize((300, 1)), {}),
        "film.gif": (colours, {"save_all": True, "append_images": [colours.rotate(90)]}),
    }
    for name, (picture, options) in kinds.items():
        picture.save(folder / name, **options)
    return sorted(kinds)


def test_a_folder_of_every_kind_of_image_becomes_tokens_and_pictures_and_the_tokens_pictures_again(
    tokenizer, here, capsys
):
    names = write_kinds(here / "mine")
    (here / "mine" / "deeper").mkdir()
    (here / "mine" / "deeper" / "gray.jpg").write_bytes((here / "mine" / "phone.jpg").read_bytes())
    (here / "mine" / "notes.txt").write_text("no image")
    (here / "mine" / "broken.png").write_bytes((here / "mine" / "gray.png").read_bytes()[:90])
    roundtrip("mine", tokenizer=str(tokenizer))
    said = capsys.readouterr().err
    for part in (
        f"{tokenizer}: tiny (",
        "squashed to 16²; transparency on white",
        "3 x 6 real numbers; 43x fewer than pixels",
        "tiny itself",
        "1 no image (.txt), as notes.txt",
        "left out broken.png: no readable image",
        "left out: 1 of 12 images cannot be read (broken.png)",
        "11 images at ",
        "back again: python experiments/roundtrip.py --decode roundtrip/tokens.npz",
    ):
        assert part in " ".join(said.split()), said
    held = read_tokens(here / "roundtrip" / "tokens.npz")
    assert sorted(held.names) == sorted([*names, "deeper/gray.jpg"])
    loaded = laminate.from_pretrained(tokenizer)
    for name, tokens in zip(held.names, held.tokens, strict=True):
        np.testing.assert_allclose(tokens, loaded.encode_image(here / "mine" / name), atol=1e-4)
    pictures = {path.name: path.read_bytes() for path in (here / "roundtrip" / "pictures").iterdir()}
    assert (
        len(pictures) == 11 and {"gray.png", "deeper-gray.png", "alpha.png", "alpha-2.png"} <= pictures.keys()
    )
    with Image.open(here / "roundtrip" / "contact.png") as contact:
        assert contact.width > 8 * 96 and contact.height > 4 * 96

    roundtrip(decode=Path("roundtrip/tokens.npz"))
    assert {path.name: path.read_bytes() for path in (here / "decoded").iterdir()} == pictures
    assert "11 pictures: decoded" in capsys.readouterr().err


def test_whole_numbers_are_text_that_another_program_may_write(fsq, here, capsys):
    Image.fromarray(CAT).save("cat.webp")
    roundtrip("cat.webp", tokenizer=str(fsq), format="json")
    assert "3 whole numbers below 100; 2 bytes, 308x fewer" in " ".join(capsys.readouterr().err.split())
    tree = json.loads(Path("roundtrip/tokens.json").read_text())
    tokens = laminate.from_pretrained(fsq).encode_image("cat.webp")
    assert tree["images"] == [{"name": "cat.webp", "tokens": tokens.tolist()}]
    roundtrip(decode=Path("roundtrip/tokens.json"), out=Path("again"))
    assert Path("again/cat.png").read_bytes() == Path("roundtrip/pictures/cat.png").read_bytes()
    tree["images"] += [{"name": "a/../b", "tokens": [0, 99, 7]}]
    Path("own.json").write_text(json.dumps(tree))
    roundtrip(decode=Path("own.json"), out=Path("own"))
    assert sorted(path.name for path in Path("own").iterdir()) == ["a-..-b.png", "cat.png"]


@pytest.mark.parametrize("form", ["json", "npz"])
def test_a_token_of_several_whole_numbers_goes_there_and_back(here, capsys, form):
    place = write_tokenizer(here / "saved", recipe=TINY_PRODUCT_FSQ)
    Image.fromarray(CAT).save("cat.webp")
    roundtrip("cat.webp", tokenizer=str(place), format=form)
    assert "3 x 2 whole numbers below 20; 3 bytes, 237x fewer" in " ".join(capsys.readouterr().err.split())
    held = read_tokens(Path(f"roundtrip/tokens.{form}"))
    tokens = laminate.from_pretrained(place).encode_image("cat.webp")
    assert tokens.shape == (3, 2) and len({*np.asarray(tokens).flat}) > 1
    np.testing.assert_array_equal(held.tokens, tokens[None])
    roundtrip(decode=Path(f"roundtrip/tokens.{form}"), out=Path("again"))
    assert Path("again/cat.png").read_bytes() == Path("roundtrip/pictures/cat.png").read_bytes()


@pytest.mark.parametrize(
    "tokens", [[[1, 2], 3, [4, 5]], [[1, 2], [3], [4, 5]], [[[1]], [[2]], [[3]]], [1, 2, 3]]
)
def test_tokens_of_another_form_are_refused(here, capsys, tokens):
    place = write_tokenizer(here / "saved", recipe=TINY_PRODUCT_FSQ)
    identity = laminate.from_pretrained(place).identity
    said = {"name": identity.name, "sha256": identity.sha256, "place": str(place)}
    Path("own.json").write_text(json.dumps({"tokenizer": said, "images": [{"name": "a", "tokens": tokens}]}))
    with pytest.raises(SystemExit) as caught:
        roundtrip(decode=Path("own.json"), out=Path("own"))
    assert caught.value.code == 2 and not list(Path.cwd().rglob("*.png"))
    assert capsys.readouterr().err.splitlines()[-1].startswith("roundtrip.py: ")


def test_the_decibels_are_those_of_the_pictures(tokenizer, here, capsys):
    Image.fromarray(CAT).save("cat.png")
    roundtrip("cat.png", tokenizer=str(tokenizer))
    loaded = laminate.from_pretrained(tokenizer)
    with Image.open("roundtrip/pictures/cat.png") as rebuilt:
        pair = [jnp.asarray(np.asarray(one), jnp.float32) / 255.0 for one in (loaded.seen(CAT), rebuilt)]
    assert f"1 image at {float(psnr(*pair)):.1f} dB" in capsys.readouterr().err


def test_nothing_is_overwritten(tokenizer, here, capsys):
    Image.fromarray(CAT).save("cat.png")
    for _ in range(2):
        roundtrip("cat.png", tokenizer=str(tokenizer))
    assert tree(here / "roundtrip").keys() == tree(here / "roundtrip-2").keys()
    before = tree(here)
    with pytest.raises(SystemExit) as caught:
        roundtrip("cat.png", tokenizer=str(tokenizer), out=Path("roundtrip"))
    assert caught.value.code == 2 and tree(here) == before
    assert "--out roundtrip holds contact.png already" in capsys.readouterr().err.splitlines()[-1]
    (here / "empty").mkdir()
    assert new_folder(Path("empty"), "x") == Path("empty") and new_folder(None, "roundtrip") == Path(
        "roundtrip-3"
    )


def refused(capsys, *images: object, code: int = 2, **flags: object) -> str:
    with pytest.raises(SystemExit) as caught:
        roundtrip(*images, **flags)
    assert caught.value.code == code
    return capsys.readouterr().err


def test_what_cannot_be_is_one_line_before_anything_is_written(tokenizer, fsq, here, capsys):
    Image.fromarray(CAT).save("cat.png")
    (here / "nothing").mkdir()
    (here / "tokens.npz").write_bytes(b"PK\x05\x06 no archive")
    (here / "odd.json").write_text(
        '{"tokenizer": {}, "images": [{"name": "a", "tokens": [1]}, {"name": "b", "tokens": []}]}'
    )
    named = str(tokenizer)
    cases = (
        (("dog.png",), {"tokenizer": named}, "there is no image or folder dog.png, and no file matches it"),
        (("nothing",), {"tokenizer": named}, "no image in nothing: give image files"),
        (("cat.png",), {"tokenizer": "runs/none"}, "There is no file or folder runs/none"),
        (
            ("cat.png",),
            {"tokenizer": named, "format": "json"},
            "--format json is for whole numbers, and tiny has real",
        ),
        ((), {"decode": Path("none.npz")}, "There is no file of tokens none.npz"),
        ((), {"decode": Path("tokens.npz")}, "tokens.npz is no file of tokens that roundtrip.py wrote"),
        ((), {"decode": Path("odd.json")}, "its images need equally many tokens each"),
    )
    before = tree(here)
    for images, flags, expected in cases:
        assert expected in one_line(refused(capsys, *images, **flags))
    roundtrip("cat.png", tokenizer=named)
    capsys.readouterr()
    err = one_line(refused(capsys, decode=Path("roundtrip/tokens.npz"), tokenizer=str(fsq)))
    assert "These are tokens of tiny (" in err and "Give that one by --tokenizer." in err
    assert before.keys() == {name for name in tree(here) if not name.startswith("roundtrip")}
    (here / "bad.png").write_bytes(b"bad")
    assert "none of the images can be read" in refused(capsys, "bad.png", tokenizer=named, code=1)
    for wrong in ({}, {"images": ("a",), "decode": Path("b")}, {"decode": Path("b"), "format": "json"}):
        with pytest.raises(ValueError, match="--decode"):
            RoundtripFlags(**wrong)


def test_with_no_flag_it_is_the_run_that_the_default_training_leaves(here, capsys):
    write_tokenizer(here / "runs" / VAE.names.default / "tokenizer")
    Image.fromarray(CAT).save("cat.png")
    roundtrip("cat.png")
    assert f"runs/{VAE.names.default}: tiny (" in capsys.readouterr().err


def test_files_are_found_once_in_the_order_of_their_naming(here):
    for name in ("b.png", "a.PNG", "c.jpg"):
        (here / name).write_bytes(b"x")
    (here / "link.png").symlink_to("b.png")
    found = find_images(["c.jpg", "*.png", ".", "b.png"])
    assert [file.name for file in found.files] == ["c.jpg", "b.png", "a.PNG"]


@given(st.lists(st.text(min_size=1, max_size=12), max_size=8))
def test_no_two_pictures_share_a_name_and_none_leaves_the_folder(names):
    made = picture_names(names)
    assert len(made) == len(names) == len({name.lower() for name in made})
    assert all(name and "/" not in name and "\0" not in name and not name.startswith(".") for name in made)


def test_help_takes_less_than_a_second_and_a_misspelt_flag_is_refused():
    command = [sys.executable, str(ROOT / "experiments" / "roundtrip.py")]
    began = time.perf_counter()
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "cat.jpg" in done.stdout
    assert time.perf_counter() - began < 3  # of a busy machine; 0.4 s of an idle one
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "Give images, such as `roundtrip.py cat.jpg`" in done.stderr
