"""What the data path costs: CPU milliseconds per image of decoding, of augmenting, and of the whole loader.

`stored` has the same training crops from what `prepare --resize 256` stores once, as JPEG and as WebP, and from PNG,
beside the originals: bytes, CPU milliseconds, and what one core delivers of it.

The pictures are coloured noise with the spectrum of photographs: 500 x 375 JPEGs (4:2:0) of 90 KB on
average, the size and weight of those of ImageNet. CPU time is that of the whole process, all threads
together, so waiting does not count. The methods are visited in turn and the median over all turns is
reported, so that a change of clock or of the machine's load hits all of them alike. Nothing is read from a
disk.
"""

import io
import statistics
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import SupportsIndex

import numpy as np
import simplejpeg
from PIL import Image

from laminate.data.augment import CenterCrop, RandomResizedCrop
from laminate.data.batch import Arrays, stack
from laminate.data.decode import decode_image
from laminate.data.loader import TrainLoader
from laminate.data.options import MAX_PIXELS
from laminate.data.records import Example, RecordsManifest
from laminate.data.shrink import Shrink, StoredFormat
from laminate.data.transforms import resize_short_side

HEIGHT, WIDTH, SIZE = 375, 500, 256
MEAN_BYTES = 90_000
IMAGENET = 1_281_167
GLOBAL_BATCH_SIZE = 64

Method = Callable[[bytes, np.random.Generator], object]


class MemoryRecords:
    """Encoded images in memory, repeated to the number of ImageNet's.

    The number matters: grain's shuffle is quick for many records and takes 0.4 ms a row for a hundred.
    """

    def __init__(self, images: list[bytes]):
        self.manifest = RecordsManifest("noise", "train", IMAGENET, (), "noise", "noise")
        self._images = images

    def __len__(self) -> int:
        return IMAGENET

    def __getitem__(self, index: SupportsIndex, /) -> Example:
        return Example(self._images[index.__index__() % len(self._images)], -1, str(index))


def photograph_like(rng: np.random.Generator, contrast: float) -> np.ndarray:
    """Noise whose amplitude falls as 1 / frequency, its colours correlated; uint8 `[HEIGHT, WIDTH, 3]`."""
    fy, fx = np.fft.fftfreq(HEIGHT)[:, None, None], np.fft.rfftfreq(WIDTH)[None, :, None]
    spectrum = 1 / np.maximum(np.hypot(fy, fx), 1 / WIDTH)
    noise = np.fft.rfft2(rng.standard_normal((HEIGHT, WIDTH, 3)), axes=(0, 1)) * spectrum
    channels = np.fft.irfft2(noise, s=(HEIGHT, WIDTH), axes=(0, 1))
    channels = channels[..., :1] + 0.5 * channels
    return (128 + contrast * channels / channels.std()).clip(0, 255).astype(np.uint8)


def jpegs(count: int, seed: int = 0) -> list[bytes]:
    """`count` JPEGs of `MEAN_BYTES` on average; their sizes spread by about a third, as in ImageNet."""
    rng = np.random.default_rng(seed)
    pictures = [Image.fromarray(photograph_like(rng, rng.uniform(35, 75))) for _ in range(count)]

    def encode(picture: Image.Image, quality: int) -> bytes:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality, subsampling=2)
        return stream.getvalue()

    sample = pictures[:16]
    miss = {q: abs(statistics.mean(len(encode(p, q)) for p in sample) - MEAN_BYTES) for q in range(70, 99, 2)}
    return [encode(picture, min(miss, key=lambda quality: miss[quality])) for picture in pictures]


def methods() -> dict[str, Method]:
    """What is compared: one call is one image. The first three are a floor and the decoder alone."""
    return {
        "entropy_decode": lambda data, rng: simplejpeg.decode_jpeg(
            data, min_height=1, min_width=1, min_factor=8
        ),
        "decode": lambda data, rng: decode_image(data),
        "decode_fast": lambda data, rng: decode_image(data, fast=True),
        "crop_linear": RandomResizedCrop(SIZE, kernel="linear"),
        "crop_area": RandomResizedCrop(SIZE, kernel="area"),
        "crop_pillow_bilinear": RandomResizedCrop(SIZE, kernel="bilinear"),
        "crop_pillow_bicubic": RandomResizedCrop(SIZE, kernel="bicubic"),
        "center_crop_exact": CenterCrop(SIZE),
    }


def stored_forms(originals: list[bytes]) -> dict[str, list[bytes]]:
    """The same pictures as a data set can hold them: whole, or with a shorter side of `SIZE`."""

    def png(data: bytes) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(resize_short_side(decode_image(data), SIZE, "lanczos")).save(stream, "PNG")
        return stream.getvalue()

    def shrunk(format: StoredFormat) -> list[bytes]:
        return [Shrink(SIZE, format).apply(data, max_pixels=MAX_PIXELS)[0] for data in originals]

    return {
        f"jpeg_{WIDTH}x{HEIGHT}": originals,
        f"jpeg_{SIZE}": shrunk("jpeg"),
        f"webp_{SIZE}": shrunk("webp"),
        f"png_{SIZE}": [png(data) for data in originals],
    }


def cpu_of(work: Callable[[], object]) -> float:
    start = time.thread_time()
    work()
    return time.thread_time() - start


def loop(method: Method, images: list[bytes], seed: int) -> None:
    rng = np.random.default_rng(seed)
    for data in images:
        method(data, rng)


def batch_loop(images: list[bytes], seed: int) -> Arrays:
    """The loader's work without a loader: every image of one batch, then the batch."""
    rng, crop = np.random.default_rng(seed), RandomResizedCrop(SIZE)
    return stack([crop(data, rng) for data in images])


class LoaderTurns:
    """A loader that is kept running at full speed, and the cost of its next few batches."""

    def __init__(self, images: list[bytes], threads: int):
        loader = TrainLoader(
            MemoryRecords(images),
            seed=0,
            global_batch_size=GLOBAL_BATCH_SIZE,
            augment=RandomResizedCrop(SIZE),
            threads=threads,
        )
        self._loader, self._row = loader, 0
        self.cpu_ms: list[float] = []
        self.images_per_second: list[float] = []

    def turn(self, count: int = 4, settle: int = 3) -> None:
        """Time `count` batches, after as many as are made ahead have passed."""
        others = threading.active_count()
        with self._loader.batches(self._row) as batches:
            list(islice(batches, settle))
            wall, cpu = time.perf_counter(), time.process_time()
            list(islice(batches, count))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            self._row = batches.row
        while (
            threading.active_count() > others
        ):  # what was begun still runs, and would count against the next
            time.sleep(0.001)
        self.cpu_ms.append(1000 * cpu / (count * GLOBAL_BATCH_SIZE))
        self.images_per_second.append(count * GLOBAL_BATCH_SIZE / wall)


def measure(images: int = 256, turns: int = 8, threads: tuple[int, ...] = (0, 1, 2)) -> dict[str, object]:
    """The costs as a JSON-able dictionary.

    ``cpu_ms`` maps each method to CPU milliseconds per image in a bare loop. ``loader`` maps a number of
    threads to the CPU milliseconds per image of the loader with ``crop_linear``, its images per second of
    wall time, and ``overhead``, the share by which it costs more than ``batch_loop``, the same work without
    a loader. With 0 threads that is grain's own cost; with more it holds what threads cost each other in
    caches and shared cores.
    """
    encoded = jpegs(images)
    compared = methods()
    bare: dict[str, list[float]] = {name: [] for name in (*compared, "batch_loop")}
    loaders = {count: LoaderTurns(encoded, count) for count in threads}
    forms, crop = stored_forms(encoded[:GLOBAL_BATCH_SIZE]), RandomResizedCrop(SIZE)
    stored_ms: dict[str, list[float]] = {name: [] for name in forms}
    for turn in range(turns):
        first = turn * GLOBAL_BATCH_SIZE % images
        part = (encoded + encoded)[first : first + GLOBAL_BATCH_SIZE]
        for name, method in compared.items():
            bare[name].append(1000 * cpu_of(partial(loop, method, part, turn)) / len(part))
        for name, form in forms.items():
            stored_ms[name].append(1000 * cpu_of(partial(loop, crop, form, turn)) / len(form))
        bare["batch_loop"].append(1000 * cpu_of(partial(batch_loop, part, turn)) / len(part))
        for loader in loaders.values():
            loader.turn()
    cpu_ms = {name: statistics.median(values) for name, values in bare.items()}
    return {
        "images": images,
        "mean_bytes": statistics.mean(map(len, encoded)),
        "source": f"{WIDTH}x{HEIGHT} JPEG 4:2:0",
        "output": f"{SIZE}x{SIZE}",
        "cpu_ms": cpu_ms,
        "of_decode": {name: value / cpu_ms["decode"] for name, value in cpu_ms.items()},
        "stored": {
            name: {
                "mean_bytes": round(statistics.mean(map(len, form))),
                "cpu_ms": statistics.median(stored_ms[name]),
                "images_per_second_of_a_core": 1000 / statistics.median(stored_ms[name]),
            }
            for name, form in forms.items()
        },
        "loader": {
            str(count): {
                "cpu_ms": statistics.median(loader.cpu_ms),
                "images_per_second": statistics.median(loader.images_per_second),
                "overhead": statistics.median(
                    ours / plain - 1 for ours, plain in zip(loader.cpu_ms, bare["batch_loop"], strict=True)
                ),
            }
            for count, loader in loaders.items()
        },
    }
