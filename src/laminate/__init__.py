"""Images to a few tokens and back, and generation in that token space, in JAX and Equinox.

Import the part you need: ``laminate.nn`` (layers), ``laminate.models``, ``laminate.bottlenecks``,
``laminate.tokenizers``, ``laminate.losses``, ``laminate.data`` (never imports JAX), ``laminate.parallel``
(meshes and sharding), ``laminate.train`` (the one loop), ``laminate.recipes`` (typed configurations).
``laminate.from_pretrained`` and ``laminate.save_pretrained`` read and write shared models.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from laminate.runs.pretrained import from_pretrained as from_pretrained
    from laminate.runs.pretrained import save_pretrained as save_pretrained

__version__ = "0.1.0"

_SHARING = ("from_pretrained", "save_pretrained")


def __getattr__(name: str) -> Any:
    """The two functions above, imported when they are asked for: `import laminate` stays free of JAX."""
    if name in _SHARING:
        from laminate.runs import pretrained as sharing

        return getattr(sharing, name)
    raise AttributeError(f"module 'laminate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_SHARING])
