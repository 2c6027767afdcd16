"""From a name to numbers: known weights, a local file or folder, or a repository of the Hugging Face hub.

    config, weights = load("embedded")                        the network in the package
    config, weights = load("dinov2-b")                        known weights, pinned by hash
    config, weights = load("facebook/dinov2-base@main")       a hub repository, and a revision
    config, weights = load("runs/embedded-vae/tokenizer")  a folder, or one .safetensors file

The weights are read-only views of memory-mapped safetensors files. Nothing else is read: a pickle is refused with the
command that converts it.
"""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from laminate.pretrained import layouts
from laminate.pretrained.files import Files, in_folder, one_file, read, read_json
from laminate.pretrained.pickles import PICKLES
from laminate.pretrained.pins import sha256_of
from laminate.pretrained.registry import KNOWN, find
from laminate.pretrained.tensors import SUFFIX, WeightsError, require_finite

EMBEDDED = "embedded"
"""The name of the frozen network that ships in the package (`experiments/teacher.py`)."""
_PACKAGE = epath.Path(__file__).parent / EMBEDDED
_HUB_ID = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")

_PATHS = ("runs/", "/", "./", "../", "~", "gs://")


class LoadedWeights(NamedTuple):
    """The `config.json` that lies beside the weights (None without one), and the weights by published name."""

    config: dict[str, Any] | None
    weights: dict[str, np.ndarray]


def load(
    source: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    family: str | None = None,
    cache: Path | None = None,
) -> LoadedWeights:
    """The config and the weights that `source` names; see the module for what it can be.

    `sha256` is what the one file must hash to. `family` is the layout (`layouts.LABELS`) that the caller can read.
    Weights of a known name, and those whose config states a hash, are compared with their hash every time.

    Raises:
        ValueError: the name is unknown, or the weights are damaged, truncated, not finite, pickled, or another's.
        OSError: something is not there, cannot be read, or cannot be fetched.
    """
    name = os.fspath(source)
    files = locate(source, cache=cache)
    config = config_of(files)
    _check_hash(files, sha256 or _stated_hash(config))
    weights = read(files)
    if family is not None:
        layouts.require(weights, family, name)
    require_finite(weights, name)
    return LoadedWeights(config, weights)


def locate(source: str | os.PathLike[str], *, cache: Path | None = None) -> Files:
    """The files that `source` names, fetched if they are on the hub and not in the cache. Raises as `load`."""
    from laminate.pretrained import repository  # a local file must not wait for the client

    text = os.fspath(source)
    if isinstance(source, str) and text == EMBEDDED:
        return in_folder(_PACKAGE)
    if isinstance(source, str) and text in KNOWN:
        return repository.known_files(find(text), cache)
    path = epath.Path(os.path.expanduser(text))
    if path.is_dir():
        return in_folder(path)
    if path.exists():
        return one_file(path)
    require_no_path(text)
    matched = _HUB_ID.fullmatch(text)
    if matched is None or text.endswith((SUFFIX, *PICKLES)):
        if isinstance(source, str) and re.fullmatch(r"[\w-]+", text):
            find(text)
        raise FileNotFoundError(f"There is no file or folder {text}.")
    return repository.in_repository(matched["repository"], matched["revision"] or "main", cache)


def require_no_path(text: str) -> None:
    """Raises FileNotFoundError if `text`, which is not there, is written as a path: no hub is asked for it.

    It is one if it begins as one or with `runs/`, or if the folder that it would lie in is there; a revision makes it
    the name of a repository all the same.
    """
    parent = os.path.dirname(text)
    if text.startswith(_PATHS):
        raise FileNotFoundError(f"There is no file or folder {text}.")
    if parent and "@" not in text and os.path.isdir(parent):
        raise FileNotFoundError(
            f"There is no file or folder {text}, and {parent} is a folder here: if it is a repository of the hub, say "
            f"{text}@main."
        )


def config_of(files: Files) -> dict[str, Any] | None:
    """The `config.json` beside the weights; None without one. Raises WeightsError if it is damaged."""
    return None if files.config is None else read_json(files.config)


def _check_hash(files: Files, stated: str | None) -> None:
    if stated is None:
        return
    if len(files.weights) != 1:
        raise ValueError(f"sha256 is of one file, and these weights are {len(files.weights)} files.")
    (path,) = files.weights
    found = sha256_of(path)
    if found != stated.lower():
        raise WeightsError(
            f"{path} is damaged, or another file: its SHA-256 is {found}, and {stated} was expected. Fetch or copy it "
            "again."
        )


def _stated_hash(config: dict[str, Any] | None) -> str | None:
    """The hash that `config.json` states of the weights beside it, as this library writes it."""
    match config:
        case {"weights": {"sha256": str(stated)}}:
            return stated
        case _:
            return None
