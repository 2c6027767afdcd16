"""What a manifest says of the network that made arrays is read strictly, and compared with their shape."""

import pytest

from laminate.data.array_schema import ArrayFacts
from laminate.recipes.network import patch_teacher
from laminate.recipes.serialization import plain
from laminate.recipes.stored import require_latents, stored_layer, stored_teacher, stored_tokenizer

TEACHER = patch_teacher(16, 4)
SHAPE = (TEACHER.patches, TEACHER.dim)


def facts(shape=SHAPE, **made_by) -> ArrayFacts:
    return ArrayFacts("features", shape, "float32", "Squash(size=16)", 1, made_by)


def test_the_teacher_is_read_with_and_without_a_layer():
    assert stored_teacher(facts(teacher=plain(TEACHER), layer=None)) == TEACHER
    assert stored_teacher(facts((2, *SHAPE), teacher=plain(TEACHER), layer=3)) == TEACHER
    assert stored_layer(facts(teacher=plain(TEACHER), layer=3)) == 3


@pytest.mark.parametrize(
    "shape", [(SHAPE[0] + 1, SHAPE[1]), (SHAPE[0], SHAPE[1] - 1), (2, *SHAPE), SHAPE[:1]]
)
def test_features_of_another_shape_than_the_teacher_gives_are_refused(shape):
    with pytest.raises(
        ValueError, match=r"arrays.shape is .*teacher 'patches' that made them gives .*encode the images"
    ):
        stored_teacher(facts(shape, teacher=plain(TEACHER), layer=None))


@pytest.mark.parametrize(
    ("made_by", "field"),
    [
        ({}, "teacher"),
        ({"teacher": 7, "layer": None}, "teacher"),
        ({"teacher": {}, "layer": None}, "teacher"),
        ({"teacher": plain(TEACHER) | {"dim": "48"}, "layer": None}, "teacher.dim"),
        ({"teacher": plain(TEACHER) | {"dim": None}, "layer": None}, "teacher.dim"),
        ({"teacher": plain(TEACHER)}, "layer"),
        ({"teacher": plain(TEACHER), "layer": -1}, "layer"),
        ({"teacher": plain(TEACHER), "layer": [3]}, "layer"),
        ({"teacher": plain(TEACHER) | {"unknown": 1}, "layer": None}, "teacher.unknown"),
    ],
)
def test_a_field_that_is_missing_or_of_another_type_is_named(made_by, field):
    with pytest.raises(ValueError, match=rf"manifest of --data.*{field}"):
        stored_teacher(facts(**made_by))


@pytest.mark.parametrize("tokenizer", [None, 7, ["a"], {"sha256": "a"}])
def test_a_tokenizer_that_is_no_hash_and_latents_of_another_shape_are_refused(tokenizer):
    assert stored_tokenizer(facts(tokenizer="abc")) == "abc"
    with pytest.raises(ValueError, match=r"made_by.tokenizer"):
        stored_tokenizer(facts(tokenizer=tokenizer))
    require_latents(facts((3, 6)), (3, 6))
    with pytest.raises(
        ValueError, match=r"arrays.shape is \(3, 6\), and the tokenizer that made them gives \(6, 3\)"
    ):
        require_latents(facts((3, 6)), (6, 3))
