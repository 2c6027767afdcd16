"""What a source holds and is not taken from it: counted by reason, with one name for each."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class LeftOut:
    """How many files (members, rows) were left out for one reason, and the first of them."""

    reason: str
    count: int
    first: str


class LeftOutCount:
    """Counts what is left out, by reason."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, reason: str, name: str, count: int = 1) -> None:
        before, first = self._found.get(reason, (0, name))
        self._found[reason] = (before + count, first)

    def add_all(self, entries: Iterable[LeftOut]) -> None:
        for entry in entries:
            self.add(entry.reason, entry.first, entry.count)

    def entries(self) -> tuple[LeftOut, ...]:
        """The most frequent reason first."""
        found = [LeftOut(reason, count, shown(first)) for reason, (count, first) in self._found.items()]
        return tuple(sorted(found, key=lambda entry: (-entry.count, entry.reason)))


def together(entries: Iterable[LeftOut]) -> tuple[LeftOut, ...]:
    """`entries` of one reason as one."""
    count = LeftOutCount()
    count.add_all(entries)
    return count.entries()


def is_text(name: str) -> bool:
    """Whether a name of the file system is UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shown(name: str) -> str:
    """A file name as text that can be printed anywhere: bytes that are no UTF-8, and control characters, escaped."""
    plain = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in plain)


def in_one_line(entries: Iterable[LeftOut]) -> str:
    """Such as "12 no image (.txt), as notes.txt; 1 hidden, as .DS_Store"."""
    return "; ".join(f"{entry.count} {entry.reason}, as {entry.first}" for entry in entries)
