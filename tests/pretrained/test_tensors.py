"""A safetensors file is read exactly, or refused in one message that says what is wrong with it."""

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save, save_file

from laminate.pretrained.pickles import PickleRefused
from laminate.pretrained.tensors import WeightsError, open_tensors, read_header, require_finite

DTYPES = (np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.int8, np.uint16, np.bool_)
WEIGHTS = {
    "a": np.arange(35, dtype=np.float32).reshape(7, 5),
    "b": np.ones((3, 2, 4), ml_dtypes.bfloat16),
    "c": np.array(2.0, np.float32),
}
SOUND = save(WEIGHTS)


def written(folder: Path, data: bytes, name: str = "x.safetensors") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def header_of(data: bytes) -> tuple[dict, bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(header: object, numbers: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


@st.composite
def weights(draw) -> dict[str, np.ndarray]:
    names = draw(st.lists(st.text("abc.0é", min_size=1, max_size=6), max_size=4, unique=True))
    return {
        name: draw(hnp.arrays(np.uint8, draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))))
        .astype(draw(st.sampled_from(DTYPES)))
        for name in names
    }  # fmt: skip


@given(weights())
def test_what_the_reference_implementation_writes_is_read_bit_for_bit(tmp_path, given_weights):
    path = tmp_path / "x.safetensors"
    save_file(given_weights, path)
    read = open_tensors(path)
    assert read.keys() == given_weights.keys()
    for name, array in given_weights.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert read[name].tobytes() == array.tobytes()
        assert not read[name].flags.writeable


def test_bfloat16_is_read_without_torch_and_the_numbers_are_not_copied(tmp_path):
    read = open_tensors(written(tmp_path, SOUND))
    assert read["b"].dtype == ml_dtypes.bfloat16
    base = read["b"]
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)


@given(st.integers(0, len(SOUND) - 1))
def test_a_file_cut_anywhere_is_refused(tmp_path, length):
    with pytest.raises(WeightsError, match=r"truncated|damaged|no safetensors file"):
        open_tensors(written(tmp_path, SOUND[:length]))


@given(st.integers(0, 8 + int.from_bytes(SOUND[:8], "little") - 1), st.integers(0, 7))
def test_a_flipped_bit_in_the_header_is_refused_or_changes_no_more_than_names_and_types(tmp_path, byte, bit):
    data = bytearray(SOUND)
    data[byte] ^= 1 << bit
    try:
        read = open_tensors(written(tmp_path, bytes(data)))
    except WeightsError as error:
        assert "\n" not in str(error)
    else:
        assert sum(array.nbytes for array in read.values()) == sum(a.nbytes for a in WEIGHTS.values())


def test_a_truncated_file_says_how_much_is_there(tmp_path):
    with pytest.raises(
        WeightsError, match=r"x\.safetensors is truncated: 182 of 192 bytes of weights are there"
    ):
        open_tensors(written(tmp_path, SOUND[:-10]))


@pytest.mark.parametrize("length", [2**63, 10**6, 1000])
def test_a_header_length_that_lies_is_refused(tmp_path, length):
    with pytest.raises(WeightsError, match=f"says that its header has {length} bytes, and the file has"):
        open_tensors(written(tmp_path, struct.pack("<Q", length) + SOUND[8:]))
    with pytest.raises(WeightsError, match=r"header is not JSON"):
        open_tensors(written(tmp_path, struct.pack("<Q", 40) + SOUND[8:]))


HEADER, NUMBERS = header_of(SOUND)
CASES = {
    "no JSON": (b"{", "is not JSON"),
    "a list": (b"[]", "is no JSON object"),
    "a name twice": (b'{"a": 1, "a": 2}', "the name .a. is used twice"),
    "no shape": ({"a": {"dtype": "F32"}}, "describes a as"),
    "a negative side": ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, "describes a as"),
    "a hole": ({**HEADER, "a": {**HEADER["a"], "data_offsets": [8, 148]}}, "and .* were expected"),
    "another size": ({**HEADER, "a": {**HEADER["a"], "shape": [7, 6]}}, "and .* were expected"),
    "bytes left over": (
        {"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}},
        "bytes follow the last",
    ),
    "metadata that are no text": ({**HEADER, "__metadata__": {"a": 1}}, "are no texts"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_header_that_contradicts_the_file_is_refused(tmp_path, case):
    header, expected = CASES[case]
    with pytest.raises(WeightsError, match=expected) as caught:
        open_tensors(written(tmp_path, with_header(header, NUMBERS)))
    assert "x.safetensors" in str(caught.value)


def test_wrong_dtypes_are_refused_by_name(tmp_path):
    eight_bits = {"layer.weight": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}
    with pytest.raises(
        WeightsError, match=r"is stored as F8_E4M3, which is not read \(layer\.weight\): convert"
    ):
        open_tensors(written(tmp_path, with_header(eight_bits, b"1234")))
    whole = save({"layer.weight": np.zeros(4, np.int8), "position_ids": np.zeros(4, np.int64)})
    with pytest.raises(WeightsError, match=r"holds weights as whole numbers: layer\.weight \(I8\)"):
        open_tensors(written(tmp_path, whole))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_nan_or_an_infinity_anywhere_is_refused_by_name(dtype, value):
    sound = {
        "a": np.full((3, 7), -1e4, dtype),
        "n": np.array([2**60]),
        "long": np.zeros((1 << 20) + 3, dtype),
    }
    require_finite(sound, "x")
    for name in ("a", "long"):
        array = sound[name].copy()
        array.reshape(-1)[-1] = value
        with pytest.raises(WeightsError, match=rf"x: 1 tensor with NaN or infinity \({name}\)"):
            require_finite({**sound, name: array}, "x")


def test_the_header_alone_can_be_read(tmp_path):
    header = read_header(written(tmp_path, save(WEIGHTS, metadata={"title": "t"})))
    assert header.metadata == {"title": "t"}
    assert header.shapes == {"a": (7, 5), "b": (3, 2, 4), "c": ()}
    assert header.entries["b"].stored == "BF16"


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"PK\x03\x04" + b"0" * 60, "is a pickle, which runs code"),
        (b"\x80\x02}q\x00" + b"0" * 60, "is a pickle, which runs code"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"),
        (b"<!doctype html><html><body>Not found</body></html>", "is no safetensors file but text"),
    ],
)
def test_what_is_something_else_under_this_name_is_called_what_it_is(tmp_path, start, expected):
    with pytest.raises(ValueError, match=expected):
        open_tensors(written(tmp_path, start))


@pytest.mark.parametrize(
    ("write", "expected"), [(np.savez, "is an npz of NumPy arrays"), (np.save, "is a NumPy array")]
)
def test_arrays_in_place_of_weights_are_no_pickle_and_what_is_wanted_is_said(tmp_path, write, expected):
    path = tmp_path / "samples.npz"
    with path.open("wb") as file:
        write(file, np.zeros((2, 3, 5, 3), np.uint8))
    with pytest.raises(WeightsError, match=rf"{expected}.*weights are read from \.safetensors files"):
        open_tensors(path)


def test_a_path_without_a_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file"):
        open_tensors(tmp_path / "absent.safetensors")
    with pytest.raises(IsADirectoryError, match=r"is a folder"):
        open_tensors(tmp_path)


def test_a_pickle_is_refused_as_a_value_that_can_be_mended():
    assert issubclass(PickleRefused, ValueError)
