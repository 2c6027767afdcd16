"""How arrays are joined, split, stacked and checked on their way into a module."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.pretrained.keymaps.base import AS_ROW, Fixed, KeyMapError, Slot, export, load
from laminate.types import Buffer


def same(module, slots) -> None:
    weights = {name: np.asarray(a + 1) for name, a in export(module, slots).items()}
    loaded = export(load(module, slots, weights), slots)
    assert loaded.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(loaded[name], array)


def numbers(*shape: int) -> jax.Array:
    return jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(shape)


def test_several_names_fill_the_rows_of_one_leaf_in_order():
    module = {"fused": numbers(2, 6, 3)}
    names = tuple(f"{layer}.{part}" for layer in range(2) for part in "qkv")
    slots = [Slot(names, lambda m: m["fused"], stacked=True, joined=3)]
    published = export(module, slots)
    assert list(published) == ["0.q", "0.k", "0.v", "1.q", "1.k", "1.v"]
    np.testing.assert_array_equal(published["1.k"], module["fused"][1, 2:4])
    same(module, slots)


def test_one_name_fills_the_rows_of_several_leaves_in_order():
    module = {"gate": numbers(2, 3, 4), "up": -numbers(2, 3, 4)}
    slots = [Slot(("0", "1"), lambda m: (m["gate"], m["up"]), stacked=True)]
    np.testing.assert_array_equal(export(module, slots)["1"][3:], module["up"][1])
    same(module, slots)


def test_scalars_and_rows_keep_their_places():
    module = {"scalars": numbers(3), "rows": numbers(2, 5), "one": numbers()}
    slots = [
        Slot(("a", "b", "c"), lambda m: m["scalars"], stacked=True),
        Slot(("q", "v"), lambda m: m["rows"], AS_ROW, joined=2),
        Slot(("one",), lambda m: m["one"]),
    ]
    assert export(module, slots)["v"].shape == (5,)
    same(module, slots)


def test_fixed_arrays_are_required_and_compared():
    module, slots = {"a": numbers(2)}, [Slot(("a",), lambda m: m["a"]), Fixed("table", np.ones(3))]
    weights = export(module, slots)
    load(module, slots, weights)
    with pytest.raises(KeyMapError, match="table is not this module's table"):
        load(module, slots, weights | {"table": np.zeros(3)})
    with pytest.raises(KeyMapError, match=r"missing table \(3,\)"):
        load(module, slots, {"a": weights["a"]})


def test_an_abstract_module_is_filled_in_its_own_dtypes_and_needs_every_leaf():
    abstract = {
        "a": jax.ShapeDtypeStruct((2,), jnp.bfloat16),
        "b": eqx.filter_eval_shape(lambda: Buffer(jnp.zeros(1))),
    }
    slots = [Slot(("a",), lambda m: m["a"])]
    with pytest.raises(ValueError, match="has 0 names"):
        load(abstract, slots, {"a": np.ones(2, np.float32)})
    slots.append(Slot(("b",), lambda m: m["b"].value))
    loaded = load(abstract, slots, {"a": np.ones(2, np.float32), "b": np.zeros(1, np.float32)})
    assert loaded["a"].dtype == jnp.bfloat16 and loaded["b"].value.dtype == jnp.float32
