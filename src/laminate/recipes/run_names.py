"""Names that tell runs of one recipe on different data apart: what stands in folders, titles, cards and messages."""

import os
import re
from pathlib import PurePath

from laminate.recipes.flags import EMBEDDED, EMBEDDED_DEFAULTS

_LONGEST = 24
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def data_label(source: str, fingerprint: str) -> str:
    """The data's name and a short hash of them, `photos-3fa9c1`; nothing for the embedded images that a
    training takes by default.

    The name is the last part of the path, or the name of the data set; `fingerprint` is that of the training images.
    """
    return "" if source in EMBEDDED_DEFAULTS else f"{_name_of(source)}-{fingerprint[:6]}"


def run_name(name: str, label: str) -> str:
    """The name of a recipe trained on data of this label."""
    return f"{name}-on-{label}" if label else name


def is_label(text: object) -> bool:
    """Whether `text`, which somebody else may have written, can stand in the name of a folder."""
    return isinstance(text, str) and _LABEL.fullmatch(text) is not None


def _name_of(source: str) -> str:
    kind, _, rest = source.partition(":")
    if kind in (EMBEDDED, "tfds"):
        name = rest.partition("@")[0]
    else:
        written = os.path.abspath(os.path.expanduser(source))
        before_a_glob = re.split(r"[*?\[{]", written, maxsplit=1)[0]
        name = re.sub(r"\.(tar|parquet)$", "", PurePath(before_a_glob).name)
    words = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-._")[:_LONGEST].rstrip("-._")
    return words or "data"
