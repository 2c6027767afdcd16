"""The files that hold weights: one, or the shards of an index, in a folder."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from etils import epath

from laminate.pretrained.families.autoencoders import DIFFUSERS, PART
from laminate.pretrained.family import CONFIG, MODEL
from laminate.pretrained.pickles import PICKLES, refuse_pickle
from laminate.pretrained.tensors import SUFFIX, WeightsError, open_tensors
from laminate.storage import strict_json

INDEX = ".safetensors.index.json"


@dataclass(frozen=True)
class Files:
    """Where weights lie: their files, the index of a sharded set, and the config beside them."""

    weights: tuple[epath.Path, ...]
    index: epath.Path | None
    config: epath.Path | None


def read(files: Files) -> dict[str, np.ndarray]:
    """The tensors of all files together. Raises WeightsError if two of them hold one name, or the index differs."""
    weights: dict[str, np.ndarray] = {}
    for path in files.weights:
        tensors = open_tensors(path)
        twice = sorted(tensors.keys() & weights.keys())
        if twice:
            raise WeightsError(
                f"{path} holds {twice[0]}, and so does a file before it: they are no shards of one set."
            )
        weights |= tensors
    if files.index is not None:
        promised = set(shard_map(files.index))
        lacking, extra = sorted(promised - weights.keys()), sorted(weights.keys() - promised)
        if lacking or extra:
            raise WeightsError(
                f"{files.index} and its shards differ: {len(lacking)} names are missing ({', '.join(lacking[:3])}), "
                f"{len(extra)} are not in the index ({', '.join(extra[:3])}). Fetch or copy all of them again."
            )
    return weights


def one_file(path: epath.Path) -> Files:
    """The file at `path`, or the shards of the index at `path`."""
    if path.name.endswith(PICKLES):
        refuse_pickle(os.fspath(path))
    beside = path.parent / CONFIG
    config = beside if beside.exists() else None
    if path.name.endswith(INDEX):
        return Files(_shards(path), path, config)
    return Files((path,), None, config)


def in_folder(folder: epath.Path) -> Files:
    """The one file of weights in `folder`, or its sharded set; of diffusers' pipelines, those of its autoencoder."""
    names = sorted(entry.name for entry in folder.iterdir())
    indices = [name for name in names if name.endswith(INDEX)]
    single = [name for name in names if name.endswith(SUFFIX)]
    whole = next((name for name in (MODEL, DIFFUSERS) if name in single), None)
    chosen = indices[0] if whole is None and len(indices) == 1 else whole
    if chosen is None and len(single) == 1 and not indices:
        chosen = single[0]
    if chosen is not None:
        return one_file(folder / chosen)
    part = folder / PART
    if not single and not indices and part.is_dir():
        return in_folder(part)
    if single or indices:
        raise ValueError(
            f"{folder} holds several files of weights: give one of {', '.join(single + indices)}."
        )
    pickled = [name for name in names if name.endswith(PICKLES)]
    if pickled:
        refuse_pickle(os.fspath(folder / pickled[0]))
    raise FileNotFoundError(f"{folder} holds no weights: a file {MODEL} was expected.")


def _shards(index: epath.Path) -> tuple[epath.Path, ...]:
    names = sorted(set(shard_map(index).values()))
    paths = tuple(index.parent / name for name in names)
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(
            f"{index.parent} lacks {len(missing)} of {len(paths)} files that {index.name} names: {', '.join(missing)}."
            " Fetch or copy all of them."
        )
    return paths


def shard_map(index: epath.Path) -> dict[str, str]:
    """File by tensor name. A shard lies in the folder of the index and nowhere else."""
    mapping = read_json(index).get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise WeightsError(f"{index} is damaged: it has no weight_map. Fetch or copy it again.")
    for file in mapping.values():
        if not isinstance(file, str) or "/" in file or not file.endswith(SUFFIX):
            raise WeightsError(f"{index} is damaged: {file!r} is no {SUFFIX} file in its folder.")
    return mapping


def read_json(path: epath.Path) -> dict[str, Any]:
    """The JSON object in a file. Raises WeightsError if there is none."""
    try:
        return strict_json.read_json(path).members()
    except strict_json.JsonError as error:
        raise WeightsError(f"{path} is damaged: {error.within(path)}. Fetch or copy it again.") from error
