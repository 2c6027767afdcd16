import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.data.schema import (
    Example,
    SchemaError,
    bytes_feature,
    canonical,
    example_serializer,
    find_features,
    int_feature,
    parse_example,
)

CLASSES = ("ant", "bee", "cod")
serialize = example_serializer(CLASSES)
serialize_unlabelled = example_serializer(())


@given(image=st.binary(max_size=400), label=st.integers(-1, 2), key=st.text(max_size=30))
def test_a_record_holds_what_was_put_in(image: bytes, label: int, key: str):
    key = key.encode("utf-8", "ignore").decode()
    assert parse_example(serialize(Example(image, label, key))) == Example(image, label, key)


@given(image=st.binary(min_size=1, max_size=400), key=st.text("abc/é", max_size=9))
def test_a_record_without_classes_holds_what_was_put_in(image: bytes, key: str):
    assert parse_example(serialize_unlabelled(Example(image, -1, key))) == Example(image, -1, key)


@given(image=st.binary(max_size=200_000), label=st.integers(0, 2))
def test_tfds_reads_the_record_back(image: bytes, label: int):
    from tensorflow_datasets.proto import tf_example_pb2

    example = tf_example_pb2.Example.FromString(serialize(Example(image, label, "k")))
    feature = example.features.feature
    assert list(feature["image"].bytes_list.value) == [image]
    assert list(feature["label"].int64_list.value) == [label]
    assert list(feature["key"].bytes_list.value) == [b"k"]


def test_the_order_of_the_features_does_not_change_the_record():
    record = serialize(Example(b"abc", 1, "k"))
    spans = find_features(record)
    assert list(spans) == ["key", "image", "label"] or sorted(spans) == ["image", "key", "label"]
    assert canonical(record) == record


def test_writing_needs_no_tensorflow():
    assert "tensorflow" not in sys.modules


@given(noise=st.binary(min_size=1, max_size=60))
def test_arbitrary_bytes_are_refused_or_lack_the_features(noise: bytes):
    with pytest.raises(SchemaError):
        parse_example(noise)


@given(cut=st.integers(1, 60), data=st.data())
def test_a_cut_record_is_refused(cut: int, data: st.DataObject):
    record = serialize(Example(b"x" * 50, 2, "some key"))
    with pytest.raises(SchemaError):
        parse_example(record[: len(record) - min(cut, len(record))])


def test_a_missing_feature_is_named():
    record = serialize(Example(b"abc", 1, "k"))
    spans = find_features(record)
    with pytest.raises(SchemaError, match="no feature 'depth'; it has"):
        bytes_feature(record, spans, "depth")
    with pytest.raises(SchemaError, match="'image' of the record is not a list of integers"):
        int_feature(record, spans, "image")


def test_an_unpacked_negative_label_is_read():
    # The same message by hand: a map entry whose Int64List is not packed.
    number = (-1 & (2**64 - 1)).to_bytes(8, "little")
    varint = bytearray()
    value = int.from_bytes(number, "little")
    while value >= 0x80:
        varint.append(value & 0x7F | 0x80)
        value >>= 7
    varint.append(value)
    integers = b"\x08" + bytes(varint)
    feature = b"\x1a" + bytes([len(integers)]) + integers
    entry = b"\x0a\x01n\x12" + bytes([len(feature)]) + feature
    features = b"\x0a" + bytes([len(entry)]) + entry
    record = b"\x0a" + bytes([len(features)]) + features
    assert int_feature(record, find_features(record), "n") == -1
