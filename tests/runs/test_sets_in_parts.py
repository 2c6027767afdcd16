"""A set of images is measured in memory that does not grow with it: what is counted here is what is alive at a time."""

import hashlib
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import equinox as eqx
import numpy as np
import pytest
from etils import epath
from jaxtyping import Array

from laminate.data.options import SourceOptions
from laminate.evals import distances, neighbours, set_measures
from laminate.evals.protocols import Protocol
from laminate.evals.set_measures import SetFeatures, measure_sets
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.runs import image_sets, measured_reconstructions, waiting
from laminate.runs.feature_networks import FeatureNetwork
from laminate.runs.feature_sets import Extractor
from laminate.runs.image_sets import Passing, open_image_set
from laminate.runs.kept_samples import KeptSamples
from laminate.runs.measured_reconstructions import Gathering
from laminate.runs.seen_sets import see_set

BLOCKS, ROWS = 40, 7


class Mean(eqx.Module):
    def __call__(self, image: Array) -> dict[str, Array]:
        return {"pool": image.mean(axis=(0, 1))}


NETWORK = FeatureNetwork("mean", "mean colours", Mean(), "none", "0", 5, "bilinear")


class Alive:
    """Counts the arrays that pass and are still referred to, by anybody."""

    def __init__(self) -> None:
        self.most = 0
        self._passed: list[weakref.ref[np.ndarray]] = []

    def watch(self, arrays: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for array in arrays:
            self._passed.append(weakref.ref(array))
            self.most = max(self.most, sum(one() is not None for one in self._passed))
            yield array
            del array


def blocks() -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    return (rng.integers(0, 256, (ROWS, 5, 4, 3), np.uint8) for _ in range(BLOCKS))


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return Extractor([NETWORK], build_mesh(MeshShape(1, 1)), global_batch_size=8)


def test_of_a_set_on_its_way_a_few_batches_are_alive_and_what_is_shown_is_spread_over_all(
    extractor: Extractor,
) -> None:
    alive, whole = Alive(), np.concatenate(list(blocks()))
    passing = Passing(alive.watch(blocks()), BLOCKS * ROWS, shown=5)
    found = extractor.gather("blocks", passing)["mean"]
    assert found.count == BLOCKS * ROWS
    assert alive.most <= 8
    np.testing.assert_array_equal(passing.shown, whole[[0, 69, 139, 209, 279]])
    assert passing.sha256 == hashlib.sha256(whole.tobytes()).hexdigest()


def test_drawn_images_lie_in_files_and_only_a_batch_of_them_is_alive(tmp_path: Path) -> None:
    def draw(alive: Alive) -> Callable[[int], Iterator[np.ndarray]]:
        return lambda first: alive.watch(some for at, some in enumerate(blocks()) if at * ROWS >= first)

    kept = KeptSamples(epath.Path(tmp_path / "drawn"), np.zeros(BLOCKS * ROWS, np.int32))
    for _ in range(2):  # drawn, then read again
        alive = Alive()
        passed = Alive()
        assert sum(len(some) for some in passed.watch(kept.images(draw(alive)))) == BLOCKS * ROWS
        assert max(alive.most, passed.most) <= 3


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_of_samples_is_read_in_parts_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extractor: Extractor, save: Callable[..., None]
) -> None:
    monkeypatch.setattr(image_sets, "_BYTES", 2**14)  # in place of many more images
    file, whole = (
        tmp_path / "samples.npz",
        np.concatenate(list(blocks()) * 10).repeat(3, axis=1).repeat(4, axis=2),
    )
    save(file, arr_0=whole)
    one = open_image_set(str(file), view=None, reading=SourceOptions(), max_bad_images=0)
    tracemalloc.start()
    np.testing.assert_array_equal(
        sum(some.sum(dtype=np.int64) for some in one.images()), whole.sum(dtype=np.int64)
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < whole.nbytes / 4
    seen = see_set(extractor, one)
    assert seen.features["mean"].count == len(whole) and seen.shown is not None and len(seen.shown) == 10
    assert seen.features["mean"].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_measures_of_large_sets_hold_no_square_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "SIDE", 256)
    monkeypatch.setattr(neighbours, "ROWS", 128)
    monkeypatch.setattr(neighbours, "COLUMNS", 256)
    monkeypatch.setattr(set_measures, "SUBSETS", 2)
    monkeypatch.setattr(set_measures, "DIRECTIONS", 16)
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(2048, 6)).astype(np.float32) for _ in range(2))

    def peak(count: int) -> int:
        samples, reference = SetFeatures("x", x[:count]), SetFeatures("y", y[:count])
        tracemalloc.start()
        measure_sets(samples, reference, Protocol("", "n"), "n")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(256)  # what compiling takes
    assert peak(2048) < 2048**2  # bytes: not even one of each pair


def test_of_reconstructions_so_many_pictures_are_kept_as_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measured_reconstructions, "_KEPT_BYTES", 60 * (3 * ROWS - 2))
    gathering, alive = Gathering([NETWORK]), Alive()
    for some in alive.watch(blocks()):
        means = some.mean(axis=(1, 2), dtype=np.float32)
        found = {"original:mean/pool": means, "picture:mean/pool": means, "figure:psnr": means[:, 0]}
        gathering.add({**found, "shown:original": some, "shown:picture": some})
        del some
    rebuilt = gathering.found()
    assert [len(one) for one in rebuilt.shown] == [3 * ROWS - 2] * 2
    assert len(rebuilt.figures["psnr"]) == rebuilt.originals["mean"].count == BLOCKS * ROWS
    assert alive.most <= 3


def test_what_took_long_is_said_and_what_did_not_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        sum(len(some) for some in waiting.counted(blocks(), "a set [of blocks]", BLOCKS * ROWS))
        == BLOCKS * ROWS
    )
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(waiting, "WORTH_SAYING", 0.0)
    with waiting.waiting("kid by mean, 3 against moments"):
        pass
    assert capsys.readouterr().err == "kid by mean, 3 against moments: 0 s\n"
