"""Saving a trained model for others, and loading one from a folder, a run or the hub.

A folder holds `model.safetensors` (`train.export`: stable names, statistics included), `config.json` (version of the
format, the full recipe, the hash of the weights) and `README.md` (the model card).
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from laminate import __version__
from laminate.parallel.platforms import skip_missing_tpu
from laminate.pretrained import hub, layouts
from laminate.pretrained.family import CONFIG, MODEL
from laminate.pretrained.registry import KNOWN
from laminate.pretrained.tensors import require_finite
from laminate.recipes.families import PUBLISHED, family_of, from_tree, published_recipe, to_tree
from laminate.recipes.family import Described
from laminate.recipes.modules import model_shapes
from laminate.recipes.network import AttentionKernel, Compute, Remat
from laminate.recipes.run_names import is_label, run_name
from laminate.runs.devices import require_kernel
from laminate.runs.model_card import CARD, Card, card_text
from laminate.storage.object_store import require_client
from laminate.storage.writing import UnwritableError, cause, make_folder, write_atomically
from laminate.train.durable import absolute
from laminate.train.export import FOLDERS, fill, named_weights, save_weights, widened

FORMAT = 1
"""Version of such a folder: an earlier one is read, a later one is refused."""
_NO_CARD = Card()


@dataclass(frozen=True)
class Pretrained:
    """A saved model, the recipe that it is built by, and all that its `config.json` says."""

    model: Any
    """A pytree of arrays (`equinox.Module`)."""
    recipe: Any
    config: dict[str, Any]

    @property
    def data_label(self) -> str:
        """The name and a short hash of the data that it was trained on; nothing for the usual ones of the recipe."""
        data = self.config.get("data")
        label = data.get("label") if isinstance(data, dict) else None
        return f"{label}" if is_label(label) else ""

    @property
    def name(self) -> str:
        """The name of its training: that of the recipe, and of data other than its usual ones."""
        return run_name(self.recipe.name, self.data_label)


@runtime_checkable
class HasNetwork(Protocol):
    """What `from_pretrained` gives: a trained network, and the recipe that describes it."""

    @property
    def model(self) -> eqx.Module: ...
    @property
    def recipe(self) -> Described: ...


def save_pretrained(
    model: eqx.Module | HasNetwork,
    folder: str | os.PathLike[str],
    *,
    recipe: Described | None = None,
    card: Card = _NO_CARD,
) -> epath.Path:
    """Write `model`, which `recipe` describes, into `folder` for others to load; the folder's path.

    `model` is a trained network, or what `from_pretrained` or `load_pretrained` gave, which has its recipe with it.

    Each file is whole or not there. `config.json`, which names the hash of the weights, comes last, so what was
    interrupted is refused by whoever reads it. Other files in the folder stay.

    Raises:
        ValueError: the recipe describes another model, or an array holds a NaN or an infinity.
        UnwritableError: the folder cannot be written.
    """
    if isinstance(model, HasNetwork):
        model, recipe = model.model, recipe or model.recipe
    if recipe is None:
        raise ValueError(
            f"A {type(model).__name__} does not say how it is built: save_pretrained(model, folder, recipe=...)."
        )
    arrays = {name: np.asarray(leaf) for name, leaf in named_weights(model).items()}
    fill(model_shapes(recipe), widened(arrays), f"The recipe {recipe.name!r}")
    require_finite(arrays, f"The model of {recipe.name!r} is not saved")
    place = absolute(folder)
    try:
        make_folder(place)
        header = {"laminate": json.dumps({"format": FORMAT, "family": family_of(recipe).tag})}
        digest = save_weights(place / MODEL, model, metadata=header)
        write_atomically(place / CARD, card_text(recipe, card))
        config = _config(recipe, card, digest, sum(array.size for array in arrays.values()))
        write_atomically(place / CONFIG, json.dumps(config, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise UnwritableError(
            f"The model cannot be saved in {place}: {cause(error)}. Choose another folder, or make room."
        ) from error
    return place


def load_pretrained(
    source: str | os.PathLike[str],
    *,
    kernel: AttentionKernel = "xla",
    remat: Remat = "none",
    cache: Path | None = None,
) -> Pretrained:
    """What `save_pretrained` wrote, of any kind: the trained network alone, its recipe, and what its config says.

    Of a tokenizer that is the network between features and latents, for which `from_pretrained` gives more: images in,
    images out. Of a generator it is the network that flow matching trained, `network(x, t, label)`, and of an image
    decoder the one from latents to pixels, `network(latents)`.

    Args:
        source: A folder that `save_pretrained` wrote, the folder of a finished run, a repository
            ORGANISATION/NAME[@REVISION] of the Hugging Face hub, or the name of published weights such as 350M-f16x64.
        kernel: How attention is computed.
        remat: What a backward pass computes again.
        cache: Where files of the hub are kept; the hub's own place by default.

    Raises:
        ValueError: the weights are damaged, of another format, or do not fit their recipe, or the kernel is not for
            these devices.
        OSError: there is nothing of that name, or it cannot be fetched.
    """
    skip_missing_tpu()
    require_kernel(kernel)
    where = os.fspath(source)
    recipe = published(where)
    if recipe is not None:
        config, weights = None, named_weights(family_of(recipe).modules().published(recipe, cache=cache))
    else:
        config, weights = hub.load(exported(source), cache=cache)
        foreign = _foreign(config, weights, where)
        if foreign is not None:
            return foreign
        recipe = _recipe(config, weights, where)
    filled = fill(model_shapes(recipe, Compute(kernel=kernel, remat=remat)), widened(weights), where)
    # Copies: a module must not change when the mapped file is written to.
    return Pretrained(jax.tree.map(jnp.array, filled), recipe, config or {})


def published(where: str) -> Any | None:
    """The recipe of published weights called `where`; None if it is no such name, or if something of that name is
    here."""
    return None if epath.Path(os.path.expanduser(where)).exists() else published_recipe(where)


def exported(source: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """`source`, or the folder in it that a finished training leaves its weights in."""
    require_client(source)
    place = epath.Path(os.path.expanduser(os.fspath(source)))
    inside = [place / name for name in FOLDERS if (place / name / CONFIG).exists()]
    return os.fspath(inside[0]) if inside else source


def require_there(source: str) -> None:
    """Raises FileNotFoundError if `source` is written as a path (`hub.require_no_path`), and nothing is there."""
    require_client(source)
    if source not in KNOWN and not epath.Path(os.path.expanduser(source)).exists():
        hub.require_no_path(source)


def recipe_at(where: str) -> Any:
    """The recipe of the model at `where`, without its weights; None if this library did not write it.

    Raises ValueError for a recipe that cannot be read, and OSError if nothing is there.
    """
    found = published(where)
    if found is not None:
        return found
    config = hub.config_of(hub.locate(exported(where)))
    if config is None or "laminate" not in config:
        return None
    try:
        return from_tree(config.get("recipe"))
    except ValueError as error:
        raise ValueError(f"The recipe of {where}: {error}") from error


def _foreign(config: dict[str, Any] | None, weights: dict[str, np.ndarray], where: str) -> Pretrained | None:
    """A model of `PUBLISHED` in the files of those who trained it; None for anything else. Raises ValueError."""
    if config is not None and "laminate" in config:
        return None
    read = (family.modules().foreign(config, weights, where) for family in PUBLISHED)
    found = next((one for one in read if one is not None), None)
    return None if found is None else Pretrained(*found, config or {})


def _recipe(config: dict[str, Any] | None, weights: dict[str, np.ndarray], where: str) -> Any:
    version = (config or {}).get("laminate")
    if config is None or not isinstance(version, dict):
        found = layouts.guess({name: array.shape for name, array in weights.items()})
        looks = f"They look like {found}" if found else "They are in no layout that is known here"
        raise ValueError(
            f"{where} holds weights, and no {CONFIG} of laminate that says how to build their model. {looks}. "
            "`laminate.pretrained.hub.load` reads the numbers."
        )
    if not isinstance(version.get("format"), int) or version["format"] > FORMAT:
        raise ValueError(
            f"{where} is of format {version.get('format')} (laminate {version.get('version')}), and this is laminate "
            f"{__version__}, which reads formats up to {FORMAT}: install a newer one."
        )
    try:
        return from_tree(config.get("recipe"))
    except ValueError as error:
        raise ValueError(f"{CONFIG} of {where}: {error}") from error


def _config(recipe: Described, card: Card, digest: str, numbers: int) -> dict[str, Any]:
    return {
        "laminate": {"format": FORMAT, "version": __version__},
        "family": family_of(recipe).tag,
        "weights": {"file": MODEL, "sha256": digest, "numbers": numbers},
        "licence": card.licence,
        "data": {"name": card.data, "licence": card.data_licence, "label": card.data_label},
        "metrics": dict(card.metrics),
        "command": card.command,
        "recipe": to_tree(recipe),
    }
