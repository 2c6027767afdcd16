"""What is small in a file and large in memory or in time is refused, and what vanishes is counted."""

import io
import logging
import os
import subprocess
import sys
import tarfile
import textwrap

import numpy as np
import pytest
from PIL import Image

from laminate.data.augment import Squash
from laminate.data.decode import MAX_SCANS, ImageError, decode_image
from laminate.data.evaluation import evaluation_batches
from laminate.data.faults import TooManyBadImagesError
from laminate.data.loader import TrainLoader
from laminate.data.prepare import Options, prepare
from laminate.data.records import RecordError, RecordFileError
from laminate.data.sources import open_records, parquet

SIZE = 8


def jpeg(width=64, height=48, **options) -> bytes:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", **options)
    return stream.getvalue()


def repeated_scan(data: bytes, times: int) -> bytes:
    """A progressive JPEG whose last scan comes `times` more times: each refines nothing, and costs a pass."""
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * times + data[-2:]


@pytest.mark.parametrize("times", [MAX_SCANS, 1000, 20_000])
def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded(times):
    with pytest.raises(ImageError, match=r"scans of 64 x 48 pixels; at most 100 scans"):
        decode_image(repeated_scan(jpeg(progressive=True), times))


def test_scans_count_by_the_pixels_that_they_cover():
    data = repeated_scan(jpeg(progressive=True), 40)
    scans = data.count(b"\xff\xda")
    with pytest.raises(
        ImageError, match="no readable image"
    ):  # the decoder's own word, on so many refinements
        decode_image(data, max_pixels=64 * 48 * scans // 16 + 1)
    with pytest.raises(ImageError, match="pixels in all of them"):
        decode_image(data, max_pixels=64 * 48 * scans // 16 - 1)


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {}, {"progressive": True, "subsampling": 0, "quality": 100}]
)
def test_what_encoders_write_is_far_below_the_limit(options):
    assert jpeg(**options).count(b"\xff\xda") <= MAX_SCANS // 5
    assert decode_image(jpeg(**options)).shape == (48, 64, 3)


@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("I;16", "PNG"), ("RGBA", "TIFF"), ("P", "GIF")])
def test_decoding_stays_below_the_memory_that_is_documented(tmp_path, mode, kind):
    """12 bytes a pixel, measured as the growth of a process of its own."""
    side = 3000
    Image.new(mode, (side, side)).save(tmp_path / "a", kind)
    body = f"""
        import resource
        from laminate.data.decode import decode_image
        small = open({str(tmp_path / "b")!r}, "rb").read()
        decode_image(small)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        image = decode_image(open({str(tmp_path / "a")!r}, "rb").read())
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / image[..., 0].size)
    """
    Image.new(mode, (40, 40)).save(tmp_path / "b", kind)
    source = next(path for path in sys.path if path.endswith("src"))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(body)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": source},
    )
    assert float(done.stdout) < 13.0


# Parquet


def write_parquet(path, images, **options):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as writer

    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    column = pyarrow.array([{"bytes": image, "path": None} for image in images], kind)
    writer.write_table(pyarrow.table({"image": column}), path, **options)


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_a_row_group_that_grows_in_memory_is_refused(tmp_path, monkeypatch, compression):
    monkeypatch.setattr(parquet, "MAX_GROUP_BYTES", 2**24)
    write_parquet(tmp_path / "a.parquet", [bytes(100_000)] * 1000, compression=compression)
    assert (tmp_path / "a.parquet").stat().st_size < 2**18
    records = open_records(str(tmp_path), "train")
    with pytest.raises(RecordError, match=r"row group 0 of .*a.parquet holds more than 16 MiB"):
        records[0]


def test_an_image_above_the_limit_is_refused_in_parquet_as_in_folders_and_tars(tmp_path, monkeypatch):
    for module in ("records", "sources.parquet", "sources.folder", "sources.tar"):
        monkeypatch.setattr(f"laminate.data.{module}.MAX_IMAGE_BYTES", 1000, raising=False)
    image = jpeg()
    write_parquet(tmp_path / "a.parquet", [image] * 3)
    (tmp_path / "folder").mkdir()
    for number in range(3):
        (tmp_path / "folder" / f"{number}.jpg").write_bytes(image)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "folder", "x")
    for source in ("a.parquet", "folder", "a.tar"):
        records = open_records(str(tmp_path / source), "train")
        with pytest.raises(RecordError, match=rf"{len(image)} bytes, more than the 1000"):
            records[0]


def test_groups_are_kept_up_to_the_same_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_GROUP_BYTES", 100_000)
    images = [np.random.default_rng(number).bytes(9000) for number in range(40)]
    write_parquet(tmp_path / "a.parquet", images, row_group_size=5)
    records = parquet.open_parquet([tmp_path / "a.parquet"], "train")
    for index in (0, 39, 7, 21, 13, 28, 0):
        assert records[index].image == images[index]
        assert sum(kept[0].nbytes for kept in records._kept.values()) <= 100_000


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "RGBA", "CMYK", "1", "I;16"])
def test_tiff_in_parquet_is_read(tmp_path, mode):
    """What `datasets` writes for pictures that are no JPEG or PNG, as those with a palette."""
    picture = Image.fromarray(np.arange(35 * 40, dtype=np.int64).reshape(35, 40).astype(np.uint8)).convert(
        "RGB"
    )
    picture = Image.new(mode, (40, 35)) if mode == "I;16" else picture.convert(mode)
    stream = io.BytesIO()
    picture.save(stream, "TIFF")
    write_parquet(tmp_path / "a.parquet", [stream.getvalue()] * 3)
    image = decode_image(open_records(str(tmp_path), "train")[0].image)
    assert image.shape == (35, 40, 3)
    if mode in ("P", "RGB", "L", "1"):
        np.testing.assert_array_equal(image, np.asarray(picture.convert("RGB")))


# Tars


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
@pytest.mark.parametrize("count", [2000, 20_000])
def test_a_tar_of_thousands_of_extension_headers_is_refused_or_read(tmp_path, kind, count):
    content = b"16 comment=aaaaa\n" if kind != tarfile.GNUTYPE_LONGNAME else b"a.jpg\0"
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, len(content)
    image = jpeg()
    member = tarfile.TarInfo("a.jpg")
    member.size = len(image)
    one = header.tobuf(tarfile.USTAR_FORMAT) + content.ljust(512, b"\0")
    last = member.tobuf(tarfile.USTAR_FORMAT) + image + bytes(-len(image) % 512)
    (tmp_path / "a.tar").write_bytes(one * count + last * 1 + bytes(1024))
    try:
        open_records(str(tmp_path / "a.tar"), "train")
    except (RecordFileError, ValueError) as error:
        assert "a.tar" in str(error) and "\n" not in str(error)


# What vanishes


def folder_of(root, count=12):
    for number in range(count):
        path = root / "ab"[number % 2] / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(16 + number, 16))
    return root


@pytest.fixture(params=["folder", "tar", "prepared", "parquet"])
def vanishing(request, tmp_path):
    """Records of two places each, and a function that makes one of them vanish after they were opened."""
    images = folder_of(tmp_path / "images")
    gone = tmp_path / "gone"
    if request.param == "folder":
        return open_records(str(images), "train"), lambda: (images / "a").rename(gone)
    if request.param == "tar":
        for name in "ab":
            with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
                archive.add(images / name, name)
        return open_records(str(tmp_path / "*.tar"), "train"), lambda: (tmp_path / "a.tar").rename(gone)
    if request.param == "parquet":
        for name in "ab":
            write_parquet(
                tmp_path / f"{name}.parquet", [path.read_bytes() for path in (images / name).iterdir()]
            )
        return open_records(str(tmp_path / "*.parquet"), "train"), lambda: (tmp_path / "a.parquet").rename(
            gone
        )
    prepare(str(images), tmp_path / "out", Options(shards=2))
    records = open_records(str(tmp_path / "out"), "train")
    first = next((tmp_path / "out").glob("*train*-00000-of-*"))
    return records, lambda: first.rename(gone)


def test_data_that_vanish_count_as_bad_images_up_to_the_limit(vanishing, caplog):
    records, vanish = vanishing
    caplog.set_level(logging.WARNING)
    loader = TrainLoader(
        records, seed=1, global_batch_size=4, augment=Squash(SIZE), threads=0, max_bad_images=len(records)
    )
    with loader.batches() as batches:
        vanish()
        for _ in range(6):
            assert next(batches)["image"].shape == (4, SIZE, SIZE, 3)
        assert 0 < len(batches.faults) < len(records)
    assert sum("bad image" in message for message in caplog.messages) == len(batches.faults)


def test_more_than_the_limit_of_vanished_images_is_one_line(vanishing):
    records, vanish = vanishing
    vanish()
    loader = TrainLoader(
        records, seed=1, global_batch_size=4, augment=Squash(SIZE), threads=0, max_bad_images=1
    )
    with (
        loader.batches() as batches,
        pytest.raises(TooManyBadImagesError, match=r"1 are allowed|1 is allowed") as caught,
    ):
        for _ in range(6):
            next(batches)
    assert "\n" not in str(caught.value)
    with pytest.raises(TooManyBadImagesError):
        list(evaluation_batches(records, global_batch_size=4, augment=Squash(SIZE), threads=0))
