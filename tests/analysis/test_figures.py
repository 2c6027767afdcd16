"""Pictures: pixels stay exact, every panel that has data is drawn, misuse is named."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from laminate.analysis.curves import loss_curves, read_metrics, running_mean
from laminate.analysis.figures import ablation_map, reconstruction_grid


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def occurrences(picture: np.ndarray, tile: np.ndarray) -> int:
    """How often `tile` stands in `picture`, pixel for pixel."""
    corners = np.argwhere((picture[: -len(tile), : -tile.shape[1]] == tile[0, 0]).all(-1))
    high, wide = tile.shape[:2]
    return sum(
        np.array_equal(picture[row : row + high, column : column + wide], tile) for row, column in corners
    )


@pytest.mark.parametrize(("size", "scale"), [((7, 5), 19), ((120, 97), 1)])
def test_every_image_is_shown_in_whole_pixels(size, scale, tmp_path):
    rng = np.random.default_rng(0)
    originals = rng.integers(0, 256, (3, *size, 3), np.uint8)
    rebuilt = rng.uniform(0, 1, (3, *size, 3))
    reconstruction_grid(
        originals, rebuilt, tmp_path / "grid.png", columns=2, tile=96, captions=("a", "b", "c")
    )
    picture = pixels(tmp_path / "grid.png")
    for image in [*originals, *np.round(rebuilt * 255).astype(np.uint8)]:
        assert occurrences(picture, image.repeat(scale, 0).repeat(scale, 1)) == 1


def test_values_outside_the_unit_range_are_clipped(tmp_path):
    images = np.stack([np.full((4, 6, 3), -0.5), np.full((4, 6, 3), 1.5)])
    reconstruction_grid(images, images, tmp_path / "grid.png", tile=6)
    assert occurrences(pixels(tmp_path / "grid.png"), np.zeros((4, 6, 3), np.uint8)) == 2


@pytest.mark.parametrize(
    ("originals", "rebuilt", "captions", "message"),
    [
        ((2, 4, 5, 3), (3, 4, 5, 3), (), r"got \(2, 4, 5, 3\) and \(3, 4, 5, 3\)"),
        ((0, 4, 5, 3), (0, 4, 5, 3), (), "at least one image"),
        ((2, 4, 5, 3), (2, 4, 5, 3), ("one",), "1 captions for 2 images"),
    ],
)
def test_images_that_do_not_pair_are_refused(originals, rebuilt, captions, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        reconstruction_grid(np.zeros(originals), np.zeros(rebuilt), tmp_path / "grid.png", captions=captions)


@pytest.mark.parametrize("shape", [(1, 3, 5), (5, 4, 4), (32, 16, 16)])
def test_ablation_map_draws_any_grid(shape, tmp_path):
    heat = np.random.default_rng(1).exponential(size=shape)
    ablation_map(heat, tmp_path / "map.png")
    assert len(np.unique(pixels(tmp_path / "map.png").reshape(-1, 3), axis=0)) > 20


def test_ablation_map_of_a_decoder_that_ignores_its_latents_is_still_a_picture(tmp_path):
    ablation_map(np.zeros((3, 4, 5)), tmp_path / "map.png")


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_impossible_heat_is_refused(value, tmp_path):
    with pytest.raises(ValueError, match="finite heat >= 0"):
        ablation_map(np.full((2, 3, 4), value), tmp_path / "map.png")


def record(step: int) -> dict[str, float]:
    return {
        "step": step,
        "train/recon_loss": 1.0 / (1 + step),
        "train/lr": 1e-3,
        "train/loss": 2.0 / (1 + step),
    }


@pytest.mark.parametrize(
    "records",
    [
        [{"step": 3, "val/loss": 0.5}],
        [record(step) for step in range(5)],
        [record(step) | {"val/loss": 0.3, "val/r2": -9.0, "train/kl_nats": 0.0} for step in range(0, 900, 9)],
        [record(step) | {"train/recon_loss": 0.0} for step in range(5)],
        [record(0) | {"train/loss": float("nan")}, record(1) | {"train/lr": 0.0}],
    ],
)
def test_loss_curves_draw_whatever_was_logged(records, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss_curves(records, tmp_path / "curves.png")
    assert pixels(tmp_path / "curves.png").shape[0] == 460


def test_loss_curves_without_a_loss_are_refused(tmp_path):
    with pytest.raises(ValueError, match="train/recon_loss, val/loss"):
        loss_curves([{"step": 1, "other": 2.0}], tmp_path / "curves.png")


def test_metrics_of_a_resumed_run_keep_the_last_values_of_a_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    logged = [
        record(0),
        record(10),
        record(20),
        record(10) | {"train/loss": 7.0},
        {"step": 10, "val/loss": 3.0},
    ]
    path.write_text("\n".join(map(json.dumps, logged)) + '\n{"step": 30, "trai')
    records = read_metrics(path)
    assert [r["step"] for r in records] == [0, 10, 20]
    assert records[1] == record(10) | {"train/loss": 7.0, "val/loss": 3.0}


def test_a_broken_line_inside_the_metrics_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ValueError, match="line 2"):
        read_metrics(path)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40), st.integers(0, 9))
def test_running_mean_is_the_mean_of_its_window(values, reach):
    values = np.array(values)
    wanted = [
        values[index - min(reach, index) : index + min(reach, index) + 1].mean()
        for index in range(len(values))
    ]
    np.testing.assert_allclose(running_mean(values, reach), wanted, rtol=1e-9, atol=1e-9)
