"""Checks that the recipes share. Each raises `ValueError` with what was got, what was wanted and where."""

import re


def at_least(where: str, value: int | float, low: int | float) -> None:
    if not value >= low:
        raise ValueError(f"{where} must be at least {low}, got {value}.")


def above(where: str, value: int | float, low: int | float) -> None:
    if not value > low:
        raise ValueError(f"{where} must be greater than {low}, got {value}.")
    if value == float("inf"):
        raise ValueError(f"{where} must be finite, got {value}.")


def within(where: str, value: int | float, low: int | float, high: int | float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{where} must lie in [{low}, {high}], got {value}.")


def rate(where: str, value: int | float) -> None:
    """A probability or decay that may be 0 but not 1."""
    if not 0 <= value < 1:
        raise ValueError(f"{where} must lie in [0, 1), got {value}.")


def one_of(where: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{where} must be one of {', '.join(allowed)}; got {value!r}.")


def folder_name(where: str, value: str) -> None:
    """A name that a folder can have; `+` and `=` are in that of a recipe some of whose fields were set."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._,+=-]*", value):
        raise ValueError(
            f"{where} must be letters, digits, '.', '_' and '-', to be a folder's name; got {value!r}."
        )
