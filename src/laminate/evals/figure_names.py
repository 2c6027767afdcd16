"""Figures that can be asked for by a name: those of protocols, and those that results bear."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from laminate.evals.protocols import EMBEDDED, PROTOCOLS, Judge, Protocol, Subject, deviations

BOTH: tuple[Subject, ...] = ("reconstructions", "samples")
OF_IMAGES = ("psnr", "ssim", "ssim-cropped", "ssim-uniform", "ssim-vitok", "ms-ssim", "lpips")
OF_SETS = {
    "fd": "fd",
    "kid": "kid",
    "cmmd": "cmmd",
    "precision": "precision and recall",
    "recall": "precision and recall",
    "mind": "mind",
}
"""Measures of sets by the beginnings of their names, which a network's name follows, as protocols call them."""
OF_INCEPTION = {"fid": "fid", "sfid": "sfid", "inception-score": "inception score"}
HIGHER = {*OF_IMAGES, "precision", "recall", "inception-score"} - {"lpips"}
KNOWN = (*PROTOCOLS, *OF_IMAGES, *(f"{one}@{EMBEDDED}" for one in OF_SETS), *OF_INCEPTION)


@dataclass(frozen=True)
class FigureName:
    """What a name asks for. `measure` is the kind of measure as protocols call it, or the name of a figure of images;
    `judge` the network that sees them, `network` its name where that is part of the figure's."""

    name: str
    measure: str
    subjects: tuple[Subject, ...]
    judge: Judge
    network: str = ""
    protocol: Protocol = field(default_factory=lambda: Protocol("", ""))
    """What is asked of how it is measured; nothing where the name is no protocol's."""

    @property
    def highest(self) -> bool | None:
        """Whether the highest figure is the best one; None of a protocol of two figures."""
        if self.name in PROTOCOLS:
            return None if self.measure == "precision and recall" else self.measure == "inception score"
        return self.name.partition("@")[0] in HIGHER

    def off(self, protocol: Protocol) -> list[str]:
        """Where a measurement is not what the name asks for."""
        return deviations(protocol, self.protocol) if self.name in PROTOCOLS else []


M = TypeVar("M")


def figure_name(name: str) -> FigureName:
    """What `name` asks for. Raises ValueError with the nearest names for one that asks for nothing."""
    if name in PROTOCOLS:
        found = PROTOCOLS[name]
        return FigureName(name, found.protocol.measure, found.subjects, found.judge, protocol=found.protocol)
    if name in OF_IMAGES:
        return FigureName(name, name, ("reconstructions",), "lpips" if name == "lpips" else "")
    if name in OF_INCEPTION:
        return FigureName(name, OF_INCEPTION[name], BOTH, "inception", "inception")
    measure, _, network = name.partition("@")
    if measure not in OF_SETS or not network or (measure == "fd" and network == "inception"):
        near = difflib.get_close_matches(name, KNOWN, n=3, cutoff=0.0)
        raise ValueError(f"There is no figure {name!r}. Did you mean {' or '.join(near)}?")
    judge: Judge = {"embedded": "embedded", "inception": "inception", "clip": "clip"}.get(network, "dino")  # pyright: ignore[reportAssignmentType]
    subjects: tuple[Subject, ...] = ("samples",) if measure == "kid" else BOTH
    return FigureName(name, OF_SETS[measure], subjects, judge, network)


def asked_figures(asked: Mapping[str, int], subject: Subject, given: Collection[str]) -> list[FigureName]:
    """What `--evaluate NAME=N` asks for in a training whose figures are about `subject`; `given` are the networks that
    flags name.

    Raises ValueError with how to mend it for a name of nothing, a figure of something else, and one whose network is
    not given.
    """
    return [_able(figure_name(name), subject, given) for name in asked]


def _able(figure: FigureName, subject: Subject, given: Collection[str]) -> FigureName:
    name = figure.name
    if subject not in figure.subjects:
        said = {
            "reconstructions": "held-out images that a tokenizer or a decoder gives back",
            "samples": "images that a generator draws",
            "classes": "how well classes are told, which evaluate.py probe measures",
        }
        takes = said[figure.subjects[0]]
        able = [figure_name(one) for one in KNOWN]
        fit = [one.name for one in able if subject in one.subjects and one.judge in ("", EMBEDDED, *given)]
        near = difflib.get_close_matches(name, fit, n=3, cutoff=0.0)
        raise ValueError(
            f"--evaluate {name}: it is of {takes}, and this training has {said[subject]}: take {' or '.join(near)}."
        )
    if figure.judge == "dino" and "dino" not in given and figure.network:
        ours = f"{name.partition('@')[0]}@{EMBEDDED}"
        raise ValueError(
            f"--evaluate {name}: no network here is called {figure.network!r}. Take {ours}, "
            "or give a vision transformer of that name by --dino."
        )
    if figure.judge not in ("", EMBEDDED, *given):
        raise ValueError(
            f"--evaluate {name}: {_WEIGHTS[figure.judge]} sees the images: give its weights by --{figure.judge}."
        )
    return figure


_WEIGHTS = {
    "inception": "FID's Inception-v3",
    "dino": "a vision transformer",
    "clip": "CLIP's vision transformer",
    "lpips": "LPIPS' network",
}
