"""Images that `prepare --resize` stores smaller: which, how large, how near, and what is said of it."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from laminate.data.__main__ import main
from laminate.data.check import check
from laminate.data.decode import decode_image, image_header
from laminate.data.prepare import Options, prepare
from laminate.data.prepared import MANIFEST, read_prepared
from laminate.data.shrink import NOTHING, Shrink, Shrunk
from laminate.data.sources import open_records
from laminate.data.transforms import resize_short_side


def smooth(height: int, width: int, form: str = "PNG", **options: object) -> bytes:
    row, column = np.mgrid[0:height, 0:width]
    waves = [np.sin(row / 7 + channel) * np.cos(column / 9 - channel) for channel in range(3)]
    stream = io.BytesIO()
    Image.fromarray(np.uint8(127.5 + 100 * np.stack(waves, -1))).save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["jpeg", "webp"])
@given(height=st.integers(1, 90), width=st.integers(1, 90), side=st.integers(1, 60))
def test_a_larger_image_gets_that_shorter_side_and_its_shape_and_a_smaller_one_is_left(
    form, height, width, side
):
    data, shrink = smooth(height, width), Shrink(side, form)
    assert shrink.concerns(data) == (min(height, width) > side)
    if shrink.concerns(data):
        stored, done = shrink.apply(data, max_pixels=10_000)
        header = image_header(stored)
        assert header.format.lower() == form
        assert min(header.height, header.width) == side
        long, short = max(height, width), min(height, width)
        assert max(header.height, header.width) == side * long // short
        assert (done.count, done.before, done.after) == (1, len(data), len(stored))


@pytest.mark.parametrize(("form", "least"), [("jpeg", 38.0), ("webp", 30.0)])  # WebP halves the chroma
def test_the_stored_pixels_are_those_of_lanczos_to_what_encoding_costs(form, least):
    data = smooth(200, 150)
    stored, done = Shrink(64, form).apply(data, max_pixels=10**5)
    wanted = resize_short_side(decode_image(data), 64, "lanczos")
    error = np.mean(np.square(np.subtract(decode_image(stored), wanted, dtype=np.float64)))
    assert done.squared_error == error
    assert done.psnr == pytest.approx(10 * np.log10(255**2 / error))
    assert done.psnr > least


def test_a_phone_photo_stands_upright_without_its_exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    stored, _ = Shrink(20).apply(smooth(60, 90, "JPEG", exif=exif), max_pixels=10**5)
    header = image_header(stored)
    assert (header.height, header.width) == (30, 20)
    assert not Image.open(io.BytesIO(stored)).getexif()


def test_what_was_done_adds_up_and_nothing_changes_nothing():
    one, other = Shrunk(1, 100, 10, 2.0), Shrunk(2, 50, 5, 4.0)
    assert one + other == Shrunk(3, 150, 15, 6.0)
    assert one + NOTHING == one


@pytest.fixture
def mixed_sizes(tmp_path: Path) -> Path:
    root = tmp_path / "mixed"
    for name, sizes in {"wide": [(40, 70), (16, 90)], "tall": [(75, 33), (21, 20)]}.items():
        (root / name).mkdir(parents=True)
        for number, size in enumerate(sizes):
            (root / name / f"{number}.png").write_bytes(smooth(*size))
    return root


def test_a_prepared_folder_holds_smaller_images_and_says_so(mixed_sizes: Path, tmp_path: Path, capsys):
    out = tmp_path / "out"
    flags = ["--val-fraction", "0", "--resize", "24", "--resize-format", "webp"]
    assert main(["prepare", str(mixed_sizes), str(out), *flags]) == 0
    assert "2 of 4 images are stored with a shorter side of 24 pixels, as WEBP" in capsys.readouterr().out
    records = open_records(str(out), "train", held_out=0.0)
    found = {records[i].key: records[i].image for i in range(len(records))}
    assert found["wide/1.png"] == (mixed_sizes / "wide/1.png").read_bytes()
    assert image_header(found["tall/0.png"]).width == 24
    prepared = read_prepared(out)
    assert prepared.shrunk.count == 2 and prepared.shrunk.psnr > 30.0
    assert check(out).faults == ()
    written = json.loads((out / MANIFEST).read_text())
    del written["shrunk"]
    (out / MANIFEST).write_text(json.dumps(written))
    assert read_prepared(out).shrunk == NOTHING  # as before there was any


def test_another_size_is_another_preparation(mixed_sizes: Path, tmp_path: Path):
    prepare(str(mixed_sizes), tmp_path / "out", Options(held_out=0.0, shrink=Shrink(24)))
    with pytest.raises(FileExistsError, match="other prepared data"):
        prepare(str(mixed_sizes), tmp_path / "out", Options(held_out=0.0, shrink=Shrink(25)))


def test_threads_do_not_change_what_is_written(mixed_sizes: Path, tmp_path: Path):
    sums = []
    for workers in (1, 3):
        options = Options(shards=2, held_out=0.0, workers=workers, shrink=Shrink(24))
        prepared = prepare(str(mixed_sizes), tmp_path / str(workers), options)
        sums.append([shard.sha256 for shard in prepared.shards])
    assert sums[0] == sums[1]


def test_a_side_below_one_pixel_is_refused(mixed_sizes: Path, tmp_path: Path, capsys):
    assert main(["prepare", str(mixed_sizes), str(tmp_path / "out"), "--resize", "0"]) == 2
    assert "--resize must be at least 1, got 0" in capsys.readouterr().err
