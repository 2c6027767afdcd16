"""Weights on the Hugging Face hub: those of a known name, and those of any repository."""

from pathlib import Path

from etils import epath
from huggingface_hub import constants

from laminate.pretrained import download, layouts
from laminate.pretrained.families.autoencoders import DIFFUSERS, PART
from laminate.pretrained.family import CONFIG, MODEL, KnownWeights
from laminate.pretrained.files import INDEX, Files, read, shard_map
from laminate.pretrained.pickles import PickleRefused, conversion
from laminate.pretrained.pins import Pin, cache_folder, read_pins, sha256_of, write_pin
from laminate.pretrained.tensors import SUFFIX, WeightsError

_PUBLISHED = (DIFFUSERS, f"{DIFFUSERS.removesuffix(SUFFIX)}{INDEX}")
_USUAL = (MODEL, f"model{INDEX}", *_PUBLISHED, *(f"{PART}/{name}" for name in _PUBLISHED))


def in_repository(repository: str, revision: str, cache: Path | None) -> Files:
    """The files of a hub repository under the usual names, all of one commit."""
    offline: download.UnreachableError | None = None
    for file in _USUAL:
        try:
            path = download.fetch(
                repository, file, revision=revision, cache=cache, offline=offline is not None
            )
        except download.AbsentError:
            continue
        except download.UnreachableError as error:
            offline = offline or error  # the cache may still hold another of these names
            continue
        except download.FetchError as error:
            raise download.FetchError(f"{repository} is no file or folder here. {error}") from error
        return _of_commit(repository, path, file, cache, offline=offline is not None)
    if offline is not None:
        raise download.UnreachableError(f"{repository} is no file or folder here. {offline}") from offline
    raise FileNotFoundError(
        f"{repository}@{revision} has none of {', '.join(_USUAL)}. If it has a pickle, fetch and convert it: "
        f"`hf download {repository} pytorch_model.bin --local-dir .`, then {conversion('pytorch_model.bin')}"
    )


def _of_commit(repository: str, path: Path, main: str, cache: Path | None, *, offline: bool) -> Files:
    """The file (or index) `main`, at `path` of the cache, with the shards and the config of its folder and commit."""
    folder = main.rpartition("/")[0]

    def fetch(file: str) -> epath.Path:
        commit, name = download.commit_of(path), f"{folder}/{file}" if folder else file
        return epath.Path(download.fetch(repository, name, revision=commit, cache=cache, offline=offline))

    try:
        config = fetch(CONFIG)
    except download.AbsentError:
        config = None
    except download.UnreachableError:
        if not offline and not constants.HF_HUB_OFFLINE:
            raise
        config = None
    found = epath.Path(path)
    if not found.name.endswith(INDEX):
        return Files((found,), None, config)
    return Files(tuple(fetch(name) for name in sorted(set(shard_map(found).values()))), found, config)


def known_files(known: KnownWeights, cache: Path | None) -> Files:
    """The files of known weights: of the pinned commit, and with the pinned hashes."""
    if known.pickled:
        refuse_published_pickle(known)
    folder = cache_folder(cache)
    pin = read_pins(folder).get(known.name)
    paths = _fetch_all(known, pin, cache)
    hashes = {file: sha256_of(path) for file, path in paths.items()}
    wrong = _differing(hashes, known.sha256 if pin is None else pin.sha256, known.name)
    if wrong and pin is None:
        _forget_all(paths)
    if wrong:
        raise WeightsError(wrong)
    weights = tuple(epath.Path(paths[file]) for file in known.files)
    config = None if known.config is None else paths.get(known.config)
    files = Files(weights, None, None if config is None else epath.Path(config))
    if pin is None:
        _first_look(known, files, paths)
        commit = download.commit_of(paths[known.files[0]])
        write_pin(folder, known.name, Pin(known.repository, commit, hashes))
    return files


def _fetch_all(known: KnownWeights, pin: Pin | None, cache: Path | None) -> dict[str, Path]:
    """Paths by file: all of one commit, and the config only if the repository has one."""
    revision = known.revision if pin is None else pin.commit
    paths: dict[str, Path] = {}
    for file in known.files:
        paths[file] = download.fetch(known.repository, file, revision=revision, cache=cache)
        revision = download.commit_of(paths[file])
    if known.config is not None and (pin is None or known.config in pin.sha256):
        try:
            path = download.fetch(known.repository, known.config, revision=revision, cache=cache)
            paths[known.config] = path
        except download.AbsentError:
            pass
    return paths


def _differing(hashes: dict[str, str], stated: dict[str, str], name: str) -> str:
    """What is wrong with the first file that has another hash than stated; "" for none."""
    for file, wanted in stated.items():
        if hashes.get(file) != wanted:
            return (
                f"{file} of {name} is damaged, or not what was pinned: its SHA-256 is {hashes.get(file)}, and "
                f"{wanted} was expected. Fetch it again: python -m laminate.pretrained fetch {name} --again"
            )
    return ""


def forget(known: KnownWeights, *, cache: Path | None = None) -> None:
    """Remove the files of known weights from the cache; what they must hash to stays pinned."""
    pin = read_pins(cache_folder(cache)).get(known.name)
    revision = known.revision if pin is None else pin.commit
    for file in known.files if pin is None else pin.sha256:
        path = download.cached(known.repository, file, revision=revision, cache=cache)
        if path is not None:
            download.forget(path)


def _forget_all(paths: dict[str, Path]) -> None:
    for path in paths.values():
        download.forget(path)


def _first_look(known: KnownWeights, files: Files, paths: dict[str, Path]) -> None:
    """Weights that cannot be used are not pinned, nor kept."""
    try:
        weights = read(files)
        if known.family:
            layouts.require(weights, known.family, known.name, width=known.width, depth=known.depth)
    except ValueError:
        _forget_all(paths)
        raise


def refuse_published_pickle(known: KnownWeights) -> None:
    """Raises PickleRefused with the commands that fetch and convert known weights that are pickled."""
    file = known.files[0]
    get = f"hf download {known.repository} {file} --revision {known.revision} --local-dir ."
    raise PickleRefused(
        f"{known.name} is published as a pickle, which runs code when it is read, so it is not. Convert it once, in "
        f"an environment with torch and safetensors, and give the new file for the name: {get} && {conversion(file)}"
    )
