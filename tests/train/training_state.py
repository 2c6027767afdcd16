"""A small training state, and the same one elsewhere: what the checkpoint tests save and restore."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Key

RECIPE = {"seed": 7, "optim": {"rate": 0.1}, "sizes": [8, 24]}
POSITION = {"row": 4096, "fingerprint": "a797ccb5"}


class Params(eqx.Module):
    weight: Array
    half: Array
    nothing: Array
    activation: str = eqx.field(static=True)


class State(eqx.Module):
    params: Params
    opt_state: Any
    key: Key[Array, ""]
    step: Array


def state_of(seed: int, width: int = 24) -> State:
    """A state whose every leaf depends on `seed`."""
    k_weight, k_half, k_run = jax.random.split(jax.random.key(seed), 3)
    params = Params(
        jax.random.normal(k_weight, (8, width)),
        jax.random.normal(k_half, (16,), jnp.bfloat16),
        jnp.zeros((0, 3)),
        "gelu",
    )
    opt_state = optax.adamw(1e-3).init(params)
    opt_state = jax.tree.map(lambda x: x + jnp.asarray(seed, x.dtype), opt_state)
    return State(params, opt_state, k_run, jnp.asarray(seed, jnp.int32))


def mesh_of(shape: tuple[int, int]) -> Mesh:
    devices = jax.devices()[: shape[0] * shape[1]]
    return jax.make_mesh(shape, ("data", "fsdp"), axis_types=(AxisType.Auto, AxisType.Auto), devices=devices)


def shardings(state: State, mesh: Mesh) -> Any:
    """The first axis over ``fsdp`` where it divides, the rest on every device."""

    def place(leaf: Array) -> NamedSharding:
        split = leaf.ndim > 0 and leaf.size > 0 and leaf.shape[0] % mesh.shape["fsdp"] == 0
        return NamedSharding(mesh, PartitionSpec("fsdp") if split else PartitionSpec())

    return jax.tree.map(place, state)


def abstract(state: State, mesh: Mesh | None = None) -> Any:
    """`state` without its values, on `mesh` (or where it is)."""
    places = jax.tree.map(lambda x: x.sharding, state) if mesh is None else shardings(state, mesh)
    return jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), state, places
    )


def bits(tree: Any) -> list[bytes]:
    """Every leaf's type, shape and bits."""

    def one(x: Array) -> bytes:
        raw = jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        return f"{x.dtype}{x.shape}".encode() + np.asarray(raw).tobytes()

    return [one(leaf) for leaf in jax.tree.leaves(tree)]
