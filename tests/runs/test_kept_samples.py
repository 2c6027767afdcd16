"""Drawing goes on where it was stopped, and gives the same images as if it never had been."""

import numpy as np
import pytest
from etils import epath

from laminate.runs.kept_samples import KeptSamples

BATCH, COUNT = 4, 15
LABELS = np.arange(COUNT, dtype=np.int32) % 3


class Drawing:
    """Image i of a seed, in batches; it counts what it draws, and is stopped before image `until`."""

    def __init__(self, seed: int = 0, until: int = COUNT):
        self.seed, self.until, self.drawn = seed, until, 0

    def __call__(self, first: int):
        for start in range(first, COUNT, BATCH):
            if start >= self.until:
                raise KeyboardInterrupt
            rows = range(start, min(start + BATCH, COUNT))
            self.drawn += len(rows)
            yield np.stack(
                [np.random.default_rng((self.seed, i)).integers(0, 256, (2, 3, 3), np.uint8) for i in rows]
            )


WHOLE = np.concatenate(list(Drawing()(0)))


def drawn(folder, drawing: Drawing, labels=LABELS) -> np.ndarray:
    return np.concatenate(list(KeptSamples(epath.Path(folder), labels).images(drawing)))


def test_what_was_drawn_is_not_drawn_again_and_the_images_are_the_same(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        drawn(tmp_path / "kept", Drawing(until=2 * BATCH))
    rest = Drawing()
    np.testing.assert_array_equal(drawn(tmp_path / "kept", rest), WHOLE)
    assert rest.drawn == COUNT - BATCH  # the first batch is what shows that nothing has changed
    assert "8 of 15 images were drawn before" in capsys.readouterr().err
    again = Drawing()
    np.testing.assert_array_equal(drawn(tmp_path / "kept", again), WHOLE)
    assert again.drawn == BATCH
    KeptSamples(epath.Path(tmp_path / "kept"), LABELS).clear()
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("changed", ["seed", "labels", "a batch is missing", "another batch size"])
def test_what_no_longer_fits_is_drawn_anew(changed, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        drawn(tmp_path / "kept", Drawing(until=3 * BATCH))
    kept = tmp_path / "kept"
    seed, labels, expected = int(changed == "seed"), LABELS, COUNT
    if changed == "labels":
        labels = LABELS[::-1].copy()
    if changed == "a batch is missing":
        (kept / f"{BATCH:09d}.npy").unlink()
    if changed == "another batch size":
        np.save(kept / f"{0:09d}.npy", WHOLE[: BATCH - 1])
    drawing = Drawing(seed)
    found = drawn(kept, drawing, labels)
    assert drawing.drawn == expected
    np.testing.assert_array_equal(found, np.concatenate(list(Drawing(seed)(0))))
