"""The number format in which a trained network is held for inference."""

from typing import Any

import equinox as eqx
import jax
from jax.sharding import Mesh

from laminate.nn import Int8Linear, to_int8
from laminate.parallel.sharding import layout
from laminate.recipes.network import HeldDtype
from laminate.types import join_buffers, split_buffers


def held_in(model: Any, held: HeldDtype) -> Any:
    """`model` with its weights in another format; statistics and other buffers stay as they are.

    In `int8` the maps in the layers of its transformers are whole numbers and computed with as such (`nn.to_int8`), and
    all else stays as it is: a network without a transformer is the same.
    """
    if held == "float32":
        return model
    if held == "int8":
        return to_int8(model)
    weights, buffers = split_buffers(model)
    return join_buffers(jax.tree.map(lambda leaf: leaf.astype(held), weights), buffers)


def held_on(mesh: Mesh, model: Any, held: HeldDtype) -> Any:
    """The same of a model that lies on `mesh`."""
    if held == "float32":
        return model

    def make(model: Any) -> Any:
        return held_in(model, held)

    return jax.jit(make, out_shardings=layout(eqx.filter_eval_shape(make, model), mesh))(model)


def require_held(model: Any, held: HeldDtype, where: str) -> None:
    """Raises ValueError if `model` was to be held in int8 and has no transformer, to which alone that applies."""
    whole = lambda node: isinstance(node, Int8Linear)
    if held == "int8" and not any(map(whole, jax.tree.leaves(model, is_leaf=whole))):
        raise ValueError(
            f"{where} has no layers of a transformer, whose maps are what int8 is for: take bfloat16, which halves the "
            "memory of any network, or float32."
        )
