"""The columns of parquet files: which hold the image and the label, and what the labels are called."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from laminate.data.options import SourceOptions
from laminate.data.records import RecordFileError
from laminate.data.sources.fields import IMAGE_NAMES, LABEL_NAMES, choose_image, choose_label
from laminate.data.sources.files import MAX_CLASSES
from laminate.storage.strict_json import parse_json


class Columns(NamedTuple):
    """The columns to read; no label column where the data have none."""

    image: str
    label: str | None


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """What Hugging Face says of the columns in the schema's metadata; nothing where it is absent or malformed."""
    try:
        found = parse_json((schema.metadata or {})[b"huggingface"], "")["info"]["features"]
        return {str(name): entry for name, entry in found.items() if isinstance(entry, dict)}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def _holds_bytes(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        return any(
            kind.field(i).name == "bytes" and _holds_bytes(kind.field(i).type) for i in range(kind.num_fields)
        )
    return types.is_binary(kind) or types.is_large_binary(kind)


def _image_columns(schema: Any) -> list[str]:
    """Columns of Hugging Face's ``Image``, of {bytes, path}, or of bytes under a usual name."""
    import pyarrow.types as types

    stated = _features(schema)
    found: list[str] = []
    for column in schema:
        image = stated.get(column.name, {}).get("_type") == "Image"
        if _holds_bytes(column.type) and (
            image or types.is_struct(column.type) or column.name in IMAGE_NAMES
        ):
            found.append(column.name)
    return found


def holds_images(schema: Any) -> bool:
    """Whether a file with this schema holds images, and not only facts about some."""
    return bool(_image_columns(schema))


def _label_columns(schema: Any, options: SourceOptions) -> list[str]:
    """Hugging Face's ``ClassLabel`` columns; where there are none, those under a usual name."""
    stated = _features(schema)
    classes = [name for name in schema.names if stated.get(name, {}).get("_type") == "ClassLabel"]
    usual = [name for name in schema.names if name in LABEL_NAMES and name not in classes]
    asked = [name for name in schema.names if name == options.label_key and name not in (*classes, *usual)]
    return [*classes, *usual, *asked]


def columns_of(paths: Sequence[Path], schemas: Sequence[Any], options: SourceOptions) -> Columns:
    """The columns to read, the same in all files.

    Raises:
      RecordFileError: there is no image column, several could be meant, or the files differ.
    """
    first, schema = paths[0], schemas[0]
    candidates = _image_columns(schema)
    asked = options.image_key
    if asked in schema.names and asked not in candidates and _holds_bytes(schema.field(asked).type):
        candidates.append(str(asked))
    image = choose_image(candidates, schema.names, str(first), options, "column")
    label = choose_label(_label_columns(schema, options), schema.names, str(first), options, "column")
    for path, other in zip(paths, schemas, strict=True):
        lacks = image if image not in other.names else label if label and label not in other.names else None
        if lacks is not None:
            raise RecordFileError(
                f"{path} has no column '{lacks}', which {first} has: files of one split must have the same columns "
                "(--unlabelled takes all of them without labels, or name those to read)"
            )
        if label is None and not options.unlabelled and (theirs := _label_columns(other, options)):
            raise RecordFileError(
                f"{first} has no column '{theirs[0]}', which {path} has: files of one split must have the same columns "
                "(--unlabelled takes all of them without labels, or name those to read)"
            )
    return Columns(image, label)


def _stated_names(schema: Any, label: str) -> tuple[str, ...]:
    names = _features(schema).get(label, {}).get("names")
    return tuple(str(name) for name in names) if isinstance(names, list) else ()


def class_names(paths: Sequence[Path], files: Sequence[Any], label: str) -> tuple[tuple[str, ...], int]:
    """(classes, how many rows have no label): the names that the files state, else the numbers up to the highest.

    Raises:
      RecordFileError: labels that are no class numbers, or files that name their classes differently.
    """
    stated = [_stated_names(file.schema_arrow, label) for file in files]
    for path, names in zip(paths, stated, strict=True):
        if names != stated[0]:
            raise RecordFileError(
                f"{path} names the classes of '{label}' differently than {paths[0]}: files of one split must have the "
                "same classes (--unlabelled takes them without)"
            )
    lowest, highest, without = 0, -1, 0
    for path, file in zip(paths, files, strict=True):
        low, high, empty = _range(path, file, label)
        without += empty
        lowest, highest = min(lowest, low), max(highest, high)
        if lowest < 0:
            raise RecordFileError(
                f"the column '{label}' of {path} holds {lowest}, which is no class number (Hugging Face "
                "writes -1 where labels are kept secret): choose another column with --label-key, or "
                "give --unlabelled"
            )
    if stated[0] and highest >= len(stated[0]):
        raise RecordFileError(
            f"the column '{label}' of {paths[0].parent} holds the label {highest}, and only "
            f"{len(stated[0])} classes have a name: choose another column with --label-key, or give "
            "--unlabelled"
        )
    if highest >= MAX_CLASSES:
        raise RecordFileError(
            f"the column '{label}' of {paths[0].parent} holds the label {highest}; expected less than "
            f"{MAX_CLASSES}: is it an id, and no class number? Choose another column with --label-key, or "
            "give --unlabelled"
        )
    if len(stated[0]) > MAX_CLASSES:
        raise RecordFileError(
            f"{paths[0]} names {len(stated[0])} classes; at most {MAX_CLASSES} are accepted"
        )
    return stated[0] or tuple(str(number) for number in range(highest + 1)), without


def _range(path: Path, file: Any, label: str) -> tuple[int, int, int]:
    """(lowest label, highest, rows without one) of a file."""
    import pyarrow
    import pyarrow.compute as compute

    kind = file.schema_arrow.field(label).type
    if not pyarrow.types.is_integer(kind) and not pyarrow.types.is_null(kind):
        raise RecordFileError(
            f"the column '{label}' of {path} holds values that are no integers ({kind}): expected class "
            "numbers. Choose another column with --label-key, or give --unlabelled"
        )
    try:
        column = file.read(columns=[label]).column(label)
    except (pyarrow.ArrowException, OSError) as error:
        raise RecordFileError(f"{path} is damaged ({str(error)[:200]}): copy it again") from error
    limits = compute.min_max(column).as_py()  # pyright: ignore[reportAttributeAccessIssue]
    low, high = limits["min"], limits["max"]
    return (0, -1, column.null_count) if low is None else (int(low), int(high), column.null_count)
