"""The sizes in which the families are published, for files that come without a configuration, and for messages.

Names are those of the registry, where it has them.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from laminate.models.vit import Vit
from laminate.pretrained.families import FAMILIES
from laminate.pretrained.registry import NETWORKS
from laminate.pretrained.vit_reader import VitReader


@dataclasses.dataclass(frozen=True)
class Published:
    """One network as it was published. `image_size` is the usual side of its images."""

    title: str
    family: VitReader
    config: Mapping[str, Any]
    image_size: int

    def load(
        self,
        weights: Mapping[str, np.ndarray],
        *,
        affine: bool = True,
        prefix: str | None = None,
        dtype: jnp.dtype = jnp.dtype(jnp.float32),
        on_host: bool = False,
    ) -> Vit:
        """The network with published weights; see `VitReader.load`."""
        family = dataclasses.replace(self.family, title=self.title)
        return family.load(self.config, weights, affine=affine, prefix=prefix, dtype=dtype, on_host=on_host)

    @property
    def size(self) -> tuple[int, int]:
        """Width and depth."""
        facts = self.family.facts(self.config)
        return facts.get("hidden_size") or facts["embed_dim"], facts.get("num_hidden_layers") or facts[
            "depth"
        ]

    @property
    def patch(self) -> int:
        """Side of a patch, in pixels."""
        return self.family.facts(self.config)["patch_size"]


READERS: dict[str, VitReader] = {reader.name: reader for family in FAMILIES for reader in family.readers()}
PUBLISHED: dict[str, Published] = {
    name: Published(one.title, READERS[one.reader], one.config, one.image_size)
    for name, one in NETWORKS.items()
}
