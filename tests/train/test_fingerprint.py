"""Fingerprints: one number per array, whatever its sharding, that no single flipped bit leaves unchanged."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from laminate.train.fingerprint import device_fingerprint, fingerprint, named_leaves

DTYPES = ["float32", "bfloat16", "float16", "int32", "uint32", "int8", "uint8", "int16", "bool", "complex64"]
arrays = hnp.arrays(np.uint32, hnp.array_shapes(min_dims=0, max_dims=3, max_side=9))


def of_dtype(bits: np.ndarray, dtype: str) -> jax.Array:
    """An array of `dtype` with arbitrary bits."""
    if dtype == "bool":
        return jnp.asarray(bits % 2 == 1)
    if dtype == "complex64":
        return jax.lax.complex(of_dtype(bits, "float32"), of_dtype(~bits, "float32"))
    width = jnp.dtype(dtype).itemsize
    words = bits.astype(f"uint{8 * width}")
    return jnp.asarray(words.view(jnp.dtype(dtype)))


def oracle(words: np.ndarray) -> int:
    """The definition, one word at a time with Python's integers."""
    total = 0
    for index, word in enumerate(words.reshape(-1).tolist()):
        h = (word + index * 0x9E3779B9) % 2**32
        h = (h ^ (h >> 16)) * 0x7FEB352D % 2**32
        h = (h ^ (h >> 15)) * 0x846CA68B % 2**32
        total += h ^ (h >> 16)
    return total % 2**32


def on_mesh(shape: tuple[int, int], *spec: str | None) -> NamedSharding:
    mesh = jax.make_mesh(
        shape,
        ("data", "fsdp"),
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=jax.devices()[: shape[0] * shape[1]],
    )
    return NamedSharding(mesh, PartitionSpec(*spec))


@given(arrays)
def test_the_fingerprint_is_the_documented_sum(bits: np.ndarray) -> None:
    assert fingerprint({"w": of_dtype(bits, "float32")}) == {"['w']": oracle(bits)}


@given(arrays, st.data())
def test_every_single_flipped_bit_changes_the_fingerprint(bits: np.ndarray, data: st.DataObject) -> None:
    flipped = bits.copy().reshape(-1)
    where = data.draw(st.integers(0, flipped.size - 1))
    flipped[where] ^= np.uint32(1 << data.draw(st.integers(0, 31)))
    assert fingerprint([jnp.asarray(bits)]) != fingerprint([jnp.asarray(flipped.reshape(bits.shape))])


@given(arrays.filter(lambda x: x.size > 1), st.data())
def test_a_swap_of_unequal_elements_changes_the_fingerprint(bits: np.ndarray, data: st.DataObject) -> None:
    swapped = bits.copy().reshape(-1)
    i, j = data.draw(st.tuples(st.integers(0, swapped.size - 1), st.integers(0, swapped.size - 1)))
    swapped[[i, j]] = swapped[[j, i]]
    same = bool(np.array_equal(swapped, bits.reshape(-1)))
    assert (
        fingerprint([jnp.asarray(bits)]) == fingerprint([jnp.asarray(swapped.reshape(bits.shape))])
    ) == same


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (5,), (3, 7), (2, 3, 5)], ids=str)
def test_the_compiled_sum_and_the_host_sum_are_one_function(dtype: str, shape: tuple[int, ...]) -> None:
    x = of_dtype(np.random.default_rng(0).integers(0, 2**32, shape, dtype=np.uint32), dtype)
    assert fingerprint(x)[""] == int(device_fingerprint(x))


def test_an_array_of_many_chunks_has_the_fingerprint_of_the_compiled_sum() -> None:
    for shape in [(150_001,), (3, 70_000), (700, 131)]:
        x = jax.random.normal(jax.random.key(1), shape)
        assert fingerprint(x)[""] == int(device_fingerprint(x))


@pytest.mark.parametrize("mesh", [(1, 1), (4, 2), (2, 4), (8, 1), (1, 8)], ids=str)
@pytest.mark.parametrize(
    "spec", [(), ("fsdp",), ("data", "fsdp"), (None, "fsdp"), (("data", "fsdp"),)], ids=str
)
def test_the_fingerprint_does_not_depend_on_the_sharding(mesh: tuple[int, int], spec: Any) -> None:
    x = jax.random.normal(jax.random.key(0), (8, 16, 3), jnp.bfloat16)
    placed = jax.device_put(x, on_mesh(mesh, *spec))
    assert fingerprint(placed)[""] == int(device_fingerprint(placed)) == fingerprint(x)[""]


def test_typed_keys_have_fingerprints() -> None:
    keys = jax.random.split(jax.random.key(0), 8)
    assert fingerprint(keys) == fingerprint(jax.device_put(keys, on_mesh((4, 2), "data")))
    assert fingerprint(keys) != fingerprint(jax.random.split(jax.random.key(1), 8))
    assert fingerprint(keys)[""] == oracle(np.asarray(jax.random.key_data(keys)))


def test_negative_zero_and_nan_payloads_are_values_of_their_own() -> None:
    assert fingerprint(jnp.float32(0.0)) != fingerprint(jnp.float32(-0.0))
    nans = [jnp.asarray(np.uint32(bits).view(np.float32)) for bits in (0x7FC00000, 0x7FC00001)]
    assert fingerprint(nans[0]) != fingerprint(nans[1])


def test_names_are_the_paths_of_the_leaves() -> None:
    class Pair(eqx.Module):
        weight: jax.Array
        layers: list[jax.Array]

    assert list(named_leaves({"a": Pair(jnp.ones(2), [jnp.ones(1)])})) == ["['a'].weight", "['a'].layers[0]"]


def test_a_leaf_that_is_no_array_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"leaf \['rate'\] is a float, not a JAX array"):
        fingerprint({"rate": 0.5})
