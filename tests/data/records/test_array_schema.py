"""Records of arrays: what was put in comes out, bit for bit; what is no such record is refused."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.data.array_schema import DTYPES, ArrayFacts, ReadArray, array_record, parse_array
from laminate.data.schema import SchemaError, canonical

RNG = np.random.default_rng(0)


def facts(shape=(2, 3), dtype="float32", **changed) -> ArrayFacts:
    described = {"field": "features", "shape": shape, "dtype": dtype, "view": "v", "views": 1, "made_by": {}}
    return ArrayFacts(**{**described, **changed})


@given(
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple),
    dtype=st.sampled_from(list(DTYPES)),
    label=st.integers(-1, 2**40),
    key=st.text("abc/é", max_size=300),
)
def test_a_record_holds_what_was_put_in(shape, dtype, label, key):
    array = RNG.normal(size=shape).astype(DTYPES[dtype])
    about = facts(shape, dtype)
    record = array_record(array, label, key)
    found = parse_array(record, about)
    assert (found.label, found.key) == (label, key)
    (read,) = ReadArray(about)(found.image, RNG).values()
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read.view(np.uint8), array.view(np.uint8))
    assert canonical(record) == record


def test_other_readers_of_such_messages_read_it():
    from tensorflow_datasets.proto import tf_example_pb2

    array = np.arange(6, dtype=ml_dtypes.bfloat16).reshape(2, 3)
    feature = tf_example_pb2.Example.FromString(array_record(array, -1, "k")).features.feature
    assert list(feature["array"].bytes_list.value) == [array.tobytes()]
    assert list(feature["label"].int64_list.value) == [-1]
    assert list(feature["key"].bytes_list.value) == [b"k"]


def test_an_array_of_another_size_and_arbitrary_bytes_are_refused():
    record = array_record(np.zeros((2, 3), np.float32), 0, "k")
    with pytest.raises(SchemaError, match="has 24 bytes and 12 were expected"):
        parse_array(record, facts(dtype="bfloat16"))
    for length in range(len(record)):
        with pytest.raises(SchemaError):
            parse_array(record[:length], facts())


@pytest.mark.parametrize(
    "changed", [{"field": "images"}, {"dtype": "int8"}, {"shape": (2, 0)}, {"shape": ()}, {"views": 0}]
)
def test_facts_that_describe_no_arrays_are_refused(changed):
    with pytest.raises(ValueError, match="expected"):
        facts(**changed)
