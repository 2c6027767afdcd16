"""One record: a ``tf.train.Example`` that holds the encoded image, its label and its key.

Writing goes through `tensorflow_datasets` (its own protocol buffers, no TensorFlow), so that
``tfds.data_source`` reads the files too. Reading is a direct walk over the wire format: it needs no import
and no allocation but the image's own bytes, and it refuses anything that is not such a message.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

IMAGE, LABEL, KEY = "image", "label", "key"
NO_LABEL = -1

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3


class Example(NamedTuple):
    """An encoded image (JPEG, PNG, ... as it was found), its label (-1 if it has none) and its key."""

    image: bytes
    label: int
    key: str


class SchemaError(ValueError):
    """A record is no ``tf.train.Example``, or lacks a feature that it must have."""


class Span(NamedTuple):
    """Where the list of one feature lies inside a record, and of which kind it is."""

    kind: int
    start: int
    end: int


def _varint(record: bytes, at: int, end: int) -> tuple[int, int]:
    """The variable-length integer at `at`, and the offset behind it."""
    value = shift = 0
    while at < end and shift < 70:
        byte = record[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise SchemaError("the record is no tf.train.Example: a number runs over its end")


def _fields(record: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, wire type, first byte, end) of every field of the message in ``record[at:end]``."""
    while at < end:
        tag, at = _varint(record, at, end)
        wire = tag & 7
        if wire == _BYTES:
            size, at = _varint(record, at, end)
        elif wire == _VARINT:
            size = _varint(record, at, end)[1] - at
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise SchemaError(f"the record is no tf.train.Example: it holds the unknown wire type {wire}")
        if at + size > end:
            raise SchemaError("the record is no tf.train.Example: a field runs over its end")
        yield tag >> 3, wire, at, at + size
        at += size


def _entries(record: bytes) -> Iterator[tuple[int, int]]:
    """The span of every entry of the map ``Example.features.feature``."""
    for number, wire, start, end in _fields(record, 0, len(record)):
        if (number, wire) != (1, _BYTES):
            raise SchemaError("the record is no tf.train.Example: its first message is not 'features'")
        for inner, inner_wire, first, last in _fields(record, start, end):
            if (inner, inner_wire) != (1, _BYTES):
                raise SchemaError("the record is no tf.train.Example: its features are no map")
            yield first, last


def find_features(record: bytes) -> dict[str, Span]:
    """The features of a serialised ``tf.train.Example`` by name.

    Raises:
      SchemaError: the bytes are no such message.
    """
    spans: dict[str, Span] = {}
    for first, last in _entries(record):
        name, span = "", None
        for number, wire, start, end in _fields(record, first, last):
            if wire != _BYTES:
                raise SchemaError("the record is no tf.train.Example: a feature is not named or not a list")
            if number == 1:
                name = record[start:end].decode("utf-8", "replace")
            else:
                lists = [(n, s, e) for n, w, s, e in _fields(record, start, end) if w == _BYTES]
                span = Span(*lists[-1]) if lists else None
        if span is not None:
            spans[name] = span
    return spans


def _span(spans: dict[str, Span], name: str, kind: int, what: str) -> Span:
    if name not in spans:
        raise SchemaError(f"the record has no feature '{name}'; it has {sorted(spans) or 'none'}")
    if spans[name].kind != kind:
        raise SchemaError(f"the feature '{name}' of the record is not {what}")
    return spans[name]


def bytes_feature(record: bytes, spans: dict[str, Span], name: str) -> bytes:
    """The first value of the bytes feature `name`."""
    _, start, end = _span(spans, name, _BYTES_LIST, "a list of bytes")
    for number, wire, first, last in _fields(record, start, end):
        if (number, wire) == (1, _BYTES):
            return record[first:last]
    raise SchemaError(f"the feature '{name}' of the record is empty")


def int_feature(record: bytes, spans: dict[str, Span], name: str) -> int:
    """The first value of the int64 feature `name`."""
    _, start, end = _span(spans, name, _INT64_LIST, "a list of integers")
    for number, _, first, last in _fields(record, start, end):
        if number == 1 and first < last:
            value = _varint(record, first, last)[0] & (2**64 - 1)
            return value - 2**64 if value >= 2**63 else value
    raise SchemaError(f"the feature '{name}' of the record is empty")


def parse_example(record: bytes) -> Example:
    """The `Example` that a record of this library holds.

    Raises:
      SchemaError: the record is no ``tf.train.Example``, or lacks ``image``, ``label`` or ``key``.
    """
    spans = find_features(record)
    image = bytes_feature(record, spans, IMAGE)
    try:
        key = bytes_feature(record, spans, KEY).decode("utf-8")
    except UnicodeDecodeError as error:
        raise SchemaError("the key of the record is no UTF-8 text") from error
    return Example(image, int_feature(record, spans, LABEL), key)


def message(field: int, payload: bytes) -> bytes:
    """`payload` as one field, numbered below 16, of an enclosing message."""
    return bytes([field << 3 | _BYTES]) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    """The variable-length integer of a `value` from 0 on."""
    digits = bytearray()
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def canonical(record: bytes) -> bytes:
    """The same message with its features in the order of their bytes.

    Protocol buffers leave the order of a map to the implementation; the same examples must give the same
    files.
    """
    return message(1, b"".join(message(1, e) for e in sorted(record[a:b] for a, b in _entries(record))))


def tfds_features(classes: tuple[str, ...]) -> Any:
    """The ``tfds.features.FeaturesDict`` of a record: image, key, and a label (a plain int64 without
    classes).
    """
    import numpy as np
    import tensorflow_datasets as tfds  # 1.5 s to import, and only writers need it

    label = tfds.features.ClassLabel(names=list(classes)) if classes else tfds.features.Scalar(dtype=np.int64)
    return tfds.features.FeaturesDict(
        {IMAGE: tfds.features.Image(shape=(None, None, 3)), LABEL: label, KEY: tfds.features.Text()}
    )


def example_serializer(classes: tuple[str, ...]) -> Callable[[Example], bytes]:
    """A function from an `Example` to the bytes of its record; equal examples give equal bytes."""
    features = tfds_features(classes)

    def serialize(example: Example) -> bytes:
        fields = {IMAGE: example.image, LABEL: example.label, KEY: example.key}
        return canonical(features.serialize_example(features.encode_example(fields)))

    return serialize
