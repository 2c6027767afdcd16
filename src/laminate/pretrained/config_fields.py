"""Fields of a published configuration, each of which is read or refused by its name."""

from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

_LARGEST = 2**16  # wider than any network: shapes are made of these numbers
_REQUIRED = object()


class ConfigFields:
    """The fields of a `config.json`; those that begin with `_` say what wrote it, and are passed over.

    Every method raises ValueError that names the field, what it is and what it should be.
    """

    def __init__(self, kind: str, config: Mapping[str, Any]) -> None:
        self._kind = kind
        self._left = {name: value for name, value in config.items() if not name.startswith("_")}

    def flag(self, name: str, default: bool) -> bool:
        """True or False; `default` where the field is not there."""
        value = self._take(name, default)
        if not isinstance(value, bool):
            self.refuse(name, value, "true or false")
        return value

    def flags(self, name: str, default: tuple[bool, ...]) -> tuple[bool, ...]:
        """A list of True and False; `default` where the field is not there."""
        value = self._take(name, default)
        if not isinstance(value, list | tuple) or not all(isinstance(one, bool) for one in value):
            self.refuse(name, value, "a list of true and false")
        return tuple(value)

    def count(self, name: str, default: Any = _REQUIRED) -> int:
        """A whole number above zero."""
        value = self._take(name, default)
        if not _is_count(value):
            self.refuse(name, value, f"a whole number from 1 to {_LARGEST}")
        return value

    def counts(
        self, name: str, default: Any = _REQUIRED, *, least: int = 1, length: int | None = None
    ) -> tuple[int, ...]:
        """A list of whole numbers, none below `least`; `default` where the field is not there or null.

        With `length` there are as many of them.
        """
        value = self._take(name, default)
        value = default if value is None and default is not _REQUIRED else value
        counts = isinstance(value, list | tuple) and all(_is_count(v, least) for v in value)
        if not counts or not value or len(value) != (length or len(value)):
            of = "" if length is None else f"{length} "
            self.refuse(name, value, f"a list of {of}whole numbers from {least} to {_LARGEST}")
        return tuple(value)

    def kernels(self, name: str, default: Any, length: int) -> tuple[tuple[int, ...], ...]:
        """`length` lists of odd numbers, each of which may be empty; `default` where the field is not there."""
        value = self._take(name, default)
        right = isinstance(value, list | tuple) and len(value) == length
        if not right or not all(_are_kernels(each) for each in value):
            self.refuse(name, value, f"a list of {length} lists of odd numbers")
        return tuple(tuple(each) for each in value)

    def text(self, name: str, default: str) -> str:
        """Any string."""
        value = self._take(name, default)
        if not isinstance(value, str):
            self.refuse(name, value, "a string")
        return value

    def word(self, name: str, covered: Mapping[str, T], default: str) -> T:
        """What `covered` has for the string of a field."""
        value = self._take(name, default)
        if not isinstance(value, str) or value not in covered:
            self.refuse(name, value, _one_of(covered))
        return covered[value]

    def words(self, name: str, covered: Mapping[str, T], default: str, length: int) -> tuple[T, ...]:
        """What `covered` has for each of `length` strings, or as often for the only one."""
        value = self._take(name, default)
        each = (value,) * length if isinstance(value, str) else value
        right = isinstance(each, list | tuple) and len(each) == length
        if not right or not all(isinstance(one, str) and one in covered for one in each):
            self.refuse(name, value, f"{_one_of(covered)}, alone or in a list of {length}")
        return tuple(covered[one] for one in each)

    def number(self, name: str, default: float) -> float:
        """A number; `default` where the field is not there or null."""
        value = self._take(name, default)
        value = default if value is None else value
        if not _is_number(value):
            self.refuse(name, value, "a number")
        return float(value)

    def numbers(self, name: str, length: int) -> tuple[float, ...] | None:
        """A list of `length` numbers; None where the field is not there or null."""
        value = self._take(name, None)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or len(value) != length or not all(map(_is_number, value)):
            self.refuse(name, value, f"a list of {length} numbers")
        return tuple(float(v) for v in value)

    def only(self, name: str, *covered: Any) -> None:
        """A field with the only values that this network covers, alone or as every one of a list; it may be missing."""
        if name not in self._left:
            return
        value = self._left.pop(name)
        each = value if isinstance(value, list | tuple) and value not in covered else [value]
        if any(one not in covered for one in each):
            self.refuse(name, value, " or ".join(map(repr, covered)))

    def ignore(self, *names: str) -> None:
        """Fields that change nothing of what the network computes."""
        for name in names:
            self._left.pop(name, None)

    def none_left(self) -> None:
        """Raises ValueError if there is a field that was not asked for."""
        if self._left:
            raise ValueError(
                f"The configuration of {self._kind} has fields that are not known: {', '.join(sorted(self._left))}. "
                "What they change would be computed wrongly."
            )

    def _take(self, name: str, default: Any) -> Any:
        value = self._left.pop(name, default)
        if value is _REQUIRED:
            raise ValueError(f"The configuration of {self._kind} lacks {name}.")
        return value

    def refuse(self, name: str, value: Any, wanted: str) -> NoReturn:
        """Raises ValueError for a `value` of the field `name` that is not covered; `wanted` says what is."""
        raise ValueError(f"The configuration of {self._kind} has {name}={value!r}; covered is {wanted}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= _LARGEST


def _are_kernels(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(_is_count(one) and one % 2 for one in value)


def _one_of(covered: Mapping[str, Any]) -> str:
    return " or ".join(map(repr, covered))
