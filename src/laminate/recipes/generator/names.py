"""Names of generator experiments: `parse` and `format` are inverses on canonical names.

`dit{s|b|l|xl}[-dh][-kappaF][-xpred][-norm][-sphere]`, options in any order. The size is LightningDiT's; the shape of
the latents comes from the tokenizer. `L/256` is ViTok's generator, in the grammar of `vitok.names`; `L-256` says the
same, as the names of folders have to.
"""

import difflib
import itertools
import re
from dataclasses import dataclass
from decimal import Decimal

from laminate.recipes.embedded import GENERATOR_NAME
from laminate.recipes.family import Rows
from laminate.recipes.vitok_names import GeneratorVariant, parse_generator

_SIZES = ("s", "b", "l", "xl")
_KAPPA = re.compile(r"kappa([0-9]{1,9}\.?[0-9]{0,9}|\.[0-9]{1,9})")
_SHARED = re.compile(r"(?P<word>(?:[A-Z]|[wdh][0-9])[0-9a-z_]*)[-/](?P<tokens>[0-9]+)")
USAGE = "dit{s|b|l|xl}[-dh][-kappaF][-xpred][-norm][-sphere], or ViTok's, such as L/256"

MEANINGS = {
    "dh": "DiT^DH: a wide, shallow head behind the transformer",
    "kappaF": "time shift F in training and sampling; without it, sqrt(numbers of the latent / 4096)",
    "xpred": "the network predicts the data instead of the velocity",
    "norm": "latents are normalised by their measured mean and variance",
    "sphere": "the directions of tokens alone, along arcs of great circles, in float32 (HAE)",
}


@dataclass(frozen=True)
class GeneratorName:
    """What the name of a generator says."""

    size: str
    head: bool = False
    kappa: float | None = None
    predict_data: bool = False
    normalize: bool = False
    sphere: bool = False


def parse(name: str) -> GeneratorName:
    """What `name` says. Raises `ValueError` with the wrong part and the nearest valid names."""
    first, *words = name.split("-")
    size = first.removeprefix("dit")
    if not first.startswith("dit") or size not in _SIZES:
        raise ValueError(_refusal(name, f"{first!r} is not dit and a size"))
    found: dict[str, float] = {}
    for word in words:
        kappa = _KAPPA.fullmatch(word)
        option = "kappaF" if kappa else word
        if option not in MEANINGS or (word == "kappaF" and not kappa):
            raise ValueError(_refusal(name, f"there is no option {word!r}"))
        if option in found:
            raise ValueError(_refusal(name, f"option {word!r} is given twice"))
        found[option] = float(kappa[1]) if kappa else 1.0
    if found.get("kappaF", 1.0) <= 0.0:
        raise ValueError(_refusal(name, "the time shift must be greater than 0"))
    return GeneratorName(
        size, "dh" in found, found.get("kappaF"), "xpred" in found, "norm" in found, "sphere" in found
    )


def parse_shared(name: str) -> GeneratorVariant | None:
    """The sizes of ViTok's generator that `name` stands for; None if it is no such name.

    Raises ValueError for sizes that cannot be.
    """
    found = _SHARED.fullmatch(name)
    return None if found is None else parse_generator(f"{found['word']}/{found['tokens']}")


def format(spec: GeneratorName) -> str:
    """The canonical name of `spec`."""
    words = [
        f"dit{spec.size}",
        "dh" if spec.head else None,
        None if spec.kappa is None else f"kappa{_plain(spec.kappa)}",
        "xpred" if spec.predict_data else None,
        "norm" if spec.normalize else None,
        "sphere" if spec.sphere else None,
    ]
    return "-".join(word for word in words if word is not None)


def meanings(spec: GeneratorName) -> tuple[tuple[str, str], ...]:
    """(part of the name, meaning), from left to right."""
    kappa = "" if spec.kappa is None else f"kappa{_plain(spec.kappa)}"
    said = {
        "dh": spec.head,
        kappa: spec.kappa is not None,
        "xpred": spec.predict_data,
        "norm": spec.normalize,
        "sphere": spec.sphere,
    }
    options = [word for word, is_said in said.items() if is_said]
    keys = ["kappaF" if word == kappa else word for word in options]
    size = {"s": "small", "b": "base", "l": "large", "xl": "extra large"}[spec.size]
    first = (f"dit{spec.size}", f"LightningDiT, {size}")
    return (first, *((word, MEANINGS[key]) for word, key in zip(options, keys, strict=True)))


def rows(name: str) -> Rows:
    """(part of the name, meaning, value) of either grammar, from left to right."""
    shared = parse_shared(name)
    if shared is None:
        return meanings(parse(name))
    sizes = shared.sizes
    return (
        (
            re.split("[-/]", name)[0],
            "ViTok's generator",
            f"{sizes.width} wide, {sizes.depth} layers, {sizes.heads} heads",
        ),
        (str(shared.tokens), "tokens, until a tokenizer says how many", f"{shared.tokens}"),
    )


def _plain(value: float) -> str:
    """`value` without an exponent, `0.5` or `2`."""
    return f"{Decimal(repr(value)):f}".removesuffix(".0")


def nearest(name: str) -> list[str]:
    """The three valid names nearest to `name`; the embedded default, if it is like that."""
    flags = itertools.product(_SIZES, (False, True), (None, 3.0), (False, True), (False, True), (False, True))
    known, meant = [format(GeneratorName(*choice)) for choice in flags], name.lower().replace("_", "-")
    fixed = difflib.get_close_matches(meant, [GENERATOR_NAME], cutoff=0.6)
    return [*fixed, *difflib.get_close_matches(meant, known, n=3, cutoff=0.0)][:3]


def _refusal(name: str, reason: str) -> str:
    return (
        f"Unknown generator experiment {name!r}: {reason}. Did you mean {' or '.join(nearest(name))}? Names are "
        f"{USAGE}, F a time shift such as 3; or {GENERATOR_NAME}."
    )
