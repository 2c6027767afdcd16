"""One record of an array: what a network made of one view of an image, with the label and the key of the image.

It is a ``tf.train.Example`` as the one of an image is (`schema`), with the numbers as they lie in memory, in
little-endian order, under ``array``; shape and dtype stand once for all records, in the manifest.
"""

import dataclasses
import math
import sys
from typing import Any

import ml_dtypes
import numpy as np

from laminate.data.batch import Arrays
from laminate.data.schema import (
    KEY,
    LABEL,
    Example,
    SchemaError,
    bytes_feature,
    find_features,
    int_feature,
    message,
    varint,
)

ARRAY = "array"
IMAGE_FIELD = "image"
FIELDS = ("features", "latents")
"""What arrays may be, which is what they are called in a batch."""
DTYPES = {
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
}

_BYTES_LIST, _INT64_LIST = 1, 3


@dataclasses.dataclass(frozen=True)
class ArrayFacts:
    """What the arrays of a set of records are.

    `field` is one of `FIELDS`, `dtype` one of `DTYPES`; `view` says what was done to the images, of each of which
    there are `views` records in a row; `made_by` describes the network (with the hash of its weights), for whoever
    made them.

    Raises:
      ValueError: another field or dtype, a shape without numbers, or no views.
    """

    field: str
    shape: tuple[int, ...]
    dtype: str
    view: str
    views: int
    made_by: dict[str, Any]

    def __post_init__(self) -> None:
        if self.field not in FIELDS or self.dtype not in DTYPES:
            raise ValueError(
                f"arrays of {self.field!r} in {self.dtype!r}: expected {FIELDS} in {tuple(DTYPES)}"
            )
        if not self.shape or min(self.shape) < 1 or self.views < 1:
            raise ValueError(
                f"arrays have the shape {self.shape} and {self.views} views: expected at least 1 of each"
            )

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


@dataclasses.dataclass(frozen=True)
class ReadArray:
    """Takes the place of an augmentation: the numbers of a record, as they were written, under their field's name."""

    facts: ArrayFacts

    @property
    def description(self) -> str:
        return f"{self.facts.field} {self.facts.shape} of {self.facts.view}"

    def __call__(self, data: bytes, rng: np.random.Generator, /) -> Arrays:
        array = np.frombuffer(data, DTYPES[self.facts.dtype]).reshape(self.facts.shape)
        return {self.facts.field: array}


def array_record(array: np.ndarray, label: int, key: str) -> bytes:
    """The record of `array`; equal content gives equal bytes."""
    if sys.byteorder != "little":
        raise OSError("records hold little-endian numbers, and this machine is not: use another one")
    numbers = np.ascontiguousarray(array).tobytes()
    features = {
        ARRAY: message(_BYTES_LIST, message(1, numbers)),
        KEY: message(_BYTES_LIST, message(1, key.encode())),
        LABEL: message(_INT64_LIST, message(1, varint(label & (2**64 - 1)))),
    }
    entries = [message(1, name.encode()) + message(2, value) for name, value in features.items()]
    return message(1, b"".join(message(1, entry) for entry in sorted(entries)))


def parse_array(record: bytes, facts: ArrayFacts) -> Example:
    """The bytes of the array of one record, its label and its key.

    Raises:
      SchemaError: the record is no ``tf.train.Example`` of such an array.
    """
    spans = find_features(record)
    numbers = bytes_feature(record, spans, ARRAY)
    if len(numbers) != facts.bytes:
        raise SchemaError(f"the array of the record has {len(numbers)} bytes and {facts.bytes} were expected")
    try:
        key = bytes_feature(record, spans, KEY).decode("utf-8")
    except UnicodeDecodeError as error:
        raise SchemaError("the key of the record is no UTF-8 text") from error
    return Example(numbers, int_feature(record, spans, LABEL), key)
