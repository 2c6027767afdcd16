"""Pictures: pixels stay exact, every panel that has data is drawn, misuse is named."""

import io
import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from laminate.analysis.curves import Panel, finite_values, loss_curves, read_metrics, running_mean
from laminate.analysis.figures import GRID, HEAT, SERIES, ablation_map, reconstruction_grid, sample_grid


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


def of_colour(picture: np.ndarray, colour: str) -> np.ndarray:
    """Where the picture has exactly the colour `#rrggbb`."""
    return (picture == [int(colour[at : at + 2], 16) for at in (1, 3, 5)]).all(-1)


def box(found: np.ndarray) -> tuple[int, int, int, int]:
    """First and last row, first and last column of what was found."""
    rows, columns = np.nonzero(found.any(1))[0], np.nonzero(found.any(0))[0]
    return rows[0], rows[-1], columns[0], columns[-1]


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


def test_tokens_stand_between_in_their_colours(tmp_path):
    images = np.full((2, 20, 12, 3), 90, np.uint8)
    tokens = np.array([[[[255, 0, 0]], [[0, 255, 0]]], [[[0, 0, 255]], [[9, 9, 9]]]], np.uint8)
    reconstruction_grid(images, images, tmp_path / "grid.png", tile=12, tokens=tokens)
    picture = pixels(tmp_path / "grid.png")
    for token in tokens.reshape(4, 3):
        assert occurrences(picture, np.broadcast_to(token, (10, 12, 3))) == 1
    with pytest.raises(ValueError, match="do not fit 2 images of 20 x 12"):
        reconstruction_grid(images, images, tmp_path / "grid.png", tile=12, tokens=tokens.repeat(11, axis=1))


def test_labels_stand_before_and_captions_below_the_images(tmp_path):
    images = np.full((2, 20, 20, 3), 90, np.uint8)
    draw = lambda name, **texts: reconstruction_grid(images, images, tmp_path / name, tile=20, **texts)
    draw("bare.png", labels=("", ""), captions=("", ""))
    draw("named.png", labels=("above", "below"), captions=("one", "two"))
    bare, named = pixels(tmp_path / "bare.png"), pixels(tmp_path / "named.png")
    top, bottom, left, right = box(of_colour(bare, "#5a5a5a"))
    texts = (bare != named).any(-1)
    assert not texts[top : bottom + 1, left : right + 1].any()
    for row in (slice(top, (top + bottom) // 2), slice((top + bottom) // 2, bottom + 1)):
        assert texts[row, :left].any()
    for column in (slice(left, (left + right) // 2), slice((left + right) // 2, right + 1)):
        assert texts[bottom + 1 :, column].any()


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


def maps_of_tokens(picture: np.ndarray) -> list[slice]:
    """The columns of the maps of single tokens, which lie in one row; a map is pale where nothing moves."""
    pale = np.nonzero(of_colour(picture, HEAT[0]).sum(0) > 40)[0]
    parts = np.split(pale, np.nonzero(np.diff(pale) > 4)[0] + 1)
    return [slice(part[0], part[-1] + 1) for part in parts if len(part) > 40]


@pytest.mark.parametrize("token", [0, 1, 2])
def test_the_patch_that_moves_most_is_darkest_in_its_place_in_the_map_of_its_token(token, tmp_path):
    heat = np.zeros((3, 4, 5))
    heat[token, 1, 3] = 2.0
    ablation_map(heat, tmp_path / "map.png")
    picture = pixels(tmp_path / "map.png")
    maps = maps_of_tokens(picture)
    assert len(maps) == 3
    for one, columns in enumerate(maps):
        dark, pale = (of_colour(picture[:, columns], colour) for colour in (HEAT[-1], HEAT[0]))
        assert dark.any() == (one == token)
        if one == token:
            first, last, left, right = box(dark)
            top, bottom = box(dark | pale)[:2]
            width, height = columns.stop - columns.start, bottom - top + 1
            got = [(first - top) / height, (last + 1 - top) / height, left / width, (right + 1) / width]
            np.testing.assert_allclose(got, [1 / 4, 2 / 4, 3 / 5, 4 / 5], atol=0.03)


def test_the_map_of_winners_has_the_colour_of_the_token_that_moves_a_patch_most(tmp_path):
    heat = np.zeros((2, 4, 6))
    heat[0, :, :3] = heat[1, :, 3:] = 1.0
    ablation_map(heat, tmp_path / "map.png")
    winners = pixels(tmp_path / "map.png")[90:330, 30:318].astype(int)
    left, right = winners[:, :140].mean((0, 1)), winners[:, 148:].mean((0, 1))
    assert left.argmax() == 0 and right.argmax() == 2  # the first token is red, the second blue


def test_ablation_map_of_a_decoder_that_ignores_its_latents_is_all_pale(tmp_path):
    ablation_map(np.zeros((3, 4, 5)), tmp_path / "map.png")
    picture = pixels(tmp_path / "map.png")
    for columns in maps_of_tokens(picture):
        assert of_colour(picture[:, columns], HEAT[0]).sum() > 0.75 * (columns.stop - columns.start) ** 2
    assert len(maps_of_tokens(picture)) == 3


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


TRAINING, VALIDATION = SERIES[:2]


@pytest.mark.parametrize(
    ("records", "drawn", "width"),
    [
        ([{"step": 3, "val/loss": 0.5}], {VALIDATION}, 680),
        ([record(step) for step in range(5)], {TRAINING}, 1040),
        (
            [
                record(step) | {"val/loss": 0.3, "val/r2": -9.0, "train/kl_nats": 0.0}
                for step in range(0, 900, 9)
            ],
            {TRAINING, VALIDATION},
            1040,
        ),
        ([record(step) | {"train/recon_loss": 0.0} for step in range(5)], {TRAINING}, 1040),
        ([record(0) | {"train/loss": float("nan")}, record(1) | {"train/lr": 0.0}], {TRAINING}, 1040),
    ],
)
def test_loss_curves_draw_whatever_was_logged(records, drawn, width, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss_curves(records, tmp_path / "curves.png")
    picture = pixels(tmp_path / "curves.png")
    assert picture.shape == (460, width, 3)
    main = picture[:, : 680 * width // 1040] if width == 1040 else picture
    assert {colour for colour in SERIES if of_colour(main, colour).any()} == drawn


def test_a_curve_follows_its_values(tmp_path):
    """Values that fall by the same factor lie on a falling line of an axis in powers."""
    losses = [{"step": step, "train/recon_loss": 10.0**-step} for step in range(5)]
    loss_curves(losses, tmp_path / "curves.png")
    rows, columns = np.nonzero(of_colour(pixels(tmp_path / "curves.png"), TRAINING))
    assert np.ptp(columns) > 500 and np.ptp(rows) > 250
    slope, start = np.polyfit(columns, rows, 1)
    assert slope > 0.4
    assert np.abs(start + slope * columns - rows).max() < 3


@pytest.mark.parametrize("metric", ["train/recon_loss", "train/loss", "train/kl_nats", "val/r2"])
def test_each_metric_has_a_panel_of_its_own(metric, tmp_path):
    """Another course of one metric changes a part of the picture, and only one panel of it."""
    names = ["train/recon_loss", "train/loss", "train/kl_nats", "val/r2"]
    pictures = []
    for turned in (False, True):
        logged = [
            {"step": step}
            | {name: 0.2 + (0.1 * step if turned and name == metric else 0.0) for name in names}
            for step in range(5)
        ]
        loss_curves(logged, tmp_path / "curves.png")
        pictures.append(pixels(tmp_path / "curves.png"))
    top, bottom, left, right = box((pictures[0] != pictures[1]).any(-1))
    assert right - left > 200 and bottom - top > 60
    assert (right < 680) if metric == "train/recon_loss" else (left > 680 and bottom - top < 160)


def test_the_learning_rate_is_an_area_under_its_curve(tmp_path):
    loss_curves([record(step) | {"train/lr": 1e-3 * step} for step in range(5)], tmp_path / "curves.png")
    area = of_colour(pixels(tmp_path / "curves.png"), GRID)[355:405, 80:670].sum(0)
    quarters = [int(part.sum()) for part in np.array_split(area, 4)]
    assert sorted(quarters) == quarters and quarters[0] < 0.3 * quarters[-1]


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


@pytest.mark.parametrize(
    "name",
    ["$x_$", "$", "a$b$c", r"\frac{1", "a^_{", "new\nline", "", "x" * 5000, "\x00\x07", "日本", "\u202e"],
)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_no_name_of_a_class_is_parsed_or_stops_a_picture(name, tmp_path):
    images = np.zeros((2, 8, 8, 3), np.uint8)
    with Image.open(io.BytesIO(sample_grid(images, columns=1, rows=(name, "dog")))) as drawn:
        assert drawn.width < 600
    reconstruction_grid(images, images, tmp_path / "a.png", captions=(name[:20], "dog"))


def test_metrics_that_were_no_numbers_leave_curves_and_values_as_they_are(tmp_path):
    records = [
        {"step": 1, "train/loss": 1.0, "val/r2": None},
        {"step": 2, "train/loss": None, "val/r2": 0.5, "train/lr": None},
        {"step": 3, "train/loss": "high", "val/r2": True},
        {"step": 4, "train/loss": 0.5},
    ]
    assert finite_values(records, "val/r2") == [0.5] and finite_values(records, "train/loss") == [1.0, 0.5]
    loss_curves(records, tmp_path / "curves.png", panels=(Panel("loss", (("train/loss", "training"),)),))
    assert (tmp_path / "curves.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"7", b"[]", b'{"loss": 1}', b'{"step": "3"}', b'{"step": NaN}', b"[" * 9000]
)
def test_a_foreign_line_of_metrics_is_named_inside_and_left_out_at_the_end(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "a": 1}\n' + line + b"\n")
    assert read_metrics(path) == [{"step": 1, "a": 1}]
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl: line 2 is no JSON record"):
        read_metrics(path)
