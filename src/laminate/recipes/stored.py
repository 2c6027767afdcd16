"""By what network stored arrays were made: what their manifest says of it, which somebody else may have written."""

from laminate.data.array_schema import ArrayFacts
from laminate.recipes.network import TeacherConfig
from laminate.recipes.serialization import read
from laminate.storage.strict_json import Field

_WHERE = "the manifest of --data"


def stored_teacher(facts: ArrayFacts) -> TeacherConfig:
    """The teacher of stored features. Raises ValueError unless it is described, and as what it is: by their shape."""
    made_by = _made_by(facts)
    try:
        teacher = read(made_by["teacher"].value, TeacherConfig, where="arrays.made_by.teacher")
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{_WHERE}: {error}") from error
    if facts.field != "features":
        return teacher
    layers = 1 if stored_layer(facts) is None else 2
    shape = (teacher.patches, teacher.dim) if layers == 1 else (layers, teacher.patches, teacher.dim)
    if facts.shape != shape:
        raise ValueError(
            f"{_WHERE}: arrays.shape is {facts.shape}, and the teacher {teacher.name!r} that made them gives {shape}: "
            "encode the images again."
        )
    return teacher


def stored_layer(facts: ArrayFacts) -> int | None:
    """The intermediate layer that is stored too, if one is."""
    layer = _made_by(facts)["layer"]
    return None if layer.value is None else layer.integer(least=0)


def stored_tokenizer(facts: ArrayFacts) -> str:
    """The hash of the tokenizer whose latents are stored."""
    return _made_by(facts)["tokenizer"].text()


def require_latents(facts: ArrayFacts, shape: tuple[int, int]) -> None:
    """Raises ValueError for stored latents of another shape than (tokens, numbers of each)."""
    if facts.shape != shape:
        raise ValueError(
            f"{_WHERE}: arrays.shape is {facts.shape}, and the tokenizer that made them gives {shape}: encode the "
            "images again, or give the --image-size that they were encoded with."
        )


def _made_by(facts: ArrayFacts) -> Field:
    return Field(facts.made_by, _WHERE, "arrays.made_by")
