"""Which data a run was trained on: noted when it is opened, and taken by what is trained on its tokenizer."""

import dataclasses
import json
import os
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from etils import epath

from laminate.data.options import AS_IT_SAYS, SourceOptions
from laminate.data.sources.embedded import DEFAULT, PHOTOGRAPHS, in_full
from laminate.data.sources.mixed import parts_of
from laminate.recipes.families import usual_data
from laminate.recipes.family import Recipe
from laminate.recipes.flags import RunFlags
from laminate.recipes.latent import LoadedTokenizer
from laminate.recipes.run_names import data_label
from laminate.runs.exit_codes import say
from laminate.runs.tokenizer_place import runs_of
from laminate.storage.strict_json import Field, JsonError, read_json
from laminate.storage.writing import write_atomically

FILE = "data.json"


@runtime_checkable
class ReadsData(Protocol):
    """The flags of a command that opens data."""

    @property
    def data(self) -> str | None: ...
    @property
    def reading(self) -> SourceOptions: ...


F = TypeVar("F", bound=ReadsData)
R = TypeVar("R", bound=RunFlags)


@dataclass(frozen=True)
class DataPlace:
    """The data of a run: `--data` as it was given (a path from the root), how they were read, and what they were."""

    source: str
    reading: SourceOptions
    fingerprint: str
    label: str
    """Their name and a short hash of them (`run_names.data_label`)."""
    run: str = ""
    """Where that is noted."""


def place_of(
    flags: RunFlags, recipe: Recipe, tokenizer: LoadedTokenizer | None, fingerprint: str
) -> DataPlace:
    """The data that `flags` name, and what they are called where they are not the usual ones of such a recipe."""
    source = flags.data or DEFAULT
    usual = usual_data(recipe, None if tokenizer is None else tokenizer.recipe)
    return DataPlace(source, flags.reading, fingerprint, data_label(source, fingerprint, usual=usual))


def note_data(folder: epath.Path, read: DataPlace) -> None:
    """Write into a run folder which data it is trained on."""
    parts = (read.source,) if os.path.exists(os.path.expanduser(read.source)) else parts_of(read.source)
    place = ",".join(map(_from_the_root, parts))
    changed = {
        field.name: value
        for field in dataclasses.fields(read.reading)
        if (value := getattr(read.reading, field.name)) != field.default
    }
    noted = {"source": place, "reading": changed, "fingerprint": read.fingerprint, "label": read.label}
    text = json.dumps(noted, indent=2) + "\n"
    if not (folder / FILE).exists() or (folder / FILE).read_text() != text:
        write_atomically(folder / FILE, text)


def _from_the_root(source: str) -> str:
    named = source == "embedded" or source.startswith(("embedded:", "tfds:")) or "://" in source
    return source if named else os.path.abspath(os.path.expanduser(source))


def find_data(source: str) -> DataPlace | None:
    """The data of the run at `source`, or of the run that it lies in; None if none of them says.

    Raises ValueError if what it says is damaged.
    """
    for run in runs_of(source):
        file = epath.Path(run) / FILE
        if file.exists():
            noted = read_json(file)
            source, fingerprint = noted["source"].text(), noted["fingerprint"].text()
            if "label" in noted.members():
                label = noted["label"].text()
            else:  # of a time when the photographs were the usual ones, called `embedded`
                source = PHOTOGRAPHS if source == "embedded" else source
                label = data_label(source, fingerprint, usual=PHOTOGRAPHS)
            return DataPlace(source, _reading(noted["reading"]), fingerprint, label, run)
    return None


def _reading(noted: Field) -> SourceOptions:
    known = {field.name for field in dataclasses.fields(SourceOptions)}
    unknown = sorted(noted.members().keys() - known)
    if unknown:
        raise JsonError(
            f"{noted.file}: reading has a field {unknown[0]!r}, and there are {', '.join(sorted(known))}."
        )
    return SourceOptions(**noted.members())


def data_of(flags: F, *places: str | None, usual: str = DEFAULT) -> tuple[F, DataPlace | None]:
    """`flags` with data, and where those were found if the flags name none: in the first of the runs at `places` that
    says what it was trained on. Without any, the `usual` ones."""
    if flags.data is not None:
        return _replaced(flags, in_full(flags.data), flags.reading), None
    for place in places:
        found = None if place is None else find_data(place)
        if found is not None:
            reading = found.reading if flags.reading == AS_IT_SAYS else flags.reading
            return _replaced(flags, found.source, reading), found
    return _replaced(flags, in_full(usual), flags.reading), None


def said_data_of(flags: F, place: str | None, *, primary: bool) -> F:
    """`data_of` a run, which the host that is `primary` says."""
    made, found = data_of(flags, place)
    if found is not None:
        say(f"data: {found.source}, those of {found.run}", primary=primary)
    return made


def with_data(flags: R, recipe: Recipe, tokenizer: LoadedTokenizer | None) -> tuple[R, DataPlace | None]:
    """`data_of` the run that goes on, or of the tokenizer whose latents are read, else the usual ones of the recipe of
    one that reads none. A preset made for other images of the package than the tokenizer saw takes those.

    Raises ValueError if the tokenizer was trained on others than its usual ones, and nothing says where they are.
    """
    if flags.data is not None or tokenizer is None:
        return data_of(flags, flags.run_dir, usual=usual_data(recipe))
    usual, seen = usual_data(recipe, tokenizer.recipe), usual_data(tokenizer.recipe)
    if usual != seen and not tokenizer.data_label:
        return data_of(flags, flags.run_dir, usual=usual)
    made, found = data_of(flags, flags.run_dir, tokenizer.source, usual=seen)
    if found is None and tokenizer.data_label:
        raise ValueError(
            f"The tokenizer {tokenizer.source} was trained on {tokenizer.data_label}, and no {FILE} beside it says "
            "where that is: give --data."
        )
    return made, found


def _replaced(flags: F, data: str, reading: SourceOptions) -> F:
    return dataclasses.replace(flags, data=data, reading=reading)  # pyright: ignore[reportArgumentType, reportCallIssue, reportUnknownVariableType]
