"""The data sets that are shipped inside the package."""

from pathlib import Path

_ROOT = Path(__file__).parent.parent / "embedded"
_FOLDERS = {"embedded:emoji": "emoji", "embedded:photographs": "photographs"}
DEFAULT = "embedded:emoji"
"""What ``embedded`` stands for."""
PHOTOGRAPHS = "embedded:photographs"
ANY_SIZE = "embedded:any-size"
"""The photographs and the emoji in many sizes and shapes (`any_size.AnySizes`)."""


def in_full(spec: str) -> str:
    """``embedded`` with the name of the set that it stands for; anything else as it is."""
    return DEFAULT if spec == "embedded" else spec


def location(spec: str) -> Path:
    """The prepared folder of ``embedded`` or ``embedded:NAME``. Raises ValueError for an unknown name."""
    if in_full(spec) not in _FOLDERS:
        raise ValueError(
            f"no embedded data set '{spec}': expected one of embedded, {', '.join((*_FOLDERS, ANY_SIZE))}"
        )
    return _ROOT / _FOLDERS[in_full(spec)]
