"""What is known of a family of published weights, before any of them is read; nothing here needs JAX.

A new family is one value of `PublishedFamily`, in `families`, and one line in its list. What reads its files is beside
it: a `VitReader` for a vision transformer, or functions of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from laminate.pretrained.pickles import PICKLES

MODEL = "model.safetensors"
CONFIG = "config.json"
APACHE = "Apache-2.0"
UNSTATED = "see the model page"


@dataclass(frozen=True)
class FileLayout:
    """How the files of one family are recognised.

    Every pattern of `marks` is found in some name. `width` is the name of a tensor and the axis of it that is as
    long as the network is wide; the first group of `layer` is the number of a layer. Patterns are searched for, so a
    prefix in front of all names does not matter. A `whole` model holds networks of other families inside, so its layout
    is tried before theirs. `reader` is the name of the `VitReader` that reads such files as a vision transformer, "" if
    none does; `also` are families that such files may be of as well, for they do not say of which.
    """

    family: str
    label: str
    marks: tuple[str, ...]
    width: tuple[str, int]
    layer: str
    absent: tuple[str, ...] = ()
    reader: str = ""
    also: tuple[str, ...] = ()
    whole: bool = False


@dataclass(frozen=True)
class KnownWeights:
    """Known weights: the files of one repository of the Hugging Face hub."""

    name: str
    repository: str
    files: tuple[str, ...]
    """The file of the weights, or the files that make them up together."""
    licence: str
    source: str
    """Who made them."""
    family: str
    """The layout that the files must have (`FileLayout.family`); "" if it is not checked."""
    megabytes: int | None = None
    """Size of the download, about; None where it is not known."""
    config: str | None = CONFIG
    revision: str = "main"
    sha256: dict[str, str] = field(default_factory=dict[str, str])
    """Hash by file, where the owners state it."""
    width: int | None = None
    depth: int | None = None

    @property
    def pickled(self) -> bool:
        """Whether the weights are published as a pickle, which has to be converted first."""
        return any(file.endswith(PICKLES) for file in self.files)


@dataclass(frozen=True)
class PublishedNetwork:
    """A vision transformer in a size in which it was published, for files that come without a configuration.

    `config` is what its `config.json` would say, of sizes at least; `image_size` is the usual side of its images.
    """

    name: str
    """That of its weights among the known ones, if they are there."""
    title: str
    reader: str
    """The name of the `VitReader` that reads its files."""
    config: Mapping[str, Any]
    image_size: int

    @property
    def width(self) -> int:
        return self.config["hidden_size" if "hidden_size" in self.config else "embed_dim"]

    @property
    def depth(self) -> int:
        return self.config["num_hidden_layers" if "num_hidden_layers" in self.config else "depth"]

    @property
    def patch(self) -> int:
        """Side of a patch, in pixels."""
        return self.config["patch_size"]


@dataclass(frozen=True)
class VitSize:
    """What a letter stands for."""

    letter: str
    width: int
    depth: int
    heads: int

    def facts(self, more: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a configuration for it, and `more`."""
        sizes = {
            "hidden_size": self.width,
            "num_hidden_layers": self.depth,
            "num_attention_heads": self.heads,
        }
        return {**sizes, **more}


VIT_SIZES = {
    size.letter.lower(): size
    for size in (
        VitSize("S", 384, 12, 6),
        VitSize("B", 768, 12, 12),
        VitSize("L", 1024, 24, 16),
        VitSize("H", 1280, 32, 16),
        VitSize("g", 1536, 40, 24),
    )
}


@dataclass(frozen=True)
class PublishedFamily:
    """Everything about one family: how its files look, where they lie, in which sizes, and what reads them.

    `readers()` are the `VitReader`s that the layouts and networks name; they need JAX, so they are imported when it is
    called.
    """

    layouts: tuple[FileLayout, ...]
    weights: tuple[KnownWeights, ...] = ()
    networks: tuple[PublishedNetwork, ...] = ()
    readers: Callable[[], tuple[Any, ...]] = tuple
