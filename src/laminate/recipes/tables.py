"""Tables for people who read a terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from laminate.recipes.family import Rows
from laminate.recipes.overrides import fields_of


def table(title: str, columns: tuple[str, ...], rows: Rows) -> Table:
    """Rows of plain text under headings; what is missing at the end of a row is left empty."""
    made = Table(*columns, title=title or None, title_justify="left")
    for row in rows:
        made.add_row(*(cell.replace("[", "\\[") for cell in row))
    return made


def show_fields(recipe: Any) -> None:
    """Every field that `--set` takes, its type and its present value."""
    rows = tuple((field.path, field.kind, field.text) for field in fields_of(recipe))
    Console().print(table(f"--set of {recipe.name}", ("path", "takes", "is"), rows))
