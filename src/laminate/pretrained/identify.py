"""Which vision transformer a configuration and weights are: by what was asked for, by themselves, or by both."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from laminate.pretrained import layouts
from laminate.pretrained.layouts import size_text
from laminate.pretrained.published import PUBLISHED, READERS, Published
from laminate.pretrained.tensors import WeightsError, weights_hash
from laminate.pretrained.vit_reader import VitReader

_BY_TYPE = {kind: family for family in READERS.values() for kind in family.model_types}
_USUAL_GRID = 16  # patches along a side, for a network that does not say what images it was made for


def identify(
    config: Mapping[str, Any] | None,
    weights: Mapping[str, np.ndarray],
    where: str,
    *,
    asked: str | None = None,
) -> Published:
    """The network that `weights` (or their shapes, as arrays) and the `config.json` beside them are of.

    `asked` is the name, in `PUBLISHED`, of the network that they must be; without a config, its sizes are taken.
    Without either, the sizes must be those of a published network.

    Raises WeightsError: another family, another size, or no vision transformer that is read here.
    """
    if asked is not None:
        wanted = PUBLISHED[asked]
        width, depth = wanted.size
        layouts.require(weights, wanted.family.name, where, title=wanted.title, width=width, depth=depth)
        return wanted if config is None else dataclasses.replace(wanted, config=dict(config))
    found = layouts.guess({name: array.shape for name, array in weights.items()})
    family = described_family(config) or READERS.get("" if found is None else found.layout.reader)
    if family is None:
        raise WeightsError(
            f"{where} holds {found or 'names of no known layout'}; a teacher is one of "
            f"{', '.join(one.title for one in READERS.values())}."
        )
    if config is not None:
        one = of_config(config, family)
    else:
        assert found is not None  # it named the family
        sizes = (family.name, found.width, found.depth)
        one = next((one for one in PUBLISHED.values() if (one.family.name, *one.size) == sizes), None)
        if one is None:
            raise WeightsError(
                f"{where} looks like {found}, of no published size, and there is no config.json beside it that "
                "says the rest: put the one it was published with there."
            )
    width, depth = one.size
    layouts.require(weights, family.name, where, title=one.title, width=width, depth=depth)
    return one


def described_family(config: Mapping[str, Any] | None) -> VitReader | None:
    """The family that a `config.json` says it is of; None if it says nothing, or nothing known here."""
    if config is None:
        return None
    kinds = [config.get("model_type")]
    kinds += [inside.get("model_type") for inside in config.values() if isinstance(inside, dict)]
    return next((_BY_TYPE[kind] for kind in kinds if isinstance(kind, str) and kind in _BY_TYPE), None)


def of_config(config: Mapping[str, Any], family: VitReader) -> Published:
    """The network of a `config.json`, with the images that it usually sees.

    Raises ValueError for a configuration that is not understood.
    """
    facts = family.facts(config)
    described = Published(family.title, family, dict(config), facts.get("image_size", 0))
    for one in PUBLISHED.values():
        if (one.family.name, one.patch, *one.size) == (family.name, described.patch, *described.size):
            return dataclasses.replace(one, config=dict(config))
    title = family.title + size_text(*described.size)
    usual = described.image_size // described.patch * described.patch
    return dataclasses.replace(described, title=title, image_size=usual or _USUAL_GRID * described.patch)


def identity(one: Published, weights: Mapping[str, np.ndarray]) -> str:
    """What tells two networks apart: the SHA-256 of all that decides what they compute, which the names of files and
    the cut into shards do not."""
    facts = json.dumps([one.family.name, one.family.facts(one.config)], sort_keys=True)
    return hashlib.sha256(f"{facts}{weights_hash(weights)}".encode()).hexdigest()


def split_name(text: str) -> tuple[str | None, str]:
    """(name of the network that is asked for, where its weights are) of `NAME`, `NAME=WHERE` and `WHERE`."""
    name, equals, where = text.partition("=")
    if equals and name in PUBLISHED:
        return name, where
    return (text, text) if text in PUBLISHED else (None, text)
