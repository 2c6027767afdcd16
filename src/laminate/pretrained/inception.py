"""Published weights of the Inception-v3 of the Fréchet inception distance, under torch-fidelity's names."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from laminate.models.inception import InceptionV3
from laminate.pretrained.keymaps.base import Fixed, KeyMapError, Slot, load_new
from laminate.pretrained.layouts import looks_like


def load_inception(
    weights: Mapping[str, np.ndarray], *, dtype: jnp.dtype = jnp.dtype(jnp.float32)
) -> InceptionV3:
    """The network with published weights, stored in `dtype`. Raises KeyMapError for weights that do not fit."""
    try:
        return load_new(
            lambda key: InceptionV3(key=key),
            inception_slots,
            weights,
            ignored=("*.num_batches_tracked",),
            dtype=dtype,
        )
    except KeyMapError as error:
        raise KeyMapError(f"{looks_like(weights, 'inception', 'Inception-v3')} {error}") from error


def inception_slots(network: InceptionV3) -> list[Slot | Fixed]:
    """Which published name holds which leaf."""
    slots: list[Slot | Fixed] = []
    for name in network.units:
        slots += [
            Slot((f"{name}.conv.weight",), lambda m, n=name: m.units[n].conv.weight),
            Slot((f"{name}.bn.weight",), lambda m, n=name: m.units[n].scale),
            Slot((f"{name}.bn.bias",), lambda m, n=name: m.units[n].bias),
            Slot((f"{name}.bn.running_mean",), lambda m, n=name: m.units[n].mean.value),
            Slot((f"{name}.bn.running_var",), lambda m, n=name: m.units[n].variance.value),
        ]
    slots.append(Slot(("fc.weight",), lambda m: m.classifier.weight))
    slots.append(Slot(("fc.bias",), lambda m: m.classifier.bias))
    return slots
