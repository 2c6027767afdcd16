"""A training that begins with the weights of another: what fits is kept, the rest is newly drawn, and both are said."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from laminate.models.conv_stem import ConvStem
from laminate.models.dino_sae import StemAndDecoder
from laminate.models.rae_decoder import RaeDecoder
from laminate.pretrained import dino_sae, hub, layouts
from laminate.pretrained.keymaps.vitok import renamed
from laminate.pretrained.rae import read_decoder, split_autoencoder
from laminate.pretrained.vitok import load_autoencoder
from laminate.recipes.network import MASKED_AUTOENCODER
from laminate.runs.pretrained import exported
from laminate.tokenizers.vitok import Vitok
from laminate.train.export import named_weights, today
from laminate.train.state import TrainState, split_trained

SMALLEST_SHARE = 0.01  # of the numbers of a model: less is no beginning
_SHOWN = 8
_DECODER_INPUT = "decoder_embed.weight"
_OF_VITOK = ("patch_embed.", "decoder_embed.")
_IN_AUTOENCODER = f"decoder.{_DECODER_INPUT}"
_IN_NETWORK = "decoder."


@dataclasses.dataclass(frozen=True)
class Start:
    """The weights that a model begins with: those of `source` that have its names and shapes.

    `drawn` says what is newly drawn, and why; `unused` names what `source` holds beside. `share` is how much of the
    model's numbers is kept.
    """

    source: str
    kept: Mapping[str, np.ndarray]
    drawn: tuple[str, ...]
    unused: tuple[str, ...]
    share: float

    def __str__(self) -> str:
        drawn = f"newly drawn: {_some(self.drawn)}" if self.drawn else "nothing newly drawn"
        unused = f"; not used: {_some(self.unused)}" if self.unused else ""
        kept = f"{len(self.kept)} of {len(self.kept) + len(self.drawn)} arrays"
        return f"{kept} from {self.source} ({self.share:.1%} of the numbers); {drawn}{unused}"


def plan_start(
    source: str | os.PathLike[str],
    model: Any,
    *,
    trained: Callable[[Any], Any] | None = None,
    cache: Path | None = None,
) -> Start:
    """What `model` (arrays or their shapes) takes over from `source`, a name that `hub.load` knows or a run folder.

    `trained(model)` picks the parts that the training changes, None is all of them. The others stay as they begin, so
    `source` must have all of their arrays.

    A decoder of features takes over the weights of a published one too, alone or in a whole autoencoder, and those of
    the decoder of a frozen network that was trained here; a ViTok does, whole or either half; a stem with its decoder
    those of a published DINO-SAE.

    An array is kept if one of its name and shape is there: with another number of tokens, all but the tables of the
    tokens are. Buffers are never taken over: they belong to other latents, or are the same anyway.

    Raises:
        ValueError: (almost) nothing fits, something that is not trained does not, or the weights cannot be used.
        OSError: there is nothing of that name.
    """
    everything, parameters = named_weights(model), named_weights(model, buffers=False)
    found = hub.load(exported(source), cache=cache)
    saved = _published_weights(found, model)
    saved = today(_decoders(found, model), everything) if saved is None else saved
    kept = {name: saved[name] for name, leaf in parameters.items() if _fits(saved.get(name), leaf)}
    lacking = {
        name: _drawn(name, saved.get(name), leaf) for name, leaf in parameters.items() if name not in kept
    }
    drawn = tuple(lacking.values())
    numbers = sum(leaf.size for leaf in parameters.values())
    share = sum(array.size for array in kept.values()) / numbers
    where = os.fspath(source)
    if share < SMALLEST_SHARE:
        guess = layouts.guess({name: array.shape for name, array in found.weights.items()})
        looks = f" It looks like {guess}." if guess else ""
        raise ValueError(
            f"--init-from {where}: {share:.1%} of this model's numbers fit, which is no beginning.{looks} "
            f"{_some(drawn)}. Give weights of the same widths, or train without --init-from."
        )
    untrained = {} if trained is None else named_weights(split_trained(model, trained)[1], buffers=False)
    blank = tuple(said for name, said in lacking.items() if name in untrained)
    if blank:
        raise ValueError(
            f"--init-from {where}: what this training leaves as it is would be newly drawn: {_some(blank)}. Give "
            "weights of the same sizes, or train these parts too."
        )
    unused = tuple(name for name in saved if name not in everything)
    return Start(where, kept, drawn, unused, share)


def started(state: TrainState, start: Start) -> TrainState:
    """`state`, before the first step, with the kept weights of `start` in it, in its average, and in what of the model
    is not trained."""

    def replaced(tree: Any) -> Any:
        leaves = [
            jax.device_put(start.kept[name].astype(leaf.dtype), leaf.sharding, may_alias=False)
            if name in start.kept
            else leaf
            for name, leaf in named_weights(tree).items()
        ]
        return jax.tree.unflatten(jax.tree.structure(tree), leaves)

    ema = None if state.ema is None else replaced(state.ema)
    return dataclasses.replace(state, params=replaced(state.params), buffers=replaced(state.buffers), ema=ema)


def _published_weights(found: hub.LoadedWeights, model: Any) -> dict[str, np.ndarray] | None:
    """The weights of a published network of the kind of `model` under our names; None if these are no such ones."""
    if isinstance(model, RaeDecoder):
        return _decoder_weights(found, model)
    if isinstance(model, Vitok):
        return _autoencoder_weights(found, model)
    if isinstance(model, StemAndDecoder) and dino_sae.is_published(found.weights):
        whole = dino_sae.load_autoencoder(found.weights, on_host=True)
        assert isinstance(whole.encoder.patch, ConvStem)
        parts = named_weights(StemAndDecoder(whole.encoder.patch, whole.decoder))
        return {name: np.asarray(leaf) for name, leaf in parts.items()}
    return None


def _decoders(found: hub.LoadedWeights, model: Any) -> Mapping[str, np.ndarray]:
    """The weights of `found`, and where it is a frozen network with a decoder and `model` is such a decoder, those."""
    if not isinstance(model, RaeDecoder) or (found.config or {}).get("family") != MASKED_AUTOENCODER:
        return found.weights
    return {
        name.removeprefix(_IN_NETWORK): array
        for name, array in found.weights.items()
        if name.startswith(_IN_NETWORK)
    }


def _autoencoder_weights(found: hub.LoadedWeights, model: Vitok) -> dict[str, np.ndarray] | None:
    """Those of a published ViTok, or of a half of one; None if these are no published ones.

    Raises ValueError for attention cut into other heads than the model's.
    """
    if not any(name.startswith(_OF_VITOK) for name in renamed(found.weights)):
        return None
    read = load_autoencoder(found.weights, on_host=True)
    for half in ("encoder", "decoder"):
        both = [getattr(one, half) for one in (read, model.autoencoder)]
        there, here = (None if one is None else one.stack.layers.attention.heads for one in both)
        if there is not None and there != here:
            raise ValueError(
                f"--init-from: the published {half} has {there} attention heads, and this recipe has {here}: take the "
                "recipe of its name."
            )
    return {name: np.asarray(leaf) for name, leaf in named_weights(Vitok(read)).items()}


def _decoder_weights(found: hub.LoadedWeights, model: RaeDecoder) -> dict[str, np.ndarray] | None:
    """The weights of a published decoder under our names; None if these are no published ones.

    Raises ValueError for attention cut into other heads than the model's: the shapes would be the same.
    """
    config, weights = found
    if any(name.startswith(_IN_AUTOENCODER) for name in weights):
        weights = split_autoencoder(weights).decoder
    elif _DECODER_INPUT not in weights:
        return None
    read = read_decoder(config, weights, mean=model.mean, std=model.std, on_host=True)
    there, here = (one.vit.stack.layers.attention.heads for one in (read, model))
    if there != here:
        raise ValueError(
            f"--init-from: the published decoder has {there} attention heads, and this recipe has {here}: take the "
            "recipe of its size."
        )
    return {name: np.asarray(leaf) for name, leaf in named_weights(read).items()}


def _fits(saved: np.ndarray | None, leaf: Any) -> bool:
    return saved is not None and saved.shape == leaf.shape and saved.dtype.kind not in "iub"


def _drawn(name: str, saved: np.ndarray | None, leaf: Any) -> str:
    before = "absent" if saved is None else str(saved.shape)
    return f"{name} ({before} there, {leaf.shape} here)"


def _some(names: tuple[str, ...]) -> str:
    rest = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest
