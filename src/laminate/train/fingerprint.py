"""A number per array that does not depend on how the array is spread over devices.

A checkpoint library restores a flipped bit without a word. The fingerprint of an array of 32-bit words
`w_i` is

    sum_i mix(w_i + i * 0x9E3779B9)   mod 2^32

where `i` is the index in the whole array and `mix` is a bijection of 32-bit words. Integer addition
commutes, so the sum is the same for every sharding. One changed word changes one term by a non-zero amount,
so every change of a single word (every single flipped bit) is caught for certain. Any other accident, such
as a swap of two elements, goes unseen with probability 2^-32. Indices are taken modulo 2^32, so in an array
of more than 2^32 words two words exactly that far apart may change places unseen.

Two ways compute it. Accelerators run one small compiled reduction per array shape, and only the sums
travel. Arrays in the memory of this host are summed by NumPy, which is as fast and spares a compilation for
every shape.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt32

_WORDS = 1 << 32
_GOLDEN = 0x9E3779B9
_CHUNK = 1 << 16  # words that NumPy mixes at a time: all the temporaries stay in the cache


class HostBlocks(NamedTuple):
    """An array of `shape` as parts in the memory of this host, each with the index at which it starts."""

    shape: tuple[int, ...]
    parts: list[tuple[np.ndarray, tuple[int, ...]]]


Started = dict[str, Array | HostBlocks]


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of `tree` by path, as ``.params.layers[0].weight``, in the order of `jax.tree.leaves`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _strides(shape: tuple[int, ...]) -> list[np.uint32]:
    """What one step along each axis adds: the row-major distance times the golden ratio."""
    return [np.uint32(math.prod(shape[axis + 1 :]) * _GOLDEN % _WORDS) for axis in range(len(shape))]


def _device_words(x: Array) -> UInt32[Array, "..."]:
    bits = 8 * x.dtype.itemsize
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return _device_words(jnp.stack([jnp.real(x), jnp.imag(x)], axis=-1))
    if bits >= 32:
        return jax.lax.bitcast_convert_type(x, jnp.uint32)  # 64 bits become two words along a last axis
    if jnp.issubdtype(x.dtype, jnp.floating):
        x = jax.lax.bitcast_convert_type(x, jnp.dtype(f"uint{bits}"))
    return jax.lax.bitcast_convert_type(x.astype(jnp.int32), jnp.uint32)


@jax.jit
def device_fingerprint(x: Array) -> UInt32[Array, ""]:
    """The fingerprint of one array without typed keys, on its own devices.

    The index comes from one iota per axis, not from a reshape, so that a sharded array stays where it is.
    """
    words = _device_words(x)
    for axis, stride in enumerate(_strides(words.shape)):
        words = words + jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis) * stride
    words = (words ^ (words >> np.uint32(16))) * np.uint32(0x7FEB352D)
    words = (words ^ (words >> np.uint32(15))) * np.uint32(0x846CA68B)
    return jnp.sum(words ^ (words >> np.uint32(16)), dtype=jnp.uint32)


def _host_words(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "c":
        return _host_words(np.stack([np.real(x), np.imag(x)], axis=-1))
    if x.dtype.itemsize == 8:
        return np.ascontiguousarray(x)[..., None].view(np.uint32)
    if x.dtype.itemsize == 4:
        return x.view(np.uint32)
    if jnp.issubdtype(x.dtype, jnp.floating):
        x = x.view(f"uint{8 * x.dtype.itemsize}")
    return x.astype(np.int32).view(np.uint32)


def _chunk_sum(x: np.ndarray, start: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """What the block `x`, which starts at `start` in an array of `shape`, adds to the fingerprint."""
    words = _host_words(x)
    halves = words.shape[x.ndim :]
    for axis, (stride, length) in enumerate(zip(_strides(shape + halves), words.shape, strict=True)):
        first = start[axis] if axis < x.ndim else 0
        index = np.arange(first, first + length, dtype=np.uint64).astype(np.uint32)
        words = words + (index * stride).reshape(-1, *(1,) * (words.ndim - axis - 1))
    words = (words ^ (words >> np.uint32(16))) * np.uint32(0x7FEB352D)
    words = (words ^ (words >> np.uint32(15))) * np.uint32(0x846CA68B)
    return int(np.sum(words ^ (words >> np.uint32(16)), dtype=np.uint64))


def _host_sum(blocks: HostBlocks) -> int:
    """The fingerprint of an array in parts, a few rows at a time."""
    total = 0
    for block, start in blocks.parts:
        rows = max(1, _CHUNK // max(1, math.prod(block.shape[1:])))
        for row in range(0, block.shape[0], rows):
            total += _chunk_sum(block[row : row + rows], (start[0] + row, *start[1:]), blocks.shape)
    return total % _WORDS


def _in_host_memory(x: Array) -> bool:
    return x.is_fully_addressable and all(device.platform == "cpu" for device in x.sharding.device_set)


def _host_blocks(x: Array) -> HostBlocks:
    parts = [
        (np.atleast_1d(np.asarray(shard.data)), tuple(part.start or 0 for part in shard.index) or (0,))
        for shard in x.addressable_shards
        if shard.replica_id == 0
    ]
    return HostBlocks(x.shape or (1,), parts)


def start_fingerprints(leaves: dict[str, Any]) -> Started:
    """Begins the fingerprint of every array in `leaves`; `read_fingerprints` ends it, on any thread.

    Afterwards the arrays may be donated: on the host, a view keeps the values. With several processes,
    every process must call this.

    Raises `ValueError` for a leaf that is no JAX array.
    """
    started: Started = {}
    for name, leaf in leaves.items():
        if not isinstance(leaf, jax.Array):
            raise ValueError(
                f"leaf {name} is a {type(leaf).__name__}, not a JAX array; make it an array or static"
            )
        array = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        started[name] = _host_blocks(array) if _in_host_memory(array) else _start_on_devices(array)
    return started


def _start_on_devices(x: Array) -> Array:
    value = device_fingerprint(x)
    if any(device.platform == "cpu" for device in x.sharding.device_set):
        # Unlike an accelerator, a CPU runs what it was given in any order, and two hosts whose devices are at
        # different collectives wait for each other.
        value.block_until_ready()
    return value


def read_fingerprints(started: Started) -> dict[str, int]:
    """Waits for what `start_fingerprints` began and returns it as integers by leaf name."""
    on_devices = {name: value for name, value in started.items() if isinstance(value, jax.Array)}
    sums = {name: int(value) for name, value in jax.device_get(on_devices).items()}
    for name, value in started.items():
        if isinstance(value, HostBlocks):
            sums[name] = _host_sum(value)
    return sums


def fingerprint(tree: Any) -> dict[str, int]:
    """One integer in [0, 2^32) per leaf of `tree`, by leaf name; equal for every sharding of equal values."""
    return read_fingerprints(start_fingerprints(named_leaves(tree)))
