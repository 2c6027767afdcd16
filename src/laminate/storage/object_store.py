"""Places in an object store: whether they can be reached is known before anything starts."""

import importlib.util
import os
import re
from collections.abc import Iterable

_CLIENTS = {"gs": ("gcsfs", "pip install -e '.[gcs]'"), "s3": ("s3fs", "pip install s3fs")}
_STORE = re.compile(r"([a-z0-9]+):/{1,2}.")


class MissingClient(ValueError):
    """A place lies in an object store whose client is not installed."""


def require_client(place: str | os.PathLike[str], *, flag: str = "") -> None:
    """Raises MissingClient, naming the `flag`, if `place` is in an object store and its client is not installed."""
    text = os.fspath(place)
    store = _STORE.match(text)
    client, install = _CLIENTS.get("" if store is None else store[1], ("", ""))
    if client and importlib.util.find_spec(client) is None:
        raise MissingClient(
            f"{flag}{' ' if flag else ''}{text} needs {client}, which is not installed: {install}, or give a folder on "
            "a disk."
        )


def require_clients(places: Iterable[tuple[str, object]]) -> None:
    """`require_client` of every (flag, value) whose value is a place, or several."""
    for flag, value in places:
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, str | os.PathLike):
                require_client(one, flag=flag)
