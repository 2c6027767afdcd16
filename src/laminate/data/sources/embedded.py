"""The data sets that are shipped inside the package."""

from pathlib import Path

_ROOT = Path(__file__).parent.parent / "embedded"
ANY_SIZE = "embedded:any-size"
"""The photographs and the emoji in many sizes and shapes (`any_size.AnySizes`)."""
_FOLDERS = {
    "embedded": "photographs",
    "embedded:photographs": "photographs",
    "embedded:emoji": "emoji",
}


def location(spec: str) -> Path:
    """The prepared folder of ``embedded`` or ``embedded:NAME``. Raises ValueError for an unknown name."""
    if spec not in _FOLDERS:
        raise ValueError(f"no embedded data set '{spec}': expected one of {', '.join((*_FOLDERS, ANY_SIZE))}")
    return _ROOT / _FOLDERS[spec]
