"""Limits and orientation are the same wherever an image is read: prepare, check, loaders, evaluation."""

import inspect
import io
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from laminate.data import array_writer
from laminate.data.augment import Augment, CenterCrop, RandomResizedCrop, ResizeCrop, Squash, SquashCrop
from laminate.data.evaluation import evaluation_batches
from laminate.data.faults import TooManyBadImagesError, load
from laminate.data.loader import TrainLoader
from laminate.data.options import MAX_BAD_IMAGES, MAX_PIXELS, PIXEL_CEILING, SourceOptions
from laminate.data.prepare import Options, prepare
from laminate.data.record_writer import RecordWriter
from laminate.data.records import Records
from laminate.data.sources import open_splits
from laminate.storage.writing import UnwritableError

VIEWS: dict[str, Callable[[bool], Augment]] = {
    "random": lambda oriented: RandomResizedCrop(16, oriented=oriented),
    "centre": lambda oriented: CenterCrop(16, oriented=oriented),
    "squash": lambda oriented: Squash(16, oriented=oriented),
    "squash-crop": lambda oriented: SquashCrop(16, 24, oriented=oriented),
    "resize-crop": lambda oriented: ResizeCrop(16, 24, oriented=oriented),
}


def photo(orientation: int, height: int = 70, width: int = 120, form: str = "PNG") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, exif=exif.tobytes())
    return stream.getvalue()


def seen(view: Augment, data: bytes) -> np.ndarray:
    return view(data, np.random.default_rng(3))["image"]


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_a_view_sees_a_photograph_upright_and_with_a_field_as_it_is_stored(name: str, orientation: int):
    data, plain = photo(orientation), photo(1)
    stream = io.BytesIO()
    with Image.open(io.BytesIO(data)) as opened:
        ImageOps.exif_transpose(opened).save(stream, "PNG")
    upright, stored = VIEWS[name](True), VIEWS[name](False)
    np.testing.assert_array_equal(seen(upright, data), seen(upright, stream.getvalue()))
    np.testing.assert_array_equal(seen(stored, data), seen(stored, plain))
    np.testing.assert_array_equal(seen(upright, plain), seen(stored, plain))
    assert stored.description != upright.description


def of_pixels(folder: Path, sides: list[int]) -> Path:
    folder.mkdir()
    for number, side in enumerate(sides):
        Image.new("L", (side, side), number).save(folder / f"{number}.png")
    return folder


def test_the_limit_on_pixels_is_that_of_the_source_everywhere(tmp_path: Path):
    source = str(of_pixels(tmp_path / "in", [20, 30, 40, 50]))
    limited = SourceOptions(max_pixels=1000)
    records = open_splits(source, held_out=0.0, options=limited)["train"]
    loaded = [
        load(records, index, lambda data: Squash(8)(data, np.random.default_rng(0))) for index in range(4)
    ]
    assert [one.arrays is not None for one in loaded] == [True, True, False, False]
    assert "1 and 1000 are accepted" in loaded[3].faults[0].reason
    with pytest.raises(TooManyBadImagesError):
        list(evaluation_batches(records, global_batch_size=4, augment=Squash(8), max_bad_images=1))
    batches = list(evaluation_batches(records, global_batch_size=4, augment=Squash(8), max_bad_images=2))
    assert batches[0]["valid"].tolist() == [True, True, False, False]
    prepared = prepare(source, tmp_path / "out", Options(held_out=0.0, max_bad=2, source=limited))
    assert [skipped.kind for skipped in prepared.skipped] == ["more pixels than allowed (--max-pixels)"] * 2
    assert open_splits(str(tmp_path / "out"), held_out=0.0)["train"].manifest.max_pixels == 1000


@pytest.mark.parametrize("limit", [0, -1, PIXEL_CEILING + 1])
def test_no_limit_on_pixels_is_beyond_what_decoders_are_asked_for(limit: int):
    with pytest.raises(ValueError, match="--max-pixels must lie between 1 and"):
        SourceOptions(max_pixels=limit)
    assert MAX_PIXELS < PIXEL_CEILING


def test_one_number_of_bad_images_is_the_default_of_all():
    from laminate.cli.encode_flags import EncodeFlags
    from laminate.cli.sample_flags import SampleFlags
    from laminate.data.__main__ import Prepare
    from laminate.recipes.flags import RunFlags

    named = Prepare("in", Path("out")).max_bad, SampleFlags().max_bad_images, RunFlags().max_bad_images
    loader = inspect.signature(TrainLoader).parameters["max_bad_images"].default
    assert {*named, EncodeFlags(Path("out")).max_bad_images, loader} == {MAX_BAD_IMAGES}


def test_an_image_without_its_last_bytes_is_read_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "in").mkdir()
    for number in range(4):
        data = photo(1, form="JPEG")
        (tmp_path / "in" / f"{number}.jpg").write_bytes(data[:-3] if number == 2 else data)
    records: Records = open_splits(str(tmp_path / "in"), held_out=0.0)["train"]
    with caplog.at_level(logging.WARNING, "laminate.data"):
        loader = TrainLoader(
            records, seed=0, global_batch_size=4, augment=Squash(8), threads=1, max_bad_images=0
        )
        with loader.batches() as batches:
            for _ in range(3):
                assert next(batches)["image"].any(axis=(1, 2, 3)).all()
    assert [record.getMessage() for record in caplog.records if "2.jpg" in record.getMessage()] == [
        f"image 2.jpg in {records.manifest.source}: its last few bytes are missing; it is read without them (1 so far)"
    ]


@pytest.mark.parametrize("blocks", [30, 90])
def test_a_disk_that_fills_up_ends_a_preparation_in_one_line_and_the_same_command_goes_on(
    tmp_path: Path, blocks: int
):
    (tmp_path / "in" / "a").mkdir(parents=True)
    for number in range(40):
        (tmp_path / "in" / "a" / f"{number}.jpg").write_bytes(photo(1 + number % 8, form="JPEG"))
    command = [sys.executable, "-m", "laminate.data", "prepare", str(tmp_path / "in"), str(tmp_path / "out")]
    command += ["--shards", "2"]
    limited = ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", *command]
    failed = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=120)
    assert failed.returncode == 1 and failed.stderr.count("\n") == 1
    assert "is the disk full, or a quota? Make room, and the same command goes on" in failed.stderr
    assert not list((tmp_path / "out" / ".prepare").glob("*.partial*"))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(open_splits(str(tmp_path / "out"))["train"]) == 36


def test_an_encoding_that_meets_a_full_disk_gives_its_room_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = array_writer.ArrayFolder(tmp_path / "out", "identity")
    folder.begin()

    def full(writer: RecordWriter, record: bytes) -> None:
        raise UnwritableError("No space left on device: is the disk full")

    monkeypatch.setattr(RecordWriter, "write", full)
    rows = [(np.zeros((2, 3), np.float32), 0, "key")]
    with pytest.raises(UnwritableError, match="is the disk full"):
        folder.write(array_writer.ArrayJob("x", "train", 0, 1), 0, rows, [])
    assert {path.name for path in folder.journal.iterdir()} == {"plan.json"}
