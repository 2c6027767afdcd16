"""Where the tokenizer of a run lies: noted when the run is opened, and looked for when its latents are decoded."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from etils import epath

from laminate.recipes.flags import RunFlags
from laminate.recipes.latent import LoadedTokenizer, TokenizerId
from laminate.recipes.network import AttentionKernel
from laminate.runs.find_checkpoint import run_of
from laminate.runs.load_tokenizer import load_tokenizer
from laminate.runs.pretrained import exported
from laminate.storage.strict_json import JsonError, read_json
from laminate.storage.writing import is_local, write_atomically

FILE = "tokenizer.json"


def note_tokenizer(folder: epath.Path, tokenizer: LoadedTokenizer) -> None:
    """Write into a run folder which tokenizer it reads and where that lies, seen from the folder if both are local."""
    place, there = tokenizer.source, Path(os.path.expanduser(tokenizer.source))
    if is_local(folder) and there.exists():
        place = os.path.relpath(there.resolve(), Path(os.fspath(folder)).resolve())
        place = place if place.startswith(".") else f"./{place}"  # a path, and no repository of a hub
    noted = {"name": tokenizer.identity.name, "sha256": tokenizer.identity.sha256, "place": place}
    write_atomically(folder / FILE, json.dumps(noted, indent=2) + "\n")


def noted_place(run: str) -> str | None:
    """Where the tokenizer lies that the run in this folder reads, as it was noted; None if it reads none."""
    noted = _read(epath.Path(run) / FILE)
    return None if noted is None else _seen_from(run, str(noted["place"]))


def _seen_from(run: str, place: str) -> str:
    """A noted place that may be relative to the folder of the run."""
    linked = is_local(run) and os.path.realpath(run) != os.path.abspath(run)
    here = os.path.realpath(run) if linked else run  # `..` of a link is not that of its target
    there = os.path.normpath(os.path.join(here, place))
    return there if os.path.exists(there) or place.startswith(".") else place


def tokenizer_of_run(flags: RunFlags, recipe: Any) -> str | None:
    """Where the tokenizer lies that the run in `--run-dir` reads, or the run whose recipe `--recipe` names; None if
    neither says.

    Raises FileNotFoundError if the one that they say is not there.
    """
    for place in (os.fspath(one) for one in (flags.run_dir, flags.recipe) if one is not None):
        noted = _read(epath.Path(place) / FILE)
        identity = recipe.tokenizer
        if noted is not None:
            identity = TokenizerId(str(noted.get("name")), str(noted.get("sha256")))
        if identity is not None:
            return find_tokenizer(place, identity, codes=True).source
    return None


def find_tokenizer(
    source: str,
    identity: TokenizerId,
    *,
    codes: bool = False,
    kernel: AttentionKernel = "xla",
    image_size: int | None = None,
) -> LoadedTokenizer:
    """The tokenizer `identity` of what was trained in `source`: where its run noted it, else beside the run, else in
    `runs` by name. Each is taken only if its weights have the right hash.

    Raises FileNotFoundError with the places that were looked at, and what is wrong with each.
    """
    looked: list[str] = []
    for place in dict.fromkeys(_places(source, identity)):
        try:
            found = load_tokenizer(place, codes=codes, kernel=kernel, image_size=image_size)
        except FileNotFoundError:
            looked.append(f"{place} is not there")
            continue
        except (ValueError, OSError) as error:
            looked.append(f"{place} cannot be used ({error})")
            continue
        if found.identity.sha256 == identity.sha256:
            return found
        looked.append(f"{place} is another one, with the hash {found.identity.sha256[:12]}")
    raise FileNotFoundError(
        f"The tokenizer of {source}, {identity.name} with the hash {identity.sha256[:12]}, is not where it was looked "
        f"for: {'; '.join(looked)}. Give --tokenizer."
    )


def _places(source: str, identity: TokenizerId) -> Iterator[str]:
    for run in runs_of(source):
        noted = _read(epath.Path(run) / FILE)
        if noted is not None and noted.get("sha256") == identity.sha256:
            yield _seen_from(run, str(noted["place"]))
    for run in runs_of(source):
        yield os.path.join(os.path.dirname(os.path.normpath(run)) or ".", identity.name)
    yield f"runs/{identity.name}"


def runs_of(source: str) -> tuple[str, ...]:
    """The run folders that `source` may be, or may lie in."""
    run, _ = run_of(os.path.expanduser(source))
    inside = os.path.normpath(run)
    return (inside, os.path.dirname(inside) or ".") if exported(run) == run else (inside,)


def _read(file: epath.Path) -> dict[str, Any] | None:
    """What a run noted; None if it noted nothing that can be read."""
    try:
        noted = read_json(file)
        noted["place"].text()
    except (OSError, JsonError):
        return None
    return noted.members()
