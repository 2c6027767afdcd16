"""The names of ViTok's families: `Ld4-Ld24/1x16x64` is an autoencoder, `L/256` a generator, `350M-f16x64` names
of published weights.

A name of an autoencoder is `ENCODER[-DECODER]/[TIMEx]PATCHxCHANNELS`; one word stands for both halves.
A word is a letter of the table with modifiers in any order (`Ld4`, `Gw640h10`), or modifiers alone with or without `_`
between them (`w512_d3_h8_m4.0`): `w` width, `d` depth, `h` heads, `m` the width of an MLP in multiples of `w`.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

MLP_FACTOR = 2.67


class Sizes(NamedTuple):
    """One transformer."""

    width: int
    depth: int
    heads: int


LETTERS = {
    "B": Sizes(768, 12, 12),
    "L": Sizes(1024, 24, 16),
    "G": Sizes(1728, 32, 24),
    "T": Sizes(3072, 40, 24),
    "E": Sizes(4096, 48, 32),
}
_OTHERWISE, _GENERATOR_OTHERWISE = Sizes(768, 12, 12), Sizes(1024, 24, 16)

_MODIFIER = re.compile(r"([wdhm])([0-9]+(?:\.[0-9]+)?)_?")
_FIELDS = {"w": "width", "d": "depth", "h": "heads"}


@dataclass(frozen=True)
class Variant:
    """The sizes of an autoencoder. `temporal` is the frames of a token: 1 for images."""

    encoder: Sizes
    decoder: Sizes
    patch: int
    channels: int
    temporal: int = 1
    mlp_factor: float = MLP_FACTOR

    @property
    def patch_dim(self) -> int:
        """Numbers of a patch."""
        return 3 * self.temporal * self.patch**2


@dataclass(frozen=True)
class GeneratorVariant:
    """The sizes of ViTok's generator; `tokens` is what it is trained on."""

    sizes: Sizes
    tokens: int


@dataclass(frozen=True)
class Published:
    """Published weights: their repository on the Hugging Face hub, and the network that they are of."""

    repository: str
    variant: str


PUBLISHED = {
    name: Published(f"philippehansen/ViTok-v2-{name}", f"{halves}/1x{name.split('-f')[1]}")
    for halves, names in (
        ("Ld4-Ld24", ("350M-f16x16", "350M-f16x32", "350M-f16x64")),
        ("Td4-T", ("5B-f16x16", "5B-f16x32", "5B-f16x64", "5B-f32x64", "5B-f32x128", "5B-f32x256")),
    )
    for name in names
}


def parse(name: str) -> Variant:
    """The sizes that a name stands for, that of published weights too.

    Raises ValueError for a name of another form, an unknown letter, or sizes below 1.
    """
    name = PUBLISHED[name].variant if name in PUBLISHED else name
    halves, slash, strides = name.partition("/")
    numbers = strides.split("x")
    if not slash or len(numbers) not in (2, 3) or not all(part.isdecimal() and int(part) for part in numbers):
        raise ValueError(
            f"{name!r} is no ViTok autoencoder: expected ENCODER-DECODER/TIMExPATCHxCHANNELS, such as "
            f"Ld4-Ld24/1x16x64, or published weights: {', '.join(PUBLISHED)}"
        )
    words = halves.split("-")
    if len(words) > 2:
        raise ValueError(f"{name!r} names {len(words)} halves: an autoencoder has an encoder and a decoder")
    encoder, of_encoder = _sizes(words[0], name, _OTHERWISE)
    decoder, of_decoder = _sizes(words[-1], name, _OTHERWISE)
    patch, channels = int(numbers[-2]), int(numbers[-1])
    temporal = int(numbers[0]) if len(numbers) == 3 else 1
    return Variant(encoder, decoder, patch, channels, temporal, max(of_encoder, of_decoder))


def parse_generator(name: str) -> GeneratorVariant:
    """The sizes that a name such as `Gd32h20/512` stands for. Raises ValueError as `parse` does, and for an `m`."""
    word, slash, tokens = name.partition("/")
    if not slash or not tokens.isdecimal() or not int(tokens):
        raise ValueError(f"{name!r} is no ViTok generator: expected NAME/TOKENS, such as L/256")
    sizes, _ = _sizes(word, name, _GENERATOR_OTHERWISE, modifiers="wdh")
    return GeneratorVariant(sizes, int(tokens))


def _sizes(word: str, name: str, otherwise: Sizes, *, modifiers: str = "wdhm") -> tuple[Sizes, float]:
    letter = word[:1] if word[:1] in LETTERS else ""
    rest = word.removeprefix(letter)
    found = _MODIFIER.findall(rest)
    read = "".join(match.group(0) for match in _MODIFIER.finditer(rest))
    keys = [key for key, _ in found]
    whole = all("." not in number for key, number in found if key != "m")
    if not word or read != rest or len(set(keys)) < len(keys) or not set(keys) <= set(modifiers) or not whole:
        raise ValueError(
            f"{word!r} in {name!r} is no size: expected one of {', '.join(LETTERS)} and modifiers such as w512, d4, h8"
            + (", m2.67" if "m" in modifiers else "")
        )
    sizes = LETTERS[letter] if letter else otherwise
    given = {key: number for key, number in found}
    sizes = sizes._replace(**{_FIELDS[key]: int(given[key]) for key in given if key in _FIELDS})
    factor = float(given.get("m", MLP_FACTOR))
    if min(sizes) < 1 or factor <= 0:
        raise ValueError(f"{word!r} in {name!r}: widths, depths and heads must be at least 1, and m above 0")
    return sizes, factor
