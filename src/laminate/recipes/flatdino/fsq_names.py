"""Names of FSQ experiments: `parse` and `format` are inverses on canonical names.

`variant-tokens-xy-L<digits>[-hl][-nd][-erN][-drN]`: every digit is the number of values of one channel. The
`L` may be left out (`fast-32-bb-8555`), options stand in any order.
"""

import re
from dataclasses import dataclass

from laminate.recipes.flatdino.grammar import Grammar, Option, split

OPTIONS = (
    Option("hl", "hl", "hl", "hl", "", "half as many layers in encoder and decoder"),
    Option("nd", "nd", "nd", "nd", "", "nested dropout: the first tokens matter most"),
    Option("er", "er([0-9]{1,9})", "erN", "er{}", "4", "disposable registers of the encoder"),
    Option("dr", "dr([0-9]{1,9})", "drN", "dr{}", "4", "disposable registers of the decoder"),
)

STATICS = ("embedded-fsq", "embedded-32-L88888888", "baseline")
_VAE_ONLY = re.compile(r"nokl|[0-9]*kl[0-9]+|klvar[0-9]+|an[0-9]+k|fb[0-9.]+|tanh|il[0-9]+|iw[0-9.]+")
_NO_LEVELS = re.compile("[0-9]*[01][0-9]*")


def _hint(name: str) -> str:
    words = name.split("-")[3:]
    vae_like = any(_VAE_ONLY.fullmatch(word) for word in words[1:]) or any(
        map(_NO_LEVELS.fullmatch, words[:1])
    )
    return "Names with a feature count belong to experiments/vae.py." if vae_like else ""


GRAMMAR = Grammar(
    family="FSQ",
    tail="L?[2-9]+",
    tail_usage="Ldigits",
    tail_sample="L8555",
    options=OPTIONS,
    statics=STATICS,
    hint=_hint,
)


@dataclass(frozen=True)
class FsqName:
    """What the name of an FSQ experiment says."""

    variant: str
    tokens: int
    encoder: str
    decoder: str
    levels: tuple[int, ...]
    half_depth: bool = False
    nested_dropout: bool = False
    encoder_disposable: int = 0
    decoder_disposable: int = 0


def parse(name: str) -> FsqName:
    """What `name` says. Raises `ValueError` with the nearest valid names.

    The fixed names (`STATICS`) are no combination of parts and are refused here.
    """
    parts = split(name, GRAMMAR)
    levels = tuple(int(digit) for digit in parts.tail.removeprefix("L"))
    return FsqName(
        variant=parts.variant,
        tokens=parts.tokens,
        encoder=parts.encoder,
        decoder=parts.decoder,
        levels=levels,
        half_depth="hl" in parts.options,
        nested_dropout="nd" in parts.options,
        encoder_disposable=int(parts.options.get("er", ("0",))[0]),
        decoder_disposable=int(parts.options.get("dr", ("0",))[0]),
    )


def format(spec: FsqName) -> str:
    """The canonical name of `spec`."""
    words = [
        f"{spec.variant}-{spec.tokens}-{spec.encoder}{spec.decoder}-L{''.join(map(str, spec.levels))}",
        "hl" if spec.half_depth else "",
        "nd" if spec.nested_dropout else "",
        f"er{spec.encoder_disposable}" if spec.encoder_disposable else "",
        f"dr{spec.decoder_disposable}" if spec.decoder_disposable else "",
    ]
    return "-".join(word for word in words if word)
