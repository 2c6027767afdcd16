"""Sizes of vision transformers, by the letter that experiment names use."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Width, depth and heads of a transformer; `hidden` is the width of a plain MLP, four times the dim."""

    label: str
    dim: int
    depth: int
    heads: int

    @property
    def hidden(self) -> int:
        return 4 * self.dim

    @property
    def matched_hidden(self) -> int:
        return matched_hidden(self.dim)


SIZES: dict[str, Size] = {
    "t": Size("tiny", dim=192, depth=12, heads=3),
    "s": Size("small", dim=384, depth=12, heads=6),
    "b": Size("base", dim=768, depth=12, heads=12),
    "l": Size("large", dim=1024, depth=24, heads=16),
    "xl": Size("extra large", dim=1280, depth=32, heads=16),
}


def matched_hidden(dim: int) -> int:
    """Width of a SwiGLU MLP with as many parameters as a plain MLP of width 4 `dim`: 8 `dim` / 3, rounded."""
    return round(2 / 3 * 4 * dim)
