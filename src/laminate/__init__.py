"""Images to a few tokens and back, and generation in that token space, in JAX and Equinox.

    import laminate

    tokenizer = laminate.from_pretrained("runs/embedded-vae")
    tokens = tokenizer.encode_image("cat.jpg")
    tokenizer.decode_image(tokens).save("again.png")

``from_pretrained`` opens a trained tokenizer, ``load_pretrained`` the network of anything that was trained, and
``save_pretrained`` writes what both read. For your own models import the part you need: ``laminate.nn`` (layers),
``laminate.models``, ``laminate.bottlenecks``, ``laminate.tokenizers``, ``laminate.losses``, ``laminate.data`` (never
imports JAX), ``laminate.parallel`` (meshes and sharding), ``laminate.train`` (the one loop), ``laminate.recipes``
(typed configurations).
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from laminate.runs.from_pretrained import from_pretrained as from_pretrained
    from laminate.runs.pretrained import load_pretrained as load_pretrained
    from laminate.runs.pretrained import save_pretrained as save_pretrained
    from laminate.runs.pretrained_tokenizer import PretrainedTokenizer as PretrainedTokenizer

__version__ = "0.1.0"
__all__ = ["PretrainedTokenizer", "from_pretrained", "load_pretrained", "save_pretrained"]

_MODULES = {
    "PretrainedTokenizer": "pretrained_tokenizer",
    "from_pretrained": "from_pretrained",
    "load_pretrained": "pretrained",
    "save_pretrained": "pretrained",
}


def __getattr__(name: str) -> object:
    """What `__all__` names, imported when it is asked for: `import laminate` stays free of JAX."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"laminate.runs.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'laminate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
