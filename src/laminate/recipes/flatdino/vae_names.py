"""Names of β-VAE experiments: `parse` and `format` are inverses on canonical names.

`variant-tokens-xy-features[-hl][-nokl][-[M]klN][-anNk][-fbX][-klvarN][-erN][-drN][-tanh][-ilN][-iwX]`,
options in any order. The canonical name has them in this order, without those that change nothing.
"""

from dataclasses import dataclass
from decimal import Decimal

from laminate.recipes.flatdino.grammar import Grammar, Option, Parts, split

_NUMBER = r"([0-9]{1,9}\.?[0-9]{0,9}|\.[0-9]{1,9})"
_EXPONENT = "0*([0-9]{1,2})"
_COUNT = "([0-9]{1,9})"

OPTIONS = (
    Option("hl", "hl", "hl", "hl", "", "half as many layers in encoder and decoder"),
    Option("nokl", "nokl", "nokl", "nokl", "", "no KL term (weight 0)"),
    Option(
        "kl", "([0-9]{0,9})kl" + _EXPONENT, "[M]klN", "kl{}", "7", "KL weight M x 10^-N; M = 25 means 2.5"
    ),
    Option("an", "an" + _COUNT + "k", "anNk", "an{}k", "5", "KL weight grows over N thousand steps"),
    Option("fb", "fb" + _NUMBER, "fbX", "fb{}", "0.1", "free bits: KL below X nats per number costs no more"),
    Option(
        "klvar",
        "klvar" + _EXPONENT,
        "klvarN",
        "klvar{}",
        "3",
        "KL variance over tokens, 10^-N of the KL weight",
    ),
    Option("er", "er" + _COUNT, "erN", "er{}", "4", "disposable registers of the encoder"),
    Option("dr", "dr" + _COUNT, "drN", "dr{}", "4", "disposable registers of the decoder"),
    Option("tanh", "tanh", "tanh", "tanh", "", "latents squashed into (-1, 1)"),
    Option("il", "il" + _COUNT, "ilN", "il{}", "4", "teacher layer N is reconstructed as well"),
    Option("iw", "iw" + _NUMBER, "iwX", "iw{}", "0.5", "weight of that layer; 05 means 0.5"),
)

STATICS = ("embedded-vae", "embedded-16-128", "photos-128", "photos-256", "baseline", "fast-32", "fast-32-64")


def _hint(name: str) -> str:
    tail = name.split("-")[3:4]
    return "Names with L and levels belong to experiments/fsq.py." if tail and tail[0].startswith("L") else ""


GRAMMAR = Grammar(
    family="VAE",
    tail="0*[1-9][0-9]{0,8}",
    tail_usage="features",
    tail_sample="128",
    options=OPTIONS,
    statics=STATICS,
    hint=_hint,
)


@dataclass(frozen=True)
class VaeName:
    """What the name of a β-VAE experiment says; None and the defaults are what it leaves out."""

    variant: str
    tokens: int
    encoder: str
    decoder: str
    latent_dim: int
    half_depth: bool = False
    no_kl: bool = False
    kl_mantissa: str = ""
    """Digits of the mantissa without trailing zeros; empty for 1."""
    kl_exponent: int | None = None
    anneal_thousands: int | None = None
    free_bits: float | None = None
    kl_variance_exponent: int | None = None
    encoder_disposable: int = 0
    decoder_disposable: int = 0
    tanh: bool = False
    intermediate_layer: int | None = None
    intermediate_weight: float = 1.0

    @property
    def kl_weight(self) -> float | None:
        """The weight that `-nokl` or `-MklN` asks for; None where the name leaves it to the normalisation."""
        if self.no_kl:
            return 0.0
        if self.kl_exponent is None:
            return None
        digits = self.kl_mantissa or "1"
        return float(f"{digits[0]}.{digits[1:] or '0'}") * 10**-self.kl_exponent

    @property
    def kl_variance_weight(self) -> float | None:
        return None if self.kl_variance_exponent is None else 10.0**-self.kl_variance_exponent

    @property
    def anneal_steps(self) -> int | None:
        return None if self.anneal_thousands is None else 1000 * self.anneal_thousands


def parse(name: str) -> VaeName:
    """What `name` says. Raises `ValueError` with the nearest valid names.

    The fixed names (`STATICS`) are no combination of parts and are refused here.
    """
    return _read(split(name, GRAMMAR))


def _read(parts: Parts) -> VaeName:
    options = parts.options
    mantissa, exponent = options.get("kl", ("", None))
    weight = options.get("iw")
    return VaeName(
        variant=parts.variant,
        tokens=parts.tokens,
        encoder=parts.encoder,
        decoder=parts.decoder,
        latent_dim=int(parts.tail),
        half_depth="hl" in options,
        no_kl="nokl" in options,
        kl_mantissa=_canonical_mantissa(mantissa),
        kl_exponent=None if exponent is None else int(exponent),
        anneal_thousands=_integer(options.get("an")),
        free_bits=float(options["fb"][0]) if "fb" in options else None,
        kl_variance_exponent=_integer(options.get("klvar")),
        encoder_disposable=_integer(options.get("er")) or 0,
        decoder_disposable=_integer(options.get("dr")) or 0,
        tanh="tanh" in options,
        intermediate_layer=_integer(options.get("il")),
        intermediate_weight=_weight(weight[0]) if weight else 1.0,
    )


def format(spec: VaeName) -> str:
    """The canonical name of `spec`."""
    kl = None if spec.kl_exponent is None else f"{spec.kl_mantissa}kl{spec.kl_exponent}"
    words = [
        f"{spec.variant}-{spec.tokens}-{spec.encoder}{spec.decoder}-{spec.latent_dim}",
        "hl" if spec.half_depth else None,
        "nokl" if spec.no_kl else None,
        kl,
        None if spec.anneal_thousands is None else f"an{spec.anneal_thousands}k",
        None if spec.free_bits is None else f"fb{_plain(spec.free_bits)}",
        None if spec.kl_variance_exponent is None else f"klvar{spec.kl_variance_exponent}",
        f"er{spec.encoder_disposable}" if spec.encoder_disposable else None,
        f"dr{spec.decoder_disposable}" if spec.decoder_disposable else None,
        "tanh" if spec.tanh else None,
        None if spec.intermediate_layer is None else f"il{spec.intermediate_layer}",
        None if spec.intermediate_weight == 1.0 else f"iw{_plain(spec.intermediate_weight)}",
    ]
    return "-".join(word for word in words if word is not None)


def _canonical_mantissa(digits: str) -> str:
    significant = digits.rstrip("0")
    if digits and not significant:
        return "0"
    return "" if significant == "1" else significant


def _integer(groups: tuple[str, ...] | None) -> int | None:
    return int(groups[0]) if groups else None


def _weight(digits: str) -> float:
    """`05` is 0.5 and `005` is 0.05; anything else is read as it stands."""
    short = "." not in digits and len(digits) > 1 and digits.startswith("0")
    return float(f"0.{digits[1:]}" if short else digits)


def _plain(value: float) -> str:
    """`value` without an exponent, `0.5` or `2`."""
    text = f"{Decimal(repr(value)):f}"
    return text.removesuffix(".0")
