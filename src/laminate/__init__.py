"""Images to a few tokens and back, and generation in that token space, in JAX and Equinox.

Import the part you need: ``laminate.nn`` (layers), ``laminate.models``, ``laminate.bottlenecks``,
``laminate.tokenizers``, ``laminate.losses``, ``laminate.data`` (never imports JAX), ``laminate.parallel``
(meshes and sharding), ``laminate.train`` (the one loop), ``laminate.recipes`` (typed configurations).
"""

__version__ = "0.1.0"
