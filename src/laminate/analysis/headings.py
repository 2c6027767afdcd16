"""Words over a picture: as many lines as they need, since a title names folders of any length."""

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from laminate.analysis.figures import DPI, INK, MUTED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Weight = Literal["normal", "bold"]
MARGIN = 16
_TITLE, _SAYS = 12.0, 9.0
_TOP, _STEP, _BELOW = 10, 1.75, 12
_HINTED = 1.06
"""How much wider the pixels of small letters may be than their outlines."""
_BREAKS = "/@:_-,"
"""Where a word may be cut that is longer than a line."""


class Heading:
    """A title, and sentences below it that say how to read the picture, for a figure of `width` pixels.

    `height` is the pixels that it takes from the top; `draw` writes it there.
    """

    def __init__(self, title: str, says: str, width: int):
        self.width = width
        room = width - 2 * MARGIN
        self._title = wrapped(title, room, size=_TITLE, weight="bold")
        self._says = wrapped(says, room, size=_SAYS) if says else []
        self.height = round(_TOP + _step(_TITLE) * len(self._title) + _step(_SAYS) * len(self._says) + _BELOW)

    def draw(self, figure: "Figure", height: int) -> None:
        """On `figure`, which is `height` pixels high."""
        y = height - _TOP
        styles: list[tuple[list[str], float, dict[str, Any]]] = [
            (self._title, _TITLE, {"color": INK, "weight": "bold"}),
            (self._says, _SAYS, {"color": MUTED}),
        ]
        for lines, size, style in styles:
            for line in lines:
                y -= _step(size)
                place = (MARGIN / self.width, (y + _step(size) / 2) / height)
                figure.text(*place, line, fontsize=size, va="center", parse_math=False, **style)


def wrapped(text: str, width: float | int, *, size: float | int, weight: Weight = "normal") -> list[str]:
    """Lines of `text` that are at most `width` pixels long, cut between words; within one that fits no line, behind a
    sign that stands between parts of names, or anywhere."""
    lines = [""]
    for word in _plain(text).split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        if text_width(longer, size, weight) <= width:
            lines[-1] = longer
            continue
        first, *more = _cut(word, width, size, weight)
        lines = [*lines, first, *more] if lines[-1] else [first, *more]
    return lines


def fitted(text: str, width: float | int, *, size: float | int, weight: Weight = "normal") -> str:
    """`text` on one line of `width` pixels; of a longer one both ends, for these tell names of places apart."""
    plain = _plain(text)
    if text_width(plain, size, weight) <= width:
        return plain
    kept = len(plain)
    while kept > 2 and text_width(_ends(plain, kept), size, weight) > width:
        kept -= 1
    return _ends(plain, kept)


@cache
def text_width(text: str, size: float | int, weight: Weight = "normal") -> float:
    """Pixels from the first letter to the last, at most."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font = FontProperties(weight=weight, size=size)
    return TextToPath().get_text_width_height_descent(text, font, ismath=False)[0] * _HINTED * DPI / 72


def _plain(text: str) -> str:
    """On one line, without signs that cannot be drawn."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _ends(text: str, kept: int) -> str:
    return f"{text[: kept // 3]}…{text[-(kept - kept // 3) :]}"


def _cut(word: str, width: float | int, size: float | int, weight: Weight) -> list[str]:
    parts: list[str] = []
    while text_width(word, size, weight) > width and len(word) > 1:
        count = max(
            1, next(n for n in range(len(word) - 1, -1, -1) if text_width(word[:n], size, weight) <= width)
        )
        good = [place for place in range(1, count + 1) if word[place - 1] in _BREAKS]
        count = good[-1] if good else count
        parts.append(word[:count])
        word = word[count:]
    return [*parts, word] if word else parts


def _step(size: float | int) -> float:
    """Pixels from one line to the next."""
    return _STEP * size
