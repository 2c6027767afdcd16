"""Rebuilds the data sets that ship in `laminate.data`: emoji of ten kinds, and crops of ten photographs.

    npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0
    python experiments/embedded_set.py emoji OUT --packages .

    pip install scikit-image && python experiments/embedded_set.py photographs OUT

Emoji are those of Noto (Google) and Twemoji at 64 x 64, on white, losslessly. An emoji, in both sets and in all tones
of skin, is in one split: nothing of a held-out one is trained on. A photograph is a class of its own; its held-out
crops come from a box that no training crop touches. The result is the same on every run.
"""

import argparse
import dataclasses
import hashlib
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from laminate.data.prepare import Options, prepare

SIDE = 64

# 1. Emoji: kinds that a stranger names at a glance, each of many pictures

VERSION = "16.0.0"
STYLES = {"noto": ("emoji-datasource-google", "google"), "twemoji": ("emoji-datasource-twitter", "twitter")}
EMOJI_LICENCE = "Apache-2.0 (Noto), CC-BY-4.0 (Twemoji); see LICENSES.md"
HELD_OUT = 0.15  # of the emoji of a class
LEAST_HELD_OUT = 3


@dataclasses.dataclass(frozen=True)
class Kind:
    """A class: the emoji of some subcategories of Unicode, or of some names, less those that look like another thing.

    Patterns are of whole short names. `tones` is how many tones of skin of one emoji are taken from each style, `most`
    how many emoji there are at most, so that no class outweighs the others.
    """

    subcategories: tuple[str, ...] = ()
    names: str = ""
    but: str = ""
    tones: int = 1
    most: int | None = None

    def holds(self, emoji: dict) -> bool:
        name = emoji["short_name"]
        wanted = emoji["subcategory"] in self.subcategories or re.fullmatch(self.names, name) is not None
        return wanted and re.fullmatch(self.but, name) is None


FACES = ("affection", "concerned", "glasses", "hand", "neutral-skeptical", "sleepy", "smiling", "tongue")
HANDS = ("fingers-closed", "fingers-open", "fingers-partial", "single-finger")
KINDS = {
    "animal": Kind(
        ("cat-face", "monkey-face"),
        names=r"(bear|boar|cat|cow|dog|fox|frog|hamster|horse|koala|lion|monkey|mouse|panda|pig|polar_bear|rabbit"
        r"|raccoon|tiger|wolf)(_face)?|unicorn_face",
        but="cat2|cow2|dog2",
    ),
    "ball": Kind(
        names=r"(large_)?(red|orange|yellow|green|blue|purple|brown|black|white)_circle|"
        r"8ball|baseball|basketball|crystal_ball|radio_button|soccer|softball|tennis|volleyball|yarn|mirror_ball"
    ),
    "button": Kind(
        ("alphanum", "arrow", "av-symbol", "keycap", "religion", "transport-sign", "zodiac"),
        but=r"iphone|vibration_mode|(high|low)_brightness|back|end|on|soon|top|m|congratulations|secret|accept"
        r"|ideograph_advantage|o|currency_exchange",
    ),
    "clock": Kind(names=r"clock\d+"),
    "face": Kind(
        (*(f"face-{kind}" for kind in FACES), "face-unwell"),
        names="angry|rage|triumph|face_with_symbols_on_mouth|partying_face|disguised_face",
        but="dotted_line_face|face_in_clouds",
    ),
    "flag": Kind(("country-flag",), most=120),
    "hand": Kind(tuple(f"hand-{kind}" for kind in HANDS), names="clap|pray|raised_hands|open_hands", tones=3),
    "heart": Kind(
        ("heart",),
        names="hearts",
        but="love_letter|heart_decoration|two_hearts|revolving_hearts|heavy_heart_exclamation_mark_ornament",
    ),
    "person": Kind(("person", "person-gesture", "person-role")),
    "walker": Kind(
        names=r"(man-|woman-|)?(walking|runner|running|standing_person|standing|kneeling_person|kneeling|golfer|golfing"
        r"|person_with_probing_cane|person_with_white_cane|with_probing_cane)(_facing_right)?"
        r"|(man|woman)_(walking|running|kneeling|with_white_cane)_facing_right"
        r"|(man|woman|person)_with_probing_cane",
        tones=3,
    ),
}


def order(*parts: str) -> str:
    """What sorts things at random, the same on every run."""
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def chosen_emoji(catalogue: list[dict]) -> Iterator[tuple[str, str, str, str]]:
    """(class, split, style, file) of every picture."""
    for name, kind in KINDS.items():
        emoji = sorted(filter(kind.holds, catalogue), key=lambda one: order("split", one["unified"]))
        emoji = emoji[: kind.most]
        held_out = max(LEAST_HELD_OUT, round(HELD_OUT * len(emoji)))
        for number, one in enumerate(emoji):
            split = "validation" if number < held_out else "train"
            tones = [one["image"], *(tone["image"] for tone in one.get("skin_variations", {}).values())]
            for style in STYLES:
                for file in sorted(tones, key=lambda file, style=style: order(style, file))[: kind.tones]:
                    yield name, split, style, file


def on_white(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    page = Image.new("RGBA", picture.size, "white")
    page.alpha_composite(picture)
    return page.convert("RGB")


def emoji(out: Path, packages: Path) -> None:
    archives = {
        style: tarfile.open(packages / f"{package}-{VERSION}.tgz") for style, (package, _) in STYLES.items()
    }
    catalogue = json.load(archives["noto"].extractfile("package/emoji.json"))
    seen: set[bytes] = set()
    with tempfile.TemporaryDirectory() as folder:
        for name, split, style, file in chosen_emoji(catalogue):
            try:
                stored = archives[style].extractfile(f"package/img/{STYLES[style][1]}/{SIDE}/{file}")
            except KeyError:  # a style need not have every emoji
                continue
            picture = on_white(stored.read())
            if picture.tobytes() in seen:  # some islands have the flag of their country
                continue
            seen.add(picture.tobytes())
            target = Path(folder, split, name, f"{style}-{Path(file).stem}.webp")
            target.parent.mkdir(parents=True, exist_ok=True)
            picture.save(target, lossless=True, method=6)
        origin = (
            f"emoji of 64 x 64 on white from the npm packages emoji-datasource-google and -twitter {VERSION}"
        )
        prepare(folder, out, Options(shards=1, name="emoji", licence=EMOJI_LICENCE, origin=origin))


# 2. Photographs: crops of ten

QUALITY = 90
TRAIN, VALIDATION = 160, 32
BLACK = 16
GOLDEN = 1.32471795724474602596  # the plastic number: positions i/g, i/g^2 modulo 1 fill the plane evenly
PHOTOGRAPHS_LICENCE = "CC0 or public domain (coins: no known copyright restrictions); see LICENSES.md"


@dataclasses.dataclass(frozen=True)
class Photograph:
    """A picture, the scales at which it is cut, and the held-out box (left, top, right, bottom; fractions).

    A crop is kept if at most the fraction `darkest` of it is black and its gray levels have the standard deviation
    `contrast`: plain sky and black borders teach nothing.
    """

    file: str
    scales: tuple[float, ...]
    held_out: tuple[float, float, float, float]
    darkest: float = 0.5
    contrast: float = 12.0


PHOTOGRAPHS = {
    "astronaut": Photograph("astronaut.png", (0.7, 0.4), (0.0, 0.55, 0.45, 1.0)),
    "brick": Photograph("brick.png", (0.6, 0.4), (0.62, 0.0, 1.0, 1.0)),
    "cameraman": Photograph("camera.png", (0.7, 0.35), (0.55, 0.0, 1.0, 0.5)),
    "cat": Photograph("chelsea.png", (0.8, 0.5), (0.56, 0.0, 1.0, 0.62)),
    "coffee": Photograph("coffee.png", (0.7, 0.35), (0.62, 0.3, 1.0, 1.0)),
    "coins": Photograph("coins.png", (1.0, 0.75), (0.74, 0.0, 1.0, 1.0)),
    "galaxies": Photograph(
        "hubble_deep_field.jpg", (1.0, 0.75), (0.74, 0.0, 1.0, 1.0), darkest=1.0, contrast=20.0
    ),
    "gravel": Photograph("gravel.png", (1.0, 0.8), (0.7, 0.0, 1.0, 1.0)),
    "retina": Photograph("retina.jpg", (0.25, 0.14), (0.0, 0.6, 1.0, 1.0)),
    "rocket": Photograph("rocket.jpg", (0.8, 0.4), (0.4, 0.52, 0.75, 1.0)),
}


def inside(
    box: tuple[float, float, float, float], left: int, top: int, width: int, height: int
) -> bool | None:
    """Whether a crop lies wholly inside `box`; None where it crosses the edge."""
    x0, y0, x1, y1 = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    if left >= x0 and left + SIDE <= x1 and top >= y0 and top + SIDE <= y1:
        return True
    # The margin keeps the resampling filter of a training crop from reaching into the held-out box.
    apart = left + SIDE + 2 <= x0 or left >= x1 + 2 or top + SIDE + 2 <= y0 or top >= y1 + 2
    return False if apart else None


def crops(picture: Image.Image, photograph: Photograph, held_out: bool) -> Iterator[Image.Image]:
    """Crops of one split, for ever, alternating between the scales."""
    sizes = [(round(picture.width * s), round(picture.height * s)) for s in photograph.scales]
    scaled = [picture.resize(size, Image.Resampling.LANCZOS) for size in sizes]
    turn = 0
    for i in range(1, 200_000):
        page = scaled[turn % len(scaled)]
        left = int((i / GOLDEN) % 1.0 * (page.width - SIDE + 1))
        top = int((i / GOLDEN**2) % 1.0 * (page.height - SIDE + 1))
        if inside(photograph.held_out, left, top, page.width, page.height) is not held_out:
            continue
        crop = page.crop((left, top, left + SIDE, top + SIDE))
        gray = np.asarray(crop.convert("L"), np.float64)
        if gray.std() < photograph.contrast or (gray < BLACK).mean() > photograph.darkest:
            continue
        turn += 1
        yield crop


def photographs(out: Path) -> None:
    import skimage  # needed here alone

    source = Path(skimage.__file__).parent / "data"
    with tempfile.TemporaryDirectory() as folder:
        for name, photograph in PHOTOGRAPHS.items():
            picture = Image.open(source / photograph.file).convert("RGB")
            for split, count in (("train", TRAIN), ("validation", VALIDATION)):
                target = Path(folder, split, name)
                target.mkdir(parents=True)
                chosen = zip(range(count), crops(picture, photograph, split == "validation"), strict=False)
                for number, crop in chosen:
                    crop.save(target / f"{number:03d}.jpg", quality=QUALITY)
                if len(list(target.iterdir())) != count:
                    raise ValueError(f"{name} has too few crops with contrast for the split {split}")
        origin = "64 x 64 crops of ten photographs from scikit-image 0.26, split by region"
        prepare(
            folder, out, Options(shards=1, name="photographs", licence=PHOTOGRAPHS_LICENCE, origin=origin)
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sets = parser.add_subparsers(dest="set", required=True)
    for name in ("emoji", "photographs"):
        one = sets.add_parser(name)
        one.add_argument("out", type=Path, help="the folder that is written")
        if name == "emoji":
            one.add_argument("--packages", type=Path, default=Path(), help="where npm pack left its archives")
    asked = parser.parse_args()
    if asked.set == "emoji":
        emoji(asked.out, asked.packages)
    else:
        photographs(asked.out)


if __name__ == "__main__":
    main()
