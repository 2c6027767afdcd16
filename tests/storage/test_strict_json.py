"""JSON of others is read as it is, or refused with file and field: never a traceback of another kind."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.storage.strict_json import MAX_DEPTH, Field, JsonError, parse_json, read_json

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64) + 1, 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
TREES = st.recursive(
    SCALARS | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(TREES)
def test_plain_json_is_read_as_it_was_written(tree):
    assert parse_json(json.dumps(tree), "f") == tree
    assert parse_json(json.dumps(tree, ensure_ascii=False).encode(), "f") == tree


@given(st.binary(max_size=60) | st.text(alphabet='[]{}",:\\eE+-019.ntu ', max_size=40))
def test_whatever_comes_in_a_value_or_a_json_error_comes_out(text):
    try:
        parse_json(text, "f")
    except JsonError as error:
        assert str(error).startswith("f")


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"b":['])
@pytest.mark.parametrize("times", [MAX_DEPTH + 1, 10_000, 500_000])
def test_deep_nesting_is_refused(opening, times):
    closing = {"[": "]", '{"a":': "}", '[{"b":[': "]}]"}[opening]
    with pytest.raises(JsonError, match="deep"):
        parse_json(opening * times + "1" + closing * times, "f")


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "-Infinity",
        "1e400",
        "-1e999",
        "1" + "0" * 400,
        "9" * 5000,
        str(2**64),
        '{"a": 1, "a": 1}',
        '"\\ud800"',
    ],
)
@pytest.mark.parametrize("around", ["{}", "[{}]", '{{"b": [{}]}}'])
def test_what_is_no_plain_value_is_refused_wherever_it_stands(text, around):
    with pytest.raises(JsonError, match=r"^f"):
        parse_json(around.format(text) if around != "{}" else text, "f")


def test_depth_up_to_the_limit_is_read():
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH, "f")[0] is not None
    assert parse_json("[" * MAX_DEPTH + '"é"' + "]" * MAX_DEPTH, "f")[0] is not None


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "a.json").write_text("[1, 2, 3]")
    assert read_json(tmp_path / "a.json").value == [1, 2, 3]
    with pytest.raises(JsonError, match=r"a.json: it has 9 bytes, more than the 8"):
        read_json(tmp_path / "a.json", max_bytes=8)


@given(TREES)
def test_a_field_gives_what_it_says_or_names_itself(tree):
    field = Field({"x": [{"y": tree}]}, "manifest.json")["x"][0]["y"]
    for read, fits in (
        (field.text, isinstance(tree, str)),
        (field.integer, type(tree) is int),
        (field.number, type(tree) in (int, float)),
        (field.members, isinstance(tree, dict)),
        (field.items, isinstance(tree, list)),
    ):
        if fits:
            assert (
                (field.items() == [] or field.items()[0].value == tree[0])
                if isinstance(tree, list)
                else read() == tree
            )
        else:
            with pytest.raises(JsonError, match=r"^manifest.json: x\[0\].y must be"):
                read()


def test_a_missing_field_and_one_below_its_least_value_are_named():
    field = Field({"a": {"b": -1, "c": True}}, "f")
    with pytest.raises(JsonError, match=r"f: a.z is missing"):
        field["a"]["z"]
    with pytest.raises(JsonError, match=r"f: a.b must be an integer from 0 on, got -1"):
        field["a"]["b"].integer(least=0)
    with pytest.raises(JsonError, match=r"f: a.c must be an integer, got true"):
        field["a"]["c"].integer()
    assert field["a"].get("z", 3).integer() == 3 and math.isclose(field["a"]["b"].number(), -1.0)
