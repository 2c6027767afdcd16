"""A family of published vision transformers: its configuration as a `Vit`, and the names in its files."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from laminate.models.vit import Vit
from laminate.nn import Mlp, gelu_exact, gelu_tanh
from laminate.pretrained.keymaps.base import Fixed, KeyMapError, Slot, export, load_new
from laminate.pretrained.keymaps.vit import VitNames, vit_slots
from laminate.pretrained.layouts import looks_like
from laminate.pretrained.patches import IMAGENET_MEAN, IMAGENET_STD
from laminate.types import RandomKey

Facts = Mapping[str, Any]
Rgb = tuple[float, float, float]

HALF: Rgb = (0.5, 0.5, 0.5)
_LARGEST = 2**16  # wider than any network, longer than any side: shapes are made of these numbers

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": gelu_exact,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
}


@dataclasses.dataclass(frozen=True)
class VitReader:
    """What the checkpoints of one family have in common.

    `build(facts, affine, key)` makes the network from a configuration in which the fields that it lacks are those
    of `defaults`. `inert` fields cannot change what the network computes. `affine=False` leaves the final norm
    without scale and bias, and the published ones are passed over. `prefix` stands in front of every name in a
    published file; `ignored` are patterns of names (after it) that hold nothing of this network, and `beside` are
    patterns of names without that prefix. `section` is the field of a larger configuration that this one may be in.
    """

    name: str
    title: str
    names: VitNames
    defaults: Facts
    build: Callable[[Facts, bool, RandomKey], Vit]
    inert: tuple[str, ...] = ()
    prefix: str = ""
    ignored: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()
    section: str = ""
    mean: Rgb = IMAGENET_MEAN
    std: Rgb = IMAGENET_STD

    def make(self, config: Facts, *, affine: bool = True, key: RandomKey) -> Vit:
        """The network of a configuration with freshly drawn weights.

        Raises ValueError for a configuration of another family or with a value that is not understood.
        """
        return self.build(self.facts(config), affine, key)

    def load(
        self,
        config: Facts,
        weights: Mapping[str, np.ndarray],
        *,
        affine: bool = True,
        prefix: str | None = None,
        dtype: jnp.dtype = jnp.dtype(jnp.float32),
        on_host: bool = False,
    ) -> Vit:
        """The network of a configuration (the content of a `config.json`) with published weights, stored in `dtype`.

        `prefix=None` is that of the family's published files, or none if no name begins with it. `on_host` leaves
        the weights in NumPy arrays. Raises ValueError for a configuration that is not understood, KeyMapError for
        weights that do not fit it.
        """
        start = self._prefix_of(weights) if prefix is None else prefix
        ignored = tuple(start + name for name in self.ignored) + self.beside
        ignored = ignored if affine else (*ignored, f"{start}{self.names.norm}.*")
        facts = self.facts(config)
        try:
            return load_new(
                partial(self._build, facts, affine),
                lambda vit: self.slots(vit, prefix=start),
                weights,
                ignored=ignored,
                dtype=dtype,
                on_host=on_host,
            )
        except KeyMapError as error:
            raise KeyMapError(f"{looks_like(weights, self.name, self.title)} {error}") from error

    def export(self, vit: Vit, *, prefix: str | None = None) -> dict[str, np.ndarray]:
        """The weights of `vit` under the names of the published files."""
        return export(vit, self.slots(vit, prefix=self.prefix if prefix is None else prefix))

    def slots(self, vit: Vit, *, prefix: str = "") -> list[Slot | Fixed]:
        """Which published name holds which leaf of `vit`."""
        return vit_slots(vit, self.names, prefix=prefix)

    def facts(self, config: Facts) -> dict[str, Any]:
        """The fields that `build` reads, each checked to be of the kind of its default."""
        config = config.get(self.section, config)
        given = config.get("model_type")
        if self.model_types and given is not None and given not in self.model_types:
            raise ValueError(
                f"This configuration has model_type={given!r}, and {self.title} has "
                f"{' or '.join(self.model_types)}: choose the family that the weights belong to."
            )
        return checked_facts(config, self.defaults)

    def _build(self, facts: Facts, affine: bool, key: RandomKey) -> Vit:
        return self.build(facts, affine, key)

    def _prefix_of(self, weights: Mapping[str, np.ndarray]) -> str:
        return self.prefix if any(name.startswith(self.prefix) for name in weights) else ""


def checked_facts(config: Facts, defaults: Facts) -> dict[str, Any]:
    """The fields of `defaults` as `config` has them.

    Raises ValueError for a value of another type, or of no sensible size.
    """
    facts = {
        field: _checked(field, config.get(field, default), default) for field, default in defaults.items()
    }
    if facts.get("image_size", _LARGEST) < facts.get("patch_size", 1):
        raise ValueError(
            f"The configuration has image_size={facts['image_size']}, which is less than one patch of "
            f"{facts['patch_size']}."
        )
    return facts


def mlp_of(name: str) -> partial[Mlp]:
    """The MLP with an activation by the name that configurations use."""
    return partial(Mlp, activation=activation_of(name))


def activation_of(name: str) -> Callable[[jax.Array], jax.Array]:
    """The function of that name. Raises ValueError for an unknown one."""
    if name not in ACTIVATIONS:
        raise ValueError(f"hidden_act={name!r} is not known; the known ones are {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name]


def _checked(field: str, value: Any, default: Any) -> Any:
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(min(max(value, -_LARGEST - 1), _LARGEST + 1))
    if default is not None and type(value) is not type(default):
        kind = type(default).__name__
        raise ValueError(
            f"The configuration has {field}={value!r}; it should be of type {kind}, for example {default!r}."
        )
    if type(value) not in (int, float):
        return value
    least = 1 if type(value) is int and default and not field.endswith("tokens") else 0
    if not least <= value <= _LARGEST:
        raise ValueError(
            f"The configuration has {field}={value}; it must lie between {least} and {_LARGEST}."
        )
    return value
