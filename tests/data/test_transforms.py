import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file

from laminate.data import transforms
from laminate.data.augment import (
    CenterCrop,
    RandomResizedCrop,
    ResizeCrop,
    Squash,
    SquashCrop,
    decode_window,
)
from laminate.data.decode import ImageError
from laminate.data.transforms import Window, crop_window

GOLDEN = load_file(Path(__file__).parents[1] / "golden" / "15_pil_center_crop.safetensors")
PILLOW = {"box": Image.BOX, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **options)
    return stream.getvalue()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("index", range(6))
def test_adm_center_crop_has_the_reference_pixels(index):
    cropped = transforms.adm_center_crop(GOLDEN[f"inputs/image{index}"], 32)
    np.testing.assert_array_equal(cropped, GOLDEN[f"outputs/adm_crop{index}"])


@pytest.mark.parametrize("name", sorted(name for name in GOLDEN if name.startswith("outputs/pil_")))
def test_pillow_kernels_have_the_reference_pixels(name):
    _, kernel, size = name.removeprefix("outputs/").split("_")
    height, width = map(int, size.split("x"))
    np.testing.assert_array_equal(
        transforms.resize(GOLDEN["inputs/image0"], height, width, kernel), GOLDEN[name]
    )


def linear_weights(size: int, out: int) -> np.ndarray:
    """Rows of bilinear weights between pixel centres, edges repeated, without antialiasing."""
    centres = (np.arange(out) + 0.5) * size / out - 0.5
    first = np.floor(centres).astype(int)
    weights = np.zeros((out, size))
    for offset, share in ((0, 1 - (centres - first)), (1, centres - first)):
        np.add.at(weights, (np.arange(out), (first + offset).clip(0, size - 1)), share)
    return weights


def area_weights(size: int, out: int) -> np.ndarray:
    """Rows of the overlap of each output cell with each input pixel."""
    edges = np.arange(out + 1) * size / out
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return overlap.clip(0) * out / size


@pytest.mark.parametrize(("kernel", "oracle"), [("linear", linear_weights), ("area", area_weights)])
@given(
    height=st.integers(9, 40),
    width=st.integers(9, 40),
    out_height=st.integers(1, 9),
    out_width=st.integers(1, 9),
)
def test_opencv_kernels_are_their_equations(kernel, oracle, height, width, out_height, out_width):
    image = noise(height, width)
    expected = np.einsum(
        "ph,qw,hwc->pqc", oracle(height, out_height), oracle(width, out_width), image.astype(float)
    )
    resized = transforms.resize(image, out_height, out_width, kernel)
    assert resized.shape == (out_height, out_width, 3) and resized.dtype == np.uint8
    assert np.abs(resized - expected).max() <= 1.01


def test_resize_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="cannot resize to 0 x 5"):
        transforms.resize(noise(4, 5), 0, 5)


@given(height=st.integers(1, 90), width=st.integers(1, 90), size=st.integers(1, 24))
def test_adm_center_crop_gives_the_size_asked_for(height, width, size):
    cropped = transforms.adm_center_crop(noise(height, width), size)
    assert cropped.shape == (size, size, 3) and cropped.flags.c_contiguous


@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    seed=st.integers(0, 2**32 - 1),
    lowest=st.floats(0.01, 1.0),
    wide=st.floats(1.0, 4.0),
)
def test_every_window_lies_inside_the_image(height, width, seed, lowest, wide):
    window = crop_window(height, width, rng(seed), area=(lowest, 1.0), ratio=(1 / wide, wide))
    assert 0 < window.height <= height and 0 < window.width <= width
    assert 0 <= window.top <= height - window.height and 0 <= window.left <= width - window.width


def uniform_distance(values: np.ndarray) -> float:
    """The Kolmogorov-Smirnov distance between `values` and the uniform law on [0, 1]."""
    ordered, count = np.sort(values), len(values)
    return float(
        max((np.arange(1, count + 1) / count - ordered).max(), (ordered - np.arange(count) / count).max())
    )


DRAWS = 4000
KS_BOUND = 1.95 / DRAWS**0.5  # passed by chance in 99.9 % of all seeds; this seed is fixed


def test_share_ratio_and_place_of_a_window_follow_their_laws():
    """Windows of at most half the image always fit, so no draw is rejected and the laws are pure."""
    source, side = rng(3), 3000
    windows = np.array([crop_window(side, side, source, area=(0.1, 0.5)) for _ in range(DRAWS)])
    top, left, height, width = windows.T
    share = height * width / side**2
    log_ratio = np.log(width / height)
    assert uniform_distance((share - 0.1) / 0.4) < KS_BOUND
    assert uniform_distance((log_ratio - np.log(3 / 4)) / (np.log(4 / 3) - np.log(3 / 4))) < KS_BOUND
    assert uniform_distance(top / (side - height)) < KS_BOUND
    assert uniform_distance(left / (side - width)) < KS_BOUND
    correlations = np.corrcoef([share, log_ratio, top / (side - height), left / (side - width)])
    assert np.abs(correlations - np.eye(4)).max() < 4 / DRAWS**0.5


def test_every_place_of_a_window_is_as_likely():
    """All of a 5 x 5 image's four places of a 4 x 4 window, none missed and none beyond."""
    source = rng(1)
    windows = [crop_window(5, 5, source, area=(16 / 25, 16 / 25), ratio=(1.0, 1.0)) for _ in range(DRAWS)]
    counts = np.array([windows.count(Window(top, left, 4, 4)) for top in (0, 1) for left in (0, 1)])
    assert counts.sum() == DRAWS
    assert np.abs(counts - DRAWS / 4).max() < 4 * (DRAWS * 3 / 16) ** 0.5


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(10, 100, Window(0, 43, 10, 13)), (100, 10, Window(43, 0, 13, 10)), (1, 1, Window(0, 0, 1, 1))],
)
def test_a_shape_that_no_window_fits_gets_the_largest_centred_one(height, width, expected):
    assert crop_window(height, width, rng(), area=(1.0, 1.0)) == expected


@pytest.mark.parametrize("kernel", PILLOW)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_random_resized_crop_is_pillow_crop_then_pillow_resize(kernel, seed):
    image = noise(37, 53, seed)
    top, left, height, width = crop_window(37, 53, rng(seed))
    part = Image.fromarray(image).crop((left, top, left + width, top + height))
    view = RandomResizedCrop(
        20, flip_rate=0.0, kernel=kernel
    )  # of which no image is decoded at half its size
    ours = view(encoded(image), rng(seed))["image"]
    np.testing.assert_array_equal(ours, np.asarray(part.resize((20, 20), PILLOW[kernel])))


@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    size=st.integers(1, 30),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_random_crop_is_a_part_of_the_padded_image(height, width, size, seed):
    image = noise(height, width) // 2 + 1
    crop = transforms.random_crop(image, size, rng(seed))
    assert crop.shape == (size, size, 3)
    inside = (crop > 0).all(-1)
    rows, columns = min(height, size), min(width, size)
    assert inside.sum() == rows * columns
    shown = crop[inside].reshape(rows, columns, 3)
    windows = np.lib.stride_tricks.sliding_window_view(image, (rows, columns, 3))
    assert (windows == shown).all((-3, -2, -1)).any()


def test_a_flip_is_the_mirror_image_and_its_own_inverse():
    image = noise(5, 7)
    flipped = transforms.horizontal_flip(image)
    np.testing.assert_array_equal(flipped, image[:, ::-1])
    np.testing.assert_array_equal(transforms.horizontal_flip(flipped), image)


def test_the_training_crop_is_its_parts_in_their_order():
    """At a size that needs no reduced decoding: draw the window, decode, cut, resize, flip."""
    image = noise(60, 80)
    flips = 0
    for seed in range(20):
        source = rng(seed)
        window = crop_window(60, 80, source)
        expected = transforms.resize(transforms.cut(image, window), 33, 33, "linear")
        if source.random() < 0.5:
            expected, flips = expected[:, ::-1], flips + 1
        np.testing.assert_array_equal(RandomResizedCrop(33)(encoded(image), rng(seed))["image"], expected)
    assert 4 <= flips <= 16


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(4, 40))
def test_a_window_of_a_reduced_image_shows_the_same_part(kind, seed, size):
    """On a ramp of position a pixel says where it came from: right to one pixel of the reduced image."""
    height, width = 200, 240
    y, x = np.mgrid[:height, :width]
    ramp = np.stack([y, x, np.full_like(x, 128)], -1).astype(np.uint8)
    data = encoded(ramp, kind, **({"quality": 98, "subsampling": 0} if kind == "JPEG" else {}))
    window = crop_window(height, width, rng(seed))
    image, found = decode_window(data, window, size)
    reduction = -(-height // image.shape[0])
    assert found.height >= min(size, window.height) and found.width >= min(size, window.width)
    assert reduction == max(
        [r for r in (1, 2, 4, 8) if min(window.height, window.width) >= r * size], default=1
    )
    part = transforms.cut(image, found).astype(float)
    assert part.shape[:2] == (found.height, found.width)
    assert abs(part[0, :, 0].mean() - (window.top + (reduction - 1) / 2)) <= reduction + 2
    assert (
        abs(part[:, -1, 1].mean() - (window.left + window.width - (reduction + 1) / 2)) <= 2 * reduction + 2
    )


def test_the_evaluation_views_are_their_transforms():
    image, source = noise(50, 70), rng(5)
    np.testing.assert_array_equal(
        CenterCrop(24)(encoded(image), source)["image"], transforms.adm_center_crop(image, 24)
    )
    np.testing.assert_array_equal(
        Squash(24)(encoded(image), source)["image"], transforms.resize(image, 24, 24, "area")
    )
    crop = SquashCrop(24, squashed=30)(encoded(image), rng(5))["image"]
    squashed = transforms.squash(image, 30)
    np.testing.assert_array_equal(crop, transforms.random_crop(squashed, 24, rng(5)))


VIEWS = [RandomResizedCrop(8), CenterCrop(8), Squash(8), SquashCrop(8, 9), ResizeCrop(8, 9)]


@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    size=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_rae_s_view_is_pillow_s_resize_of_the_short_side_and_an_unflipped_window(height, width, size, seed):
    image, resized = noise(height, width, seed), size + 3
    long = int(resized * max(height, width) / min(height, width))
    sides = (long, resized) if width >= height else (resized, long)
    oracle = np.asarray(Image.fromarray(image).resize(sides, Image.BICUBIC))
    draws = rng(seed)
    top, left = (int(draws.integers(side - size + 1)) for side in oracle.shape[:2])
    crop = ResizeCrop(size, resized)(encoded(image), rng(seed))["image"]
    np.testing.assert_array_equal(crop, oracle[top : top + size, left : left + size])


@pytest.mark.parametrize("view", [CenterCrop(300), ResizeCrop(256, 384)])
def test_a_picture_too_narrow_to_be_enlarged_is_a_bad_image_not_a_full_memory(view):
    with pytest.raises(
        ImageError, match=r"1 x 900000 pixels would have .* when resized.* too long and narrow"
    ):
        view(encoded(noise(1, 900_000)), rng())


def flipping(kind: type, flip_rate: float):
    extra = {SquashCrop: {"squashed": 9}, ResizeCrop: {"resized": 9}}.get(kind, {})
    return kind(8, **extra, flip_rate=flip_rate)


ALL_KINDS = pytest.mark.parametrize("kind", [RandomResizedCrop, CenterCrop, Squash, SquashCrop, ResizeCrop])


@ALL_KINDS
@pytest.mark.parametrize("flip_rate", [0.1, 0.5, 0.9])
def test_a_flip_rate_is_the_share_of_images_that_are_flipped(kind, flip_rate):
    """Left to right the picture grows brighter, whatever window of it is seen."""
    data = encoded(np.broadcast_to(np.arange(0, 200, 5, np.uint8)[None, :, None], (30, 40, 3)).copy())
    view, draws, count = flipping(kind, flip_rate), rng(7), 600
    seen = [view(data, draws)["image"].astype(int) for _ in range(count)]
    flipped = sum(image[:, 0].sum() > image[:, -1].sum() for image in seen)
    assert abs(flipped - flip_rate * count) < 4 * (count * flip_rate * (1 - flip_rate)) ** 0.5


@ALL_KINDS
@given(seed=st.integers(0, 2**32 - 1), flip_rate=st.floats(0.0, 1.0))
def test_a_flip_is_the_last_draw_and_compared_with_its_rate(kind, seed, flip_rate):
    """A rate of 0 draws nothing; any other draws one number, after all others."""
    data, still = encoded(noise(30, 40)), rng(seed)
    plain = flipping(kind, 0.0)(data, still)["image"]
    draws = rng(seed)
    seen = flipping(kind, flip_rate)(data, draws)["image"]
    flipped = flip_rate > 0.0 and still.random() < flip_rate
    np.testing.assert_array_equal(seen, plain[:, ::-1] if flipped else plain)
    assert draws.random() == still.random()


@pytest.mark.parametrize("augment", VIEWS)
def test_an_augmentation_refuses_what_is_no_image(augment):
    with pytest.raises(ImageError):
        augment(b"\xff\xd8\xffnothing", rng())


def test_a_description_tells_augmentations_apart():
    several = [
        RandomResizedCrop(8),
        RandomResizedCrop(9),
        RandomResizedCrop(8, flip_rate=0.0),
        RandomResizedCrop(8, flip_rate=0.1),
        RandomResizedCrop(8, flip_rate=1.0),
        *VIEWS[1:],
        SquashCrop(8, 9, flip_rate=0.5),
        ResizeCrop(8, 10),
        RandomResizedCrop(8, (0.5, 1.0)),
    ]
    assert len({augment.description for augment in several}) == len(several)
    assert RandomResizedCrop(8).description == RandomResizedCrop(8).description


@pytest.mark.parametrize(
    ("view", "description"),
    [
        (
            RandomResizedCrop(64, (0.85, 1.0)),
            "TrainCrop(size=64, area=(0.85, 1.0), ratio=(0.75, 1.3333333333333333), flip=True, kernel='linear')",
        ),
        (
            RandomResizedCrop(256, flip_rate=0.0, kernel="area"),
            "TrainCrop(size=256, area=(0.3, 1.0), ratio=(0.75, 1.3333333333333333), flip=False, kernel='area')",
        ),
        (Squash(16), "Squash(size=16, kernel='area', flip=False)"),
        (CenterCrop(256, flip_rate=0.5), "CenterCrop(size=256, flip=True)"),
        (SquashCrop(256, 384), "SquashCrop(size=256, squashed=384, kernel='area', flip=False)"),
        (ResizeCrop(256, 384), "ResizeCrop(size=256, resized=384, kernel='bicubic', flip=False)"),
    ],
)
def test_descriptions_are_the_words_that_stand_in_checkpoints(view, description):
    """Another word for the same pixels would refuse to resume a run."""
    assert view.description == description
